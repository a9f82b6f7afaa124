"""Which annotation says what a turn changes, when several speak of it.

1. Of several versions of one annotation the newest counts; a withdrawn one does not count at all.
2. People win over the corpus, dialogue by dialogue: an update is relative to the turns before it, so the two are not
   mixed within one dialogue.
3. Of several annotations of one task by one annotator the newest is in force; the others are superseded.
4. Of several annotators the newest speaks for a turn. All of them stay in ``annotations.parquet``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from annotate.annotations import Annotation, turn_update
from schemas.belief import TurnUpdate
from schemas.ontology import Ontology

__all__ = ["Resolution", "resolve"]


@dataclass(frozen=True)
class Resolution:
    """What is in force of all annotations of one dialogue.

    Attributes:
        updates: one entry per user turn; None where no annotation in force speaks of it.
        sources: the annotation each update comes from.
        in_force: annotations that count, sorted by key; several may speak of one turn.
        orphaned: how many of the annotations speak of turns that the dialogue does not have (any more).
    """

    updates: tuple[TurnUpdate | None, ...]
    sources: tuple[Annotation | None, ...]
    in_force: tuple[Annotation, ...]
    orphaned: int

    def values_without_product(self, ontology: Ontology) -> Iterator[tuple[str, str]]:
        """Slot and value of everything wanted or disliked, in the annotations in force, that no product has."""
        for annotation in self.in_force:
            for mark in annotation.marks:
                slot = None if mark.slot is None else ontology.find(mark.slot)
                if slot is not None and mark.value is not None and mark.op in ("want", "dislike"):
                    linked = ontology.link(slot, mark.value)
                    if not linked.in_catalogue:
                        yield linked.slot, linked.value


def resolve(annotations: Iterable[Annotation], user_turns: Sequence[int]) -> Resolution:
    """Resolve all annotations of one dialogue, in any order.

    Args:
        annotations: every version of every annotation.
        user_turns: the dialogue's user turns, ascending.
    """
    newest: dict[str, Annotation] = {}
    for annotation in sorted(annotations, key=lambda each: each.key):
        newest[annotation.annotation_id] = annotation
    counting = [annotation for annotation in newest.values() if not annotation.is_withdrawn]
    here = set(user_turns)
    orphaned = sum(1 for annotation in counting if not here.issuperset(annotation.turns()))
    people = [each for each in counting if not each.is_corpus and not here.isdisjoint(each.turns())]
    in_force = _newest_per_task_and_annotator(people) or [each for each in counting if each.is_corpus]
    updates: dict[int, TurnUpdate] = {}
    sources: dict[int, Annotation] = {}
    for annotation in sorted(in_force, key=_age):
        for turn, marks in annotation.turns().items():
            updates[turn] = turn_update(marks)
            sources[turn] = annotation
    if any(mark.op == "bad_dialogue" for source in sources.values() for mark in source.marks):
        updates = {turn: TurnUpdate(readable=False) for turn in updates}
    return Resolution(
        updates=tuple(updates.get(turn) for turn in user_turns),
        sources=tuple(sources.get(turn) for turn in user_turns),
        in_force=tuple(sorted(in_force, key=lambda each: each.key)),
        orphaned=orphaned,
    )


def _newest_per_task_and_annotator(annotations: Iterable[Annotation]) -> list[Annotation]:
    newest: dict[tuple[str | None, str | None, str], Annotation] = {}
    for annotation in sorted(annotations, key=_age):
        newest[annotation.project, annotation.task_uid, annotation.annotator] = annotation
    return list(newest.values())


def _age(annotation: Annotation) -> tuple[str, str]:
    return annotation.updated_at, annotation.annotation_id
