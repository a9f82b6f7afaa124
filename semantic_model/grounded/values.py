"""The ontology's values as columns: which of them a product has, a state wants, and a text mentions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.belief import BeliefState
from schemas.mentions import Mention, MentionFinder
from schemas.ontology import Ontology, Slot, Value

__all__ = ["Mention", "SlotValues", "Wishes"]


class Wishes(NamedTuple):
    """A state as columns."""

    like: npt.NDArray[np.bool_]  # the values liked [V]
    dislike: npt.NDArray[np.bool_]  # the values disliked [V]
    known: npt.NDArray[np.bool_]  # whether every value that the state has in a slot is in the ontology [n]


class SlotValues:
    """All values of all slots, side by side: V columns.

    Args:
        ontology: its slots, in order, with their values, in order.

    Attributes:
        slots: n slots.
        slot_of: slot of each column [V].
        values: the value of each column.
    """

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        self.slots: tuple[Slot, ...] = ontology.slots
        self.values: tuple[Value, ...] = tuple(value for slot in self.slots for value in slot.values)
        self.slot_of: npt.NDArray[np.int64] = np.repeat(
            np.arange(len(self.slots)), [len(slot.values) for slot in self.slots]
        )
        first = np.cumsum([0, *(len(slot.values) for slot in self.slots)])
        self._columns: list[Mapping[str, int]] = [
            {value.value: int(start) + at for at, value in enumerate(slot.values)}
            for slot, start in zip(self.slots, first, strict=False)
        ]
        self._numbers = {slot.name: number for number, slot in enumerate(self.slots)}

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """The columns of each slot."""
        ends = np.cumsum([0, *(len(slot.values) for slot in self.slots)]).tolist()
        return tuple(slice(start, end) for start, end in pairwise(ends))

    def of_attributes(self, attributes: Mapping[str, Sequence[str]]) -> npt.NDArray[np.bool_]:
        """Which values a product with these attributes has [V]; a number counts as the range it lies in."""
        found = np.zeros(len(self), dtype=np.bool_)
        for number, slot in enumerate(self.slots):
            for text in attributes.get(slot.attribute, ()):
                value = slot.find(text)
                if value is not None:
                    found[self._columns[number][value.value]] = True
        return found

    def of_state(self, state: BeliefState) -> Wishes:
        """Which values are liked and disliked; values and slots that the ontology lacks are left out."""
        like, dislike = np.zeros(len(self), dtype=np.bool_), np.zeros(len(self), dtype=np.bool_)
        found = Wishes(like, dislike, known=np.ones(len(self.slots), dtype=np.bool_))
        for item in state:
            column = self.column(item.slot, item.value)
            if column is not None:
                wanted = found.like if item.polarity == "like" else found.dislike
                wanted[column] = True
            elif item.slot in self._numbers:
                found.known[self._numbers[item.slot]] = False
        return found

    def column(self, slot: str, value: str) -> int | None:
        """Of a value by any spelling, or of the range that a number lies in; None where the ontology lacks it."""
        number = self._numbers.get(slot)
        known = None if number is None else self.slots[number].find(value)
        return None if number is None or known is None else self._columns[number][known.value]

    def mentions(self, text: str) -> list[Mention]:
        """The values that a text names, by spelling or alias, each once; see :meth:`MentionFinder.mentions`."""
        return self._finder.mentions(text)

    @cached_property
    def _finder(self) -> MentionFinder:
        return MentionFinder.of_slots((slot, value) for slot in self.slots for value in slot.values)

    def texts(self) -> Iterator[str]:
        """Each column's value as a text."""
        return (value.value for value in self.values)
