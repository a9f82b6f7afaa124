"""Which answers of people count, annotator by annotator: what agreement compares and adjudication resolves.

Of several versions of one annotation the newest counts, and a withdrawn one not at all. Where an annotator answered a
turn more than once, in whatever project, the newest answer stands; of several answers to one task only the newest
counts, so that a turn refused in it does not bring an older answer back.

A review decides the slots that the reviewer touched, or all of a turn where an answer was taken over as a whole. What
was left as it was filled in is no verdict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from annotate.annotations.annotation import Annotation, Mark


@dataclass(frozen=True)
class Answer:
    """What one annotator says of one user turn."""

    marks: tuple[Mark, ...]  # everything marked at the turn; one ``none`` for a turn that changes nothing
    annotation: Annotation  # where it is from


@dataclass(frozen=True)
class Ruling:
    """What one review decides of one user turn."""

    marks: tuple[Mark, ...]  # everything marked at the turn, as it was sent
    annotation: Annotation  # where it is from
    # by the name they had then; the empty one is whether a new topic starts; None: all of the turn
    slots: frozenset[str] | None = None
    shown: str | None = None  # hash of the answers that the reviewer saw, see ``answers_sha256``


def newest_versions(annotations: Iterable[Annotation]) -> list[Annotation]:
    """The newest version of each annotation, sorted by key, without those withdrawn."""
    newest: dict[str, Annotation] = {}
    for annotation in sorted(annotations, key=lambda each: each.key):
        newest[annotation.annotation_id] = annotation
    return [annotation for annotation in newest.values() if not annotation.is_withdrawn]


def people_answers(annotations: Iterable[Annotation]) -> dict[str, dict[int, Answer]]:
    """Annotator -> user turn -> answer, for all annotations of one dialogue; verdicts and the corpus left out."""
    counting = newest_versions(annotations)
    return _by_annotator([each for each in counting if not each.is_corpus and each.role == "label"])


def reviews(annotations: Iterable[Annotation]) -> list[Annotation]:
    """Every reviewer's newest answer to each review task, oldest first, whether it decides anything or not."""
    return _newest_of_each_task(each for each in newest_versions(annotations) if each.role == "review")


def verdicts(annotations: Iterable[Annotation]) -> dict[int, tuple[Ruling, ...]]:
    """User turn -> what reviewers decided of it, oldest first, for all annotations of one dialogue.

    Of a slot the last ruling that decides it counts; one of the whole turn takes the place of all before it.
    """
    given: dict[int, tuple[Ruling, ...]] = {}
    for annotation in reviews(annotations):
        for turn, marks in annotation.turns().items():
            ruling = _ruling(tuple(marks), annotation)
            if ruling is not None:
                before = () if ruling.slots is None else given.get(turn, ())
                given[turn] = (*before, ruling)
    return given


def _ruling(marks: tuple[Mark, ...], annotation: Annotation) -> Ruling | None:
    decided = [mark for mark in marks if mark.op == "decided"]
    # earlier versions of semctl stored no more than that a page was sent as it was
    if any(mark.op == "left_open" for mark in marks) or (annotation.untouched and not decided):
        return None
    slots = {mark.slot for mark in decided}
    said = tuple(mark for mark in marks if mark.op != "decided")
    whole = not decided or None in slots
    shown = next((mark.value for mark in decided), None)
    return Ruling(said, annotation, None if whole else frozenset(slot for slot in slots if slot is not None), shown)


def standing_annotations(annotations: Iterable[Annotation], user_turns: Collection[int]) -> list[Annotation]:
    """The annotations that count, of all versions of all annotations of one dialogue, sorted by key.

    Those of people where there are any; reviews that decide something, or that are the last of a turn; else the
    corpus'.
    """
    counting = newest_versions(annotations)
    answers = [answer for given in people_answers(counting).values() for answer in given.items()]
    spoken = [answer.annotation for turn, answer in answers if turn in user_turns]
    sent = reviews(counting)
    spoken += [ruling.annotation for turn, given in verdicts(sent).items() if turn in user_turns for ruling in given]
    last = {turn: review for review in sent for turn in review.turns() if turn in user_turns}
    spoken += last.values()
    standing = {each.key: each for each in spoken or [each for each in counting if each.is_corpus]}
    return [standing[key] for key in sorted(standing)]


def _by_annotator(annotations: Iterable[Annotation]) -> dict[str, dict[int, Answer]]:
    found: dict[str, dict[int, Answer]] = {}
    for annotation in _newest_of_each_task(annotations):
        answers = found.setdefault(annotation.annotator, {})
        answers |= {turn: Answer(tuple(marks), annotation) for turn, marks in annotation.turns().items()}
    return {annotator: dict(sorted(found[annotator].items())) for annotator in sorted(found)}


def _newest_of_each_task(annotations: Iterable[Annotation]) -> list[Annotation]:
    """One annotation per annotator and task, oldest first; those of no known task are tasks of their own."""
    newest: dict[tuple[str, ...], Annotation] = {}
    for annotation in sorted(annotations, key=_age):
        task = annotation.task_uid
        of: tuple[str, ...]
        of = (annotation.annotation_id,)
        if task is not None:  # tasks of two servers and projects may have one uid
            of = (annotation.server or "", annotation.project or "", task, annotation.annotator)
        newest[of] = annotation
    return sorted(newest.values(), key=_age)


def _age(annotation: Annotation) -> tuple[str, str]:
    return annotation.updated_at, annotation.annotation_id
