"""Amounts that a turn gives: "under 50", "below $30", "between 20 and 40", "around 150 dollars"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.ontology import Ontology, Slot

__all__ = ["find_amounts"]

_NUMBER = r"(?:[$€£]\s?)?\d+(?:[.,]\d+)?(?:\s?(?:dollars?|bucks|euros?|usd|eur|pounds|\$|€|£))?"
_BELOW = r"under|below|less than|lower than|cheaper than|no more than|not more than|at most|up to|within|max(?:imum)?"
_ABOVE = r"over|above|more than|higher than|better than|at least|min(?:imum)?"
_ABOUT = r"around|about|approximately|roughly|close to"
_AMOUNT = re.compile(
    rf"(?P<between>between {_NUMBER} and {_NUMBER}|{_NUMBER}\s?(?:to|-|–)\s?{_NUMBER})"
    rf"|(?P<bound>(?:{_BELOW}|{_ABOVE})(?: of)? {_NUMBER})"
    rf"|(?:{_ABOUT}) (?P<about>{_NUMBER})"
    rf"|(?P<money>[$€£]\s?\d+(?:[.,]\d+)?)"
)
_MONEY = re.compile(r"[$€£]|\b(?:dollars?|bucks|euros?|usd|eur|pounds)\b")
_RATING = re.compile(r"\b(?:stars?|rated|ratings?|reviews?|scores?)\b")
_MONEY_SLOTS = ("price", "cost", "budget")
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
        slot = _slot(numeric, said, text)
        if slot is not None:
            yield slot.name, " ".join(said.split())


def _slot(numeric: list[Slot], said: str, sentence: str) -> Slot | None:
    if _MONEY.search(said):
        return _only([slot for slot in numeric if _speaks_of(slot, _MONEY_SLOTS)])
    if _RATING.search(sentence):
        return _only([slot for slot in numeric if _speaks_of(slot, _RATING_SLOTS)])
    number = max(float(digits.replace(",", ".")) for digits in re.findall(r"\d+(?:[.,]\d+)?", said))
    return _only([slot for slot in numeric if _spans(slot, number)])


def _speaks_of(slot: Slot, words: tuple[str, ...]) -> bool:
    named = " ".join((slot.name, slot.attribute, *slot.aliases)).casefold()
    return any(word in named for word in words)


def _spans(slot: Slot, number: float) -> bool:
    """Whether the number is of the size of the slot's ranges; a bound is passed by no more than four times."""
    bounds = [bound for value in slot.values for bound in (value.low, value.high) if bound is not None]
    return bool(bounds) and min(bounds) / 4 <= number <= max(bounds) * 4


def _only(slots: list[Slot]) -> Slot | None:
    return slots[0] if len(slots) == 1 else None
