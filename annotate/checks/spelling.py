"""What a value that a slot does not know may mean: a value spelled nearly like it, or one of another slot."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

from schemas.mentions import Words
from schemas.ontology import Ontology, Slot, Value, fold, fold_name

__all__ = ["Spellings", "Suggestion"]

_DIGITS = re.compile(r"\d+")


class Suggestion(NamedTuple):
    """What may be meant."""

    slot: str  # as the ontology writes them
    values: tuple[str, ...]
    why: str  # for people

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
        self._slots = {slot.name: _Spelled(slot) for slot in ontology.slots}
        self._known: dict[str, list[tuple[int, str, str]]] = {}
        for slot in ontology.slots:
            for value in slot.values:
                for spelling in value.spellings:
                    self._known.setdefault(fold(spelling), []).append((-value.count, slot.name, value.value))
        self.suggest = lru_cache(maxsize=50_000)(self._suggest)

    def _suggest(self, slot_name: str, text: str) -> Suggestion | None:
        """The likeliest meaning of a text that the slot does not know, or None."""
        slot, folded = self._slots[slot_name], fold(text)
        known = self._known.get(folded, [])
        return (
            slot.with_letters(text)
            or slot.with_words(text)
            or slot.in_part(text)
            or next((Suggestion(name, (value,), "is known") for count, name, value in sorted(known) if count), None)
            # what is spelled right is no slip of another word
            or (None if known else slot.spelled_nearly(folded))
        )


class _Spelled:
    """The spellings of one slot, ready to be compared with."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._letters: dict[str, list[Value]] = {}
        self._words: dict[tuple[str, ...], list[Value]] = {}
        self._folded: dict[str, Value] = {}
        for value in slot.values:
            for spelling in value.spellings:
                self._letters.setdefault(fold_name(spelling), []).append(value)
                self._words.setdefault(Words.of(spelling).stems, []).append(value)
                self._folded[fold(spelling)] = value

    def with_letters(self, text: str) -> Suggestion | None:
        return self._commonest(self._letters.get(fold_name(text), []), "has the same letters")

    def with_words(self, text: str) -> Suggestion | None:
        return self._commonest(self._words.get(Words.of(text).stems, []), "has the same words")

    def in_part(self, text: str) -> Suggestion | None:
        given = Words.of(text).stems
        # "least expensive" is not expensive: words for numbers are not taken apart
        if self._slot.kind == "numeric" or not given or len(given[0]) < 3 or _DIGITS.search(given[0]):
            return None
        begins = [value for words, values in self._words.items() if words[: len(given)] == given for value in values]
        if begins:
            return self._commonest(begins, "begins so")
        inside = [words for words in self._words if len("".join(words)) > 2 and _stands_in(words, given)]
        # "light blue" stands in "very light blue", and "blue" only as a part of it
        whole = [words for words in inside if not any(words != other and _stands_in(words, other) for other in inside)]
        names = {value.value for words in whole for value in self._words[words]}
        return Suggestion(self._slot.name, tuple(sorted(names)), "stands in it") if names else None

    def spelled_nearly(self, folded: str) -> Suggestion | None:
        near = process.extract_iter(folded, self._folded.keys(), scorer=OSA.distance, processor=None, score_cutoff=2)
        found = [self._folded[spelling] for spelling, distance, _ in near if _is_near(spelling, folded, distance)]
        return self._commonest(found, "is spelled nearly so")

    def _commonest(self, found: list[Value], why: str) -> Suggestion | None:
        if not found:
            return None
        return Suggestion(self._slot.name, (min(found, key=lambda value: (-value.count, value.value)).value,), why)


def _stands_in(words: tuple[str, ...], text: tuple[str, ...]) -> bool:
    return any(text[at : at + len(words)] == words for at in range(len(text) - len(words) + 1))


def _is_near(known: str, given: str, distance: float) -> bool:
    shorter = min(len(known), len(given))
    if shorter < 4 or _DIGITS.findall(known) != _DIGITS.findall(given):
        return False
    return distance <= (1 if shorter < 8 else 2)
