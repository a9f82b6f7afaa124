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
        slot, values: as the ontology writes them.
        why: for people.
    """

    slot: str
    values: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return ", ".join(f"{self.slot}={value}" for value in self.values)


class Spellings:
    """All spellings of an ontology.

    The nearest value of the slot itself is one that has the same letters, or the same words in singular or plural; else
    one that begins with the given words (``knee``: knee length), or those that stand in them (``red and black``); else
    one within an edit distance (optimal string alignment: insert, delete, replace, swap neighbours) of 1, or 2 from
    eight letters on. Before the last comes a value that another slot knows and products have. Short texts and texts
    with other numbers are never near. Of several the commonest in the catalogue wins.
    """

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology
        self.suggest = lru_cache(maxsize=50_000)(self._suggest)

    def _suggest(self, slot_name: str, text: str) -> Suggestion | None:
        """The likeliest meaning of a text that the slot does not know, or None."""
        slot = self._ontology.slot(slot_name)
        known = _spellings(slot)
        given = _stems(text)
        return (
            _commonest(slot, [v for v, s in known if fold_name(s) == fold_name(text)], "has the same letters")
            or _commonest(slot, [v for v, s in known if _stems(s) == given], "has the same words")
            # "least expensive" is not expensive: words for numbers are not taken apart
            or (_in_part(slot, known, given) if slot.kind == "categorical" else None)
            or self._elsewhere(slot, text)
            or (None if self._is_a_word(text) else self._near(slot, text))
        )

    def _near(self, slot: Slot, text: str) -> Suggestion | None:
        near = [value for value, spelling in _spellings(slot) if _is_near(fold(spelling), fold(text))]
        return _commonest(slot, near, "is spelled nearly so")

    def _is_a_word(self, text: str) -> bool:
        """Whether some slot knows it: what is spelled right is no slip of another word."""
        return any(fold(spelling) == fold(text) for slot in self._ontology.slots for _, spelling in _spellings(slot))

    def _elsewhere(self, slot: Slot, text: str) -> Suggestion | None:
        others = (other for other in self._ontology.slots if other.name != slot.name)
        found = [
            (value.count, other.name, value.value)
            for other in others
            for value, spelling in _spellings(other)
            if value.count and fold(spelling) == fold(text)
        ]
        if not found:
            return None
        _, name, value = min(found, key=lambda each: (-each[0], each[1]))
        return Suggestion(name, (value,), "is known")


def _commonest(slot: Slot, found: list[Value], why: str) -> Suggestion | None:
    if not found:
        return None
    return Suggestion(slot.name, (min(found, key=lambda value: (-value.count, value.value)).value,), why)


def _in_part(slot: Slot, known: list[tuple[Value, str]], given: tuple[str, ...]) -> Suggestion | None:
    if any(len(word) < 3 or _DIGITS.search(word) for word in given[:1]):
        return None  # numbers and single letters begin too much
    begins = [value for value, spelling in known if given and _stems(spelling)[: len(given)] == given]
    if begins:
        return _commonest(slot, begins, "begins so")
    inside: dict[str, tuple[str, ...]] = {}
    for value, spelling in known:
        words = _stems(spelling)
        if len("".join(words)) > 2 and _stands_in(words, given):
            inside[value.value] = max(words, inside.get(value.value, ()), key=len)
    # "light blue" stands in "very light blue", and "blue" only as a part of it
    whole = [v for v, words in inside.items() if not any(words != o and _stands_in(words, o) for o in inside.values())]
    return Suggestion(slot.name, tuple(sorted(whole)), "stands in it") if whole else None


def _stands_in(words: tuple[str, ...], text: tuple[str, ...]) -> bool:
    return any(text[at : at + len(words)] == words for at in range(len(text) - len(words) + 1))


def _spellings(slot: Slot) -> list[tuple[Value, str]]:
    return [(value, spelling) for value in slot.values for spelling in value.spellings]


@lru_cache(maxsize=100_000)
def _stems(text: str) -> tuple[str, ...]:
    return Words.of(text).stems


def _is_near(known: str, given: str) -> bool:
    if len(given) < 4 or len(known) < 4 or _DIGITS.findall(known) != _DIGITS.findall(given):
        return False
    most = 1 if min(len(known), len(given)) < 8 else 2
    return bool(OSA.distance(known, given, score_cutoff=most) <= most)
