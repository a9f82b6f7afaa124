"""Amounts that a turn gives: "under 50", "below $30", "between 20 and 40", "around 150 dollars"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.numbers import NUMBER_IN_TEXT, read_number
from schemas.ontology import Ontology, Slot

__all__ = ["find_amounts"]

_BELOW = r"under|below|less than|lower than|cheaper than|no more than|not more than|at most|up to|within|max(?:imum)?"
_ABOVE = r"over|above|more than|higher than|better than|at least|min(?:imum)?"
_ABOUT = r"around|about|approximately|roughly|close to"
_AMOUNT = re.compile(
    rf"(?P<between>between {NUMBER_IN_TEXT} and {NUMBER_IN_TEXT}|{NUMBER_IN_TEXT}\s?(?:to|-|–)\s?{NUMBER_IN_TEXT})"
    rf"|(?P<bound>(?:{_BELOW}|{_ABOVE})(?: of)? {NUMBER_IN_TEXT})"
    rf"|(?:{_ABOUT}) (?P<about>{NUMBER_IN_TEXT})"
    rf"|(?P<money>{NUMBER_IN_TEXT})"
)
_NUMBER = re.compile(NUMBER_IN_TEXT)
_RATING = re.compile(r"\b(?:stars?|rated|ratings?|reviews?|scores?)\b")
_RATING_SLOTS = ("rating", "review", "star", "score")


def find_amounts(text: str, ontology: Ontology) -> Iterator[tuple[str, str]]:
    """Slot and amount, as the shopper put it, for each amount that can only be one slot's.

    Which slot: the numeric one that speaks of money, or of a rating, as the sentence does; else the only numeric one
    within whose ranges the number lies.

    Args:
        text: a folded sentence.
        ontology: its numeric slots; without any, nothing is found.
    """
    numeric = [slot for slot in ontology.slots if slot.kind == "numeric"]
    if not numeric:
        return
    for match in _AMOUNT.finditer(text):
        said = next(part for part in match.groups() if part)
        if match["money"] and (said[0].isdigit() or not _is_money(said)):
            continue
        slot = _slot(numeric, said, text)
        if slot is not None:
            yield slot.name, " ".join(said.split())


def _slot(numeric: list[Slot], said: str, sentence: str) -> Slot | None:
    if _is_money(said):
        return _only([slot for slot in numeric if slot.is_money])
    if _RATING.search(sentence):
        return _only([slot for slot in numeric if _speaks_of_ratings(slot)])
    return _only([slot for slot in numeric if _spans(slot, said)])


def _is_money(said: str) -> bool:
    numbers = [read_number(text) for text in _NUMBER.findall(said)]
    return any(number is not None and number.currency is not None for number in numbers)


def _speaks_of_ratings(slot: Slot) -> bool:
    named = " ".join((slot.name, slot.attribute, *slot.aliases)).casefold()
    return any(word in named for word in _RATING_SLOTS)


def _spans(slot: Slot, said: str) -> bool:
    """Whether the largest number is of the size of the slot's ranges; a bound is passed by no more than four times."""
    bounds = [bound for value in slot.values for bound in (value.low, value.high) if bound is not None]
    numbers = [slot.number(text) for text in _NUMBER.findall(said)]
    values = [number.value for number in numbers if number is not None and number.value is not None]
    return bool(bounds and values) and min(bounds) / 4 <= max(values) <= max(bounds) * 4


def _only(slots: list[Slot]) -> Slot | None:
    return slots[0] if len(slots) == 1 else None
