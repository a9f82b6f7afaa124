"""Amounts that a turn gives: "under 50", "below $1,299", "between 20 and 40", "around 150 dollars"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from schemas.numbers import NUMBER_IN_TEXT, read_number
from schemas.ontology import Ontology, Slot

__all__ = ["Amount", "find_amounts"]

_NUMBER = rf"(?<![\w.,]){NUMBER_IN_TEXT}(?!\w)"
_BELOW = r"under|below|less than|lower than|cheaper than|no more than|not more than|at most|up to|within|max(?:imum)?"
_ABOVE = r"over|above|more than|higher than|better than|at least|no less than|not less than|min(?:imum)?"
_BELOW_AFTER = r"(?:or|and) (?:less|under|below|lower|cheaper)|max(?:imum)?|tops|at (?:the )?most"
_ABOVE_AFTER = r"(?:or|and) (?:more|up|upwards?|over|above|higher|better)|min(?:imum)?|at (?:the )?least"
_ABOUT = r"(?<!what )(?<!how )(?:around|about)|approximately|roughly|close to"
_AMOUNT = re.compile(
    rf"(?P<between>between {_NUMBER} and {_NUMBER}|{_NUMBER}\s?(?:to|-|–)\s?{_NUMBER})"
    rf"|\b(?P<bound>(?:{_BELOW}|{_ABOVE})(?: of)? {_NUMBER})"
    rf"|(?P<bound_after>{_NUMBER}(?: stars?)?(?: (?:{_BELOW_AFTER}|{_ABOVE_AFTER})\b| ?\+(?![\w+])(?: stars?\b)?))"
    rf"|\b(?:{_ABOUT}) (?P<about>{_NUMBER})"
    rf"|(?P<money>{_NUMBER})"
)
_ONE = re.compile(_NUMBER)
_GOES_ON = re.compile(r" (?!please\b|stars?\b|for\b|if\b)\w")
_RATING = re.compile(r"\b(?:stars?|rated|ratings?|reviews?|scores?)\b")


class Amount(NamedTuple):
    """An amount that a text gives."""

    slot: str | None  # the numeric slot that it can only be of; None where it may be of several or of none
    said: str  # as the user put it
    start: int  # where it stands in the text, with the words that make it a bound
    stop: int
    is_sure: bool  # it is an amount, even where it is of no slot: a number with a bound or a currency


def find_amounts(text: str, ontology: Ontology) -> Iterator[Amount]:
    """The amounts that a folded sentence gives.

    Of which slot: the numeric one that speaks of money, or of a rating, as the sentence does; else the only numeric one
    within whose ranges the number lies.
    """
    if not any(letter.isdigit() for letter in text):
        return
    numeric = [slot for slot in ontology.slots if slot.kind == "numeric"]
    for match in _AMOUNT.finditer(text):
        said = next(part for part in match.groups() if part)
        is_money = _is_money(said)
        if match["money"] and (said[0].isdigit() or not is_money):
            continue
        if match["bound_after"] and not is_money and _GOES_ON.match(text, match.end()):
            continue  # "4 or more shirts"
        slot = _slot(numeric, said, text, is_money=is_money)
        name = None if slot is None else slot.name
        yield Amount(name, " ".join(said.split()), *match.span(), is_sure=is_money or not match["between"])


def _slot(numeric: list[Slot], said: str, sentence: str, *, is_money: bool) -> Slot | None:
    if is_money:
        return _only([slot for slot in numeric if slot.is_money])
    if _RATING.search(sentence):
        return _only([slot for slot in numeric if slot.is_rating])
    return _only([slot for slot in numeric if _spans(slot, said)])


def _is_money(said: str) -> bool:
    numbers = [read_number(text) for text in _ONE.findall(said)]
    return any(number is not None and number.currency is not None for number in numbers)


def _spans(slot: Slot, said: str) -> bool:
    """Whether the largest number is of the size of the slot's ranges; a bound is passed by no more than four times."""
    bounds = [bound for value in slot.values for bound in (value.low, value.high) if bound is not None]
    numbers = [slot.number(text) for text in _ONE.findall(said)]
    values = [number.value for number in numbers if number is not None and number.value is not None]
    return bool(bounds and values) and min(bounds) / 4 <= max(values) <= max(bounds) * 4


def _only(slots: list[Slot]) -> Slot | None:
    return slots[0] if len(slots) == 1 else None
