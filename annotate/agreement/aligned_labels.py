"""What each annotator says of each slot at each turn of a dialogue: the values that agreement compares.

A cell is (dialogue, turn, slot); its value is the set of things that the turn's update says of the slot: wants,
dislikes, a drop, or nothing. Updates are compared rather than accumulated states, since a state repeats an early
mistake at every later turn: one slip would count once for each turn left in the dialogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from annotate.annotations.annotation import Annotation, Mark, turn_update
from annotate.resolution.answers import Answer, Ruling, people_answers, verdicts
from schemas.accumulate import KnownState, accumulate
from schemas.belief import TurnUpdate
from schemas.folding import fold
from schemas.ontology import Ontology, Slot

NEW_TOPIC = "new_topic"
"""Stands among the slots for the mark that the user starts over: yes or nothing."""


class Element(NamedTuple):
    """One thing said of a slot."""

    op: Literal["want", "dislike", "drop", "new_topic"]  # ``want``, ``dislike``, ``drop``, or ``new_topic``
    value: str = ""  # the value wanted or disliked, in the form that tells values apart; empty otherwise

    def __str__(self) -> str:
        if self.op == "want":
            return self.value
        return f"not {self.value}" if self.op == "dislike" else self.op.replace("_", " ")


Cell = frozenset[Element]

NOTHING: Cell = frozenset()


class CellReader:
    """Reads marks as cells of an ontology's slots.

    Two values are the same when the ontology spells them the same: aliases are equal, as in
    :func:`annotate.resolution.ballots.items_of`, and so is what differs in case and spaces only. A value wanted and
    disliked in one turn counts as disliked, as in :func:`schemas.accumulate.accumulate`.

    Attributes:
        slots: the ontology's slots in order, then :data:`NEW_TOPIC`; cells are keyed by position here.
        unknown_slots: slot name -> marks left out, since the ontology has no such slot.
    """

    def __init__(self, ontology: Ontology) -> None:
        self.slots = (*(slot.name for slot in ontology.slots), NEW_TOPIC)
        self.unknown_slots: Counter[str] = Counter()
        self._ontology = ontology
        self._position = {slot.name: position for position, slot in enumerate(ontology.slots)}
        self._slot_of: dict[str, Slot | None] = {}
        self._value_of: dict[tuple[str, str], str] = {}

    def update(self, marks: Iterable[Mark]) -> TurnUpdate | None:
        """The update that the marks of one turn make, slots and values as the ontology writes them.

        Returns:
            None where the annotator could not label the turn: it is a missing answer, not an empty one.
        """
        said = turn_update(marks)
        if not said.readable:
            return None
        want, dislike = self._linked(said.want), self._linked(said.dislike)
        drop, unknown = (
            frozenset(slot.name for name in sorted(names) if (slot := self._slot(name)) is not None)
            for names in (said.drop, said.unknown)
        )
        return TurnUpdate(want, dislike, drop, said.new_topic, unknown=unknown)

    def cells(self, update: TurnUpdate) -> dict[int, Cell]:
        """Position of a slot -> what an update (see :meth:`update`) says of it, where it says anything."""
        found: dict[int, set[Element]] = {}
        for name, values in update.want.items():
            avoided = update.dislike.get(name, ())
            kept = [Element("want", value) for value in values if value not in avoided]
            if kept:
                found.setdefault(self._position[name], set()).update(kept)
        for name, values in update.dislike.items():
            found.setdefault(self._position[name], set()).update(Element("dislike", value) for value in values)
        for name in update.drop:
            found.setdefault(self._position[name], set()).add(Element("drop"))
        if update.new_topic:
            found[len(self._position)] = {Element("new_topic")}
        for position in self.missing(update):
            found.pop(position, None)
        return {position: frozenset(elements) for position, elements in found.items()}

    def missing(self, update: TurnUpdate) -> frozenset[int]:
        """Positions of the slots of which the update (see :meth:`update`) does not tell what it says."""
        return frozenset(self._position[name] for name in update.unknown)

    def _linked(self, side: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name, values in side.items():
            slot = self._slot(name, marks=len(values))
            if slot is not None:
                linked = (self._value(slot, value) for value in values)
                found[slot.name] = tuple(dict.fromkeys((*found.get(slot.name, ()), *linked)))
        return found

    def _slot(self, name: str, *, marks: int = 1) -> Slot | None:
        if name not in self._slot_of:
            self._slot_of[name] = self._ontology.find(name)
        slot = self._slot_of[name]
        if slot is None:
            self.unknown_slots[name] += marks
        return slot

    def _value(self, slot: Slot, value: str) -> str:
        key = (slot.name, value)
        if key not in self._value_of:
            found, linked = slot.find(value), fold(self._ontology.link(slot, value).value)
            self._value_of[key] = found.value if found is not None and fold(found.value) == linked else linked
        return self._value_of[key]


class LabelledTurn(NamedTuple):
    """One readable answer to one turn."""

    cells: Mapping[int, Cell]  # position of a slot -> what is said of it; slots of which nothing is said left out
    # slots of which the answer does not tell what it says, since the ontology has changed
    missing: frozenset[int] = frozenset()
    # what holds after the turn by this annotator's own answers; None where it is not asked for
    state: KnownState | None = None
    prelabelled: bool = False  # whether the answer started from a pre-label


class AlignedLabels(NamedTuple):
    """The answers to one dialogue."""

    people: Mapping[str, Mapping[int, LabelledTurn]]  # annotator -> user turn -> answer, readable ones only
    verdicts: Mapping[int, LabelledTurn]  # user turn -> the verdict, where there is a readable one
    unreadable: Mapping[str, int]  # annotator -> turns answered with unsure, bad turn or bad dialogue: missing values
    untouched: Mapping[str, int]  # annotator -> turns whose answer is the pre-label as it was
    orphaned: int  # answers to turns that the dialogue does not have (any more), left out


def read_dialogue(
    annotations: Iterable[Annotation],
    user_turns: Sequence[int],
    reader: CellReader,
    ontology: Ontology,
    annotators: frozenset[str] | None = None,
) -> AlignedLabels:
    """Read all annotations of one dialogue.

    Args:
        annotations: every version of every annotation.
        user_turns: of the dialogue, ascending.
        reader: turns marks into cells.
        ontology: keys values, for the states.
        annotators: whose answers to read; None for everybody's.
    """
    annotations = list(annotations)
    answers = people_answers(annotations)
    here = set(user_turns)
    people: dict[str, dict[int, LabelledTurn]] = {}
    unreadable: dict[str, int] = {}
    untouched: dict[str, int] = {}
    orphaned = 0
    updates = _Updates(reader)
    states = _States(ontology)
    for annotator, given in answers.items():
        if annotators is not None and annotator not in annotators:
            continue
        orphaned += len(given.keys() - here)
        kept = {turn: answer for turn, answer in given.items() if turn in here}
        read = updates.read(kept)
        after: Sequence[KnownState | None] = [None] * len(user_turns)
        if len(answers) > 1:
            after = states.after([None if (found := read.get(turn)) is None else found.update for turn in user_turns])
        people[annotator] = {
            turn: LabelledTurn(found.cells, found.missing, state, kept[turn].annotation.prelabel is not None)
            for turn, state in zip(user_turns, after, strict=True)
            if (found := read.get(turn)) is not None
        }
        unreadable[annotator] = len(kept) - len(read)
        untouched[annotator] = sum(answer.annotation.untouched for answer in kept.values())
    given_verdicts = {turn: given for turn, given in verdicts(annotations).items() if turn in here}
    ruled = updates.read({turn: _verdict(turn, given, ontology) for turn, given in given_verdicts.items()})
    rulings = {turn: LabelledTurn(found.cells, found.missing) for turn, found in ruled.items()}
    return AlignedLabels(people, rulings, unreadable, untouched, orphaned)


def _verdict(turn: int, rulings: Sequence[Ruling], ontology: Ontology) -> Answer:
    """What reviewers decided of a turn as one answer; of slots that none of them decided it says nothing."""

    def slot_of(name: str | None) -> str:
        found = None if name is None else ontology.find(name)
        return (name or "") if found is None else found.name

    marks: list[Mark] = []
    open_ = {slot.name for slot in ontology.slots}
    for ruling in rulings:
        if ruling.slots is None:
            marks, open_ = list(ruling.marks), set()
            continue
        decided = set(map(slot_of, ruling.slots))
        said = [mark for mark in ruling.marks if mark.op == "new_topic" or mark.slot is not None]
        marks = [mark for mark in marks if slot_of(mark.slot) not in decided or mark.op == "none"]
        marks += [mark for mark in said if slot_of(mark.slot) in decided]
        open_ -= decided
    marks += [Mark(turn, "unknown", slot) for slot in sorted(open_)]
    return Answer(tuple(marks) or (Mark(turn, "none"),), rulings[-1].annotation)


def same_state(one: KnownState, other: KnownState) -> bool | None:
    """Whether two states are the same in every slot known to both; None when there is no such slot."""
    shared = one.known_slots & other.known_slots
    if not shared:
        return None
    if one.known_slots == other.known_slots:
        return one.state == other.state
    parts = ([item for item in each.state or () if item.slot in shared] for each in (one, other))
    return next(parts) == next(parts)


class _Read(NamedTuple):
    """The marks of one turn, read."""

    update: TurnUpdate
    cells: Mapping[int, Cell]
    missing: frozenset[int]


class _Updates:
    """Reads answers; what several people mark in the same way, which is the common case, only once."""

    def __init__(self, reader: CellReader) -> None:
        self._reader = reader
        self._known: dict[int, list[tuple[tuple[Mark, ...], _Read | None]]] = {}

    def read(self, answers: Mapping[int, Answer]) -> dict[int, _Read]:
        """Turn -> what is read of its answer, readable ones only."""
        sources = {id(answer.annotation): answer.annotation for answer in answers.values()}
        if any(mark.op == "bad_dialogue" for source in sources.values() for mark in source.marks):
            return {}
        found = ((turn, self._turn(turn, answer.marks)) for turn, answer in answers.items())
        return {turn: read for turn, read in found if read is not None}

    def _turn(self, turn: int, marks: tuple[Mark, ...]) -> _Read | None:
        known = self._known.setdefault(turn, [])
        for same, read in known:
            if same == marks:
                return read
        update = self._reader.update(marks)
        read = None if update is None else _Read(update, self._reader.cells(update), self._reader.missing(update))
        known.append((marks, read))
        return read


class _States:
    """Accumulates updates; those of people who say the same throughout only once."""

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology
        self._known: list[tuple[Sequence[TurnUpdate | None], list[KnownState]]] = []

    def after(self, updates: Sequence[TurnUpdate | None]) -> list[KnownState]:
        """The state after each turn."""
        for same, states in self._known:
            if same == updates:
                return states
        states = accumulate(updates, self._ontology)
        self._known.append((updates, states))
        return states
