"""One dialogue as the checks see it: its answers in force, what they make of its states, and what was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from annotate.annotations.annotation import Annotation
from annotate.checks.dialogue_store import StoredDialogue
from annotate.checks.finding import Finding
from annotate.resolution.resolve import TurnResolution
from schemas.belief import TurnUpdate
from schemas.ontology import Ontology, fold

__all__ = ["DialogueLabels", "Refused", "TurnLabels"]


class Refused(NamedTuple):
    """One row of the quarantine."""

    annotation_id: str | None
    turn: int | None
    reason: str
    annotator: str | None
    detail: str


class TurnLabels(NamedTuple):
    """One user turn."""

    turn: int
    update: TurnUpdate | None  # what it changes; None where there is no label
    before: Sequence[Mapping[str, Any]] | None  # the state before it; None where unknown
    state: Sequence[Mapping[str, Any]] | None  # the state after it; None where unknown
    known_before: frozenset[str]  # names of the slots that are known before it
    since: Mapping[tuple[str, str], int]  # (slot, folded value) -> the turn that said it last, for all in ``state``
    annotators: tuple[str, ...]  # whose label it is
    annotation_ids: tuple[str, ...]

    @property
    def is_readable(self) -> bool:
        return self.update is not None and self.update.readable

    @property
    def is_blank(self) -> bool:
        """Whether the turn is said to change nothing."""
        said = self.update
        return (
            said is not None
            and said.readable
            and not (said.want or said.dislike or said.drop or said.new_topic or said.unknown)
        )


@dataclass(frozen=True)
class DialogueLabels:
    """The labels of one dialogue."""

    dialogue_id: str
    updates: Sequence[TurnUpdate | None]  # one per user turn, as resolved
    states: Sequence[Mapping[str, Any]]  # its rows of ``states.parquet``, one per user turn
    in_force: Sequence[Annotation]  # the annotations that count
    annotations: Sequence[Annotation]  # every version of every annotation
    refused: Sequence[Refused]  # its rows of the quarantine
    said: StoredDialogue  # what was said, shown and recommended
    ontology: Ontology
    resolution: Sequence[TurnResolution] = ()  # what is in force of each user turn
    reviews: Sequence[Annotation] = ()  # the answers to review tasks, oldest first

    @cached_property
    def turns(self) -> list[TurnLabels]:
        """The user turns, in order."""
        found: list[TurnLabels] = []
        before: Sequence[Mapping[str, Any]] | None = ()
        known, since = frozenset(slot.name for slot in self.ontology.slots), dict[tuple[str, str], int]()
        for update, row in zip(self.updates, self.states, strict=True):
            turn, state = row["turn"], row["state"]
            wanted_now, given_up = self._slots_of(update, "want"), self._slots_of(update, "drop")
            anew = update is not None and update.readable and update.new_topic
            earlier, since = since, {}
            held = {(each["slot"], fold(each["value"]), each["polarity"]) for each in before or ()}
            for item in state or ():
                key = item["slot"], fold(item["value"])
                # wanted values replace a slot's, so all that is wanted of it then was said now; and so was a dislike of
                # what was wanted, and whatever holds of what was given up in the same breath
                is_new = anew or item["slot"] in given_up or (*key, item["polarity"]) not in held
                is_new = is_new or (item["polarity"] == "like" and item["slot"] in wanted_now)
                since[key] = turn if is_new else earlier.get(key, turn)
            annotators, ids = tuple(row["annotators"]), tuple(row["source_annotations"])
            found.append(TurnLabels(turn, update, before, state, known, since, annotators, ids))
            before, known = state, frozenset(row["labelled_slots"])
        return found

    def _slots_of(self, update: TurnUpdate | None, part: Literal["want", "drop"]) -> set[str]:
        if update is None or not update.readable:
            return set()
        return {self.ontology.slot(name).name for name in (update.want if part == "want" else update.drop)}

    def next_recommendation(self, turn: int) -> tuple[int, list[str]] | None:
        """The recommendation that answers a user turn, before the user speaks again: its turn and the products."""
        following = [row["turn"] for row in self.states if row["turn"] > turn]
        answers = [at for at in self.said.recommended if at > turn and (not following or at < following[0])]
        return (min(answers), self.said.recommended[min(answers)]) if answers else None

    def finding(
        self,
        code: str,
        detail: str,
        at: TurnLabels | None = None,
        *,
        by: Iterable[Annotation] = (),
        turn: int | None = None,
        slot: str | None = None,
        value: str | None = None,
        suggestion: str | None = None,
    ) -> Finding:
        """A finding of this dialogue: at a turn, whose label it is then, or by the annotations named."""
        whose = sorted(by, key=lambda annotation: annotation.key)
        return Finding(
            code=code,
            dialogue_id=self.dialogue_id,
            detail=detail,
            turn=at.turn if at is not None else turn,
            slot=slot,
            value=value,
            suggestion=suggestion,
            annotators=tuple(sorted({each.annotator for each in whose})) or (at.annotators if at else ()),
            annotation_ids=tuple(each.annotation_id for each in whose) or (at.annotation_ids if at else ()),
        )
