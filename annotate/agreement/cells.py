"""What one answer says of each slot at one turn: the values that agreement compares.

A cell is (dialogue, turn, slot); its value is the set of things that the turn's update says of the slot: wants,
dislikes, a drop, or nothing. Updates are compared rather than accumulated states, since a state repeats an early
mistake at every later turn: one slip would count once for each turn left in the dialogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from annotate.annotations.annotation import Mark, turn_update
from schemas.belief import TurnUpdate
from schemas.ontology import Ontology, Slot, fold

__all__ = ["NEW_TOPIC", "NOTHING", "Cell", "CellReader", "Element", "show_cell"]

NEW_TOPIC = "new_topic"
"""Stands among the slots for the mark that the user starts over: yes or nothing."""


class Element(NamedTuple):
    """One thing said of a slot.

    Attributes:
        op: ``want``, ``dislike``, ``drop``, or ``new_topic``.
        value: the value wanted or disliked, in the form that tells values apart; empty otherwise.
    """

    op: Literal["want", "dislike", "drop", "new_topic"]
    value: str = ""

    def __str__(self) -> str:
        if self.op == "want":
            return self.value
        return f"not {self.value}" if self.op == "dislike" else self.op.replace("_", " ")


Cell = frozenset[Element]

NOTHING: Cell = frozenset()


def show_cell(cell: Cell) -> str:
    """A cell for people to read."""
    return ", ".join(map(str, sorted(cell, key=lambda element: (element.op == "dislike", element)))) or "nothing"


class CellReader:
    """Reads marks as cells of an ontology's slots.

    Two values are the same when the ontology spells them the same: aliases are equal, as in
    :func:`annotate.resolution.items.items_of`, and so is what differs in case and spaces only. A value wanted and
    disliked in one turn counts as disliked, as in :func:`annotate.states.accumulate.accumulate`.

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
