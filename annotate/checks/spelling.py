"""What a value that a slot does not know may mean: a value spelled nearly like it, or one of another slot."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz.distance import OSA

from schemas.mentions import Words
from schemas.ontology import Ontology, Slot, Value, fold, fold_name

__all__ = ["Spellings", "Suggestion"]

_DIGITS = re.compile(r"\d+")


class Suggestion(NamedTuple):
    """What may be meant.

    Attributes:
        slot, value: as the ontology writes them.
        why: for people.
    """

    slot: str
    value: str
    why: str


class Spellings:
    """All spellings of an ontology.

    The nearest value of the slot itself is one that has the same letters, or the same words in singular or plural,
    else one of which the given words are a part or that is a part of them, else one within an edit distance (optimal
    string alignment: insert, delete, replace, swap neighbours) of 1, or 2 from eight letters on. Short texts and texts
    with other numbers are never near. Of several the commonest in the catalogue wins.
    """

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology
        self.suggest = lru_cache(maxsize=50_000)(self._suggest)

    def _suggest(self, slot_name: str, text: str) -> Suggestion | None:
        """The likeliest meaning of a text that the slot does not know, or None; in another slot only if known there."""
        slot = self._ontology.slot(slot_name)
        return (
            self._pick(slot, [(v, s) for v, s in _spellings(slot) if fold_name(s) == fold_name(text)], "same letters")
            or self._pick(slot, [(v, s) for v, s in _spellings(slot) if _stems(s) == _stems(text)], "same words")
            or self._pick(slot, [(v, s) for v, s in _spellings(slot) if _is_part(_stems(s), _stems(text))], "in part")
            or self._elsewhere(slot, text)
            or self._pick(slot, [(v, s) for v, s in _spellings(slot) if _is_near(fold(s), fold(text))], "nearly")
        )

    @staticmethod
    def _pick(slot: Slot, found: list[tuple[Value, str]], why: str) -> Suggestion | None:
        if not found:
            return None
        value, _ = min(found, key=lambda each: (-each[0].count, each[0].value))
        return Suggestion(slot.name, value.value, why)

    def _elsewhere(self, slot: Slot, text: str) -> Suggestion | None:
        found = [
            (value.count, other.name, value.value)
            for other in self._ontology.slots
            if other.name != slot.name
            for value, spelling in _spellings(other)
            if fold(spelling) == fold(text)
        ]
        if not found:
            return None
        _, name, value = min(found, key=lambda each: (-each[0], each[1]))
        return Suggestion(name, value, "known there")


def _spellings(slot: Slot) -> list[tuple[Value, str]]:
    return [(value, spelling) for value in slot.values for spelling in value.spellings]


@lru_cache(maxsize=100_000)
def _stems(text: str) -> tuple[str, ...]:
    return Words.of(text).stems


def _is_part(known: tuple[str, ...], given: tuple[str, ...]) -> bool:
    short, long = sorted((known, given), key=len)
    # numbers and single letters stand inside of too much
    if not short or any(len(word) < 3 or _DIGITS.search(word) for word in short):
        return False
    return any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1))


def _is_near(known: str, given: str) -> bool:
    if len(given) < 4 or len(known) < 4 or _DIGITS.findall(known) != _DIGITS.findall(given):
        return False
    most = 1 if min(len(known), len(given)) < 8 else 2
    return bool(OSA.distance(known, given, score_cutoff=most) <= most)
