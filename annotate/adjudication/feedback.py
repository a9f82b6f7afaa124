"""Where one annotator's answers and the final labels differ: what, how often, and what made the final label.

Compared are turns that something besides the annotator decided: other annotators, a policy, or a reviewer. Slots still
in dispute are left out. The final label is not taken for the truth, and neither is the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from annotate.annotations.annotation import Mark
from annotate.resolution.ballots import Ballot, Item
from annotate.resolution.resolve import DecidedBy, Resolution, TurnResolution

Kind = Literal["another value", "left out", "marked on top", "the other side", "said otherwise", "not labelled"]
"""How an answer differs in one slot: another value wanted or disliked; something of the final label not marked;
something marked that the final label lacks; wanted against disliked; else several of these; or that the turn can be
labelled at all."""

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Difference:
    """One slot of one turn in which an answer and the final label differ."""

    # dialogue_id, turn: where
    dialogue_id: str
    turn: int
    slot: str  # the slot; empty for what concerns the turn as a whole: a new topic, or whether it can be labelled
    kind: Kind  # how they differ
    # marked, decided: what the annotator and the final label say of the slot; empty where they say nothing of it, and
    # ``decided`` where the final label is that the turn cannot be labelled
    marked: tuple[Mark, ...]
    decided: tuple[Mark, ...]
    decided_by: DecidedBy  # what made the final label
    alike: int  # of those who answered the turn, how many say the same of this slot as the final label
    answers: int  # how many answered it

    @property
    def pair(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What was marked against what was decided, to count what is typical."""
        return _texts(self.marked), _texts(self.decided)


@dataclass(frozen=True)
class Group:
    """Differences of one kind in one slot."""

    slot: str
    kind: Kind
    differences: tuple[Difference, ...]  # in the order of dialogues and turns, the commonest pairs first

    @property
    def typical(self) -> list[tuple[tuple[str, ...], tuple[str, ...], int]]:
        """(marked, decided, how often), commonest first; pairs that came once only are left out."""
        counts = Counter(one.pair for one in self.differences)
        return [(*pair, times) for pair, times in sorted(counts.items(), key=lambda c: (-c[1], c[0])) if times > 1]


@dataclass
class Feedback:
    """What one annotator gets to see."""

    annotator: str  # who
    answered: int = 0  # turns answered
    compared: int = 0  # turns of these that others answered too or a reviewer decided, and that are decided
    same: int = 0  # turns of these without a difference
    undecided: int = 0  # turns still in dispute in at least one slot
    differences: list[Difference] = field(default_factory=list)  # all of them

    @property
    def groups(self) -> list[Group]:
        """The differences by slot and kind, the commonest first."""
        by: dict[tuple[str, Kind], list[Difference]] = {}
        for one in self.differences:
            by.setdefault((one.slot, one.kind), []).append(one)
        groups = [Group(slot, kind, tuple(_typical_first(found))) for (slot, kind), found in by.items()]
        return sorted(groups, key=lambda group: (-len(group.differences), group.slot, KINDS.index(group.kind)))


def collect_feedback(dialogues: Iterable[tuple[str, Resolution]]) -> dict[str, Feedback]:
    """Annotator -> feedback, over all resolved dialogues."""
    found: dict[str, Feedback] = {}
    for dialogue_id, resolution in dialogues:
        for turn in resolution.turns:
            for ballot in turn.ballots:
                given = found.setdefault(ballot.annotator, Feedback(ballot.annotator))
                _take(given, dialogue_id, turn, ballot)
    return dict(sorted(found.items()))


def _take(feedback: Feedback, dialogue_id: str, turn: TurnResolution, ballot: Ballot) -> None:
    feedback.answered += 1
    if turn.disputed_slots:
        feedback.undecided += 1
    if turn.update is None or turn.decided_by is None or (len(turn.ballots) == 1 and turn.decided_by != "verdict"):
        return
    if turn.decided_by == "disputed" and not turn.update.readable:
        return
    feedback.compared += 1
    differences = list(_differences(dialogue_id, turn, turn.decided_by, ballot))
    feedback.same += not differences
    feedback.differences += differences


def _differences(dialogue_id: str, turn: TurnResolution, decided_by: DecidedBy, ballot: Ballot) -> Iterable[Difference]:
    update = turn.update
    assert update is not None
    count = len(turn.ballots)
    labelled = _could_label(ballot)
    if not labelled or not update.readable:
        if labelled != update.readable:
            alike = sum(_could_label(other) == update.readable for other in turn.ballots)
            marked = _marks(ballot.items) if labelled else _flags(ballot)
            decided = _marks(turn.agreed) if update.readable else ()
            yield Difference(dialogue_id, turn.turn, "", "not labelled", marked, decided, decided_by, alike, count)
        return
    final = {item: text for item, text in turn.agreed.items() if item.slot not in turn.disputed_slots}
    slots = {item.slot for item in (*ballot.items, *final)} - turn.disputed_slots
    for slot in sorted(slots):
        mine, theirs = _of(slot, ballot.items), _of(slot, final)
        if mine.keys() != theirs.keys():
            alike = sum(
                _could_label(other) and _of(slot, other.items).keys() == theirs.keys() for other in turn.ballots
            )
            kind = _kind(set(mine), set(theirs))
            yield Difference(dialogue_id, turn.turn, slot, kind, _marks(mine), _marks(theirs), decided_by, alike, count)


def _kind(mine: set[Item], theirs: set[Item]) -> Kind:
    extra, missing = mine - theirs, theirs - mine
    if not extra:
        return "left out"
    if not missing:
        return "marked on top"
    if {item.value for item in extra} == {item.value for item in missing} and all(item.value for item in extra):
        return "the other side"
    if {item.op for item in extra} == {item.op for item in missing}:
        return "another value"
    return "said otherwise"


def _of(slot: str, items: Mapping[Item, str]) -> dict[Item, str]:
    return {item: text for item, text in items.items() if item.slot == slot}


def _marks(items: Mapping[Item, str]) -> tuple[Mark, ...]:
    return tuple(
        Mark(0, item.op, item.slot or None, text or None) for item, text in sorted(items.items(), key=lambda i: i[0])
    )


def _could_label(ballot: Ballot) -> bool:
    return ballot.readable and not any(mark.op == "bad_dialogue" for mark in ballot.annotation.marks)


def _flags(ballot: Ballot) -> tuple[Mark, ...]:
    marks = (*ballot.marks, *ballot.annotation.marks)
    return tuple(Mark(0, op) for op in ("bad_dialogue", "unsure", "bad_turn") if any(mark.op == op for mark in marks))


def _texts(marks: Sequence[Mark]) -> tuple[str, ...]:
    return tuple(f"{mark.op} {mark.value or mark.slot or ''}".strip() for mark in marks)


def _typical_first(differences: Sequence[Difference]) -> list[Difference]:
    counts = Counter(one.pair for one in differences)
    return sorted(differences, key=lambda one: (-counts[one.pair], one.pair, one.dialogue_id, one.turn))
