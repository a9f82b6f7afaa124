"""How well states are read, against gold: slot F1, value F1, joint goal accuracy.

The unit is a state after a user turn. A value is right with its slot and its polarity; a slot is right where both
states have a value of it, whichever. F1 is 2 right / (2 right + wrong + missing), over all turns together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from schemas.belief import BeliefState
from schemas.folding import fold

Item = tuple[str, str, str]
"""Slot, polarity and folded value."""


def items_of(state: BeliefState) -> set[Item]:
    """What a state holds, in a form that can be compared."""
    return {(item.slot, item.polarity, fold(item.value)) for item in state}


@dataclass
class Hits:
    """Right, wrong and missing values."""

    right: int = 0
    wrong: int = 0
    missing: int = 0

    @property
    def f1(self) -> float | None:
        """2 right / (2 right + wrong + missing); None where nothing was to be found and nothing was said."""
        said = 2 * self.right + self.wrong + self.missing
        return 2 * self.right / said if said else None

    def add(self, said: Collection[object], gold: Collection[object]) -> None:
        """Count one turn's."""
        right = len(set(said) & set(gold))
        self.right += right
        self.wrong += len(set(said)) - right
        self.missing += len(set(gold)) - right

    def __add__(self, other: Hits) -> Hits:
        return Hits(self.right + other.right, self.wrong + other.wrong, self.missing + other.missing)


@dataclass
class StateFigures:
    """Sums over turns."""

    turns: int = 0
    exact: int = 0  # turns whose whole state is the gold one
    values: dict[str, Hits] = field(default_factory=dict)  # slot -> its values
    filled: Hits = field(default_factory=Hits)  # slots that hold anything
    apart: dict[str, int] = field(default_factory=dict)  # slot -> turns after which it is not as in gold

    def add(self, state: BeliefState, gold: BeliefState) -> None:
        """Count one turn's state."""
        said, right = items_of(state), items_of(gold)
        self.turns += 1
        self.exact += said == right
        self.filled.add({item[0] for item in said}, {item[0] for item in right})
        for slot in {item[0] for item in said | right}:
            hits = self.values.setdefault(slot, Hits())
            hits.add([item for item in said if item[0] == slot], [item for item in right if item[0] == slot])
        for slot in {item[0] for item in said ^ right}:
            self.apart[slot] = self.apart.get(slot, 0) + 1

    @property
    def value_f1(self) -> float | None:
        """F1 of values; None where there are none."""
        return sum(self.values.values(), Hits()).f1

    @property
    def jga(self) -> float | None:
        """Joint goal accuracy, the share of exact states; None without any turn."""
        return self.exact / self.turns if self.turns else None

    def slot_jga(self, slot: str) -> float | None:
        """:attr:`jga` of one slot alone; None without any turn."""
        return 1 - self.apart.get(slot, 0) / self.turns if self.turns else None

    def as_json(self) -> dict[str, Any]:
        """``{turns, slot_f1, value_f1, jga, slots: {slot: {right, wrong, missing, f1}}}``."""
        return {
            "turns": self.turns,
            "slot_f1": self.filled.f1,
            "value_f1": self.value_f1,
            "jga": self.jga,
            "slots": {slot: {**vars(hits), "f1": hits.f1} for slot, hits in sorted(self.values.items())},
        }


MEASURES = ("slot_f1", "value_f1", "jga")
"""The figures of :class:`StateFigures` that one number holds."""

Fraction = tuple[int, int]
"""Numerator and denominator: of F1, 2 right and 2 right + wrong + missing; of joint goal accuracy, exact and all."""


@dataclass(frozen=True)
class StateCounts:
    """How well states are read, dialogue by dialogue, so that dialogues can be drawn again."""

    dialogues: tuple[str, ...]  # D
    fractions: Mapping[str, tuple[Fraction, ...]]  # measure -> of each dialogue [D]

    @cached_property
    def means(self) -> dict[str, float]:
        """Measure -> its figure over all dialogues together; without those of which there is nothing to count."""
        sums = {name: [sum(part) for part in zip(*each, strict=True)] for name, each in self.fractions.items()}
        return {name: found[0] / found[1] for name, found in sums.items() if found and found[1]}

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {"dialogues": list(self.dialogues), **{name: list(each) for name, each in self.fractions.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StateCounts:
        """What :meth:`as_json` wrote."""
        found = {name: tuple((int(part), int(whole)) for part, whole in value[name]) for name in MEASURES}
        return cls(tuple(map(str, value["dialogues"])), found)


def state_counts(figures: Mapping[str, StateFigures]) -> StateCounts | None:
    """The counts of dialogue -> its figures; None of no dialogue."""
    if not figures:
        return None

    def fraction(hits: Hits) -> Fraction:
        return 2 * hits.right, 2 * hits.right + hits.wrong + hits.missing

    return StateCounts(
        tuple(figures),
        {
            "slot_f1": tuple(fraction(each.filled) for each in figures.values()),
            "value_f1": tuple(fraction(sum(each.values.values(), Hits())) for each in figures.values()),
            "jga": tuple((each.exact, each.turns) for each in figures.values()),
        },
    )
