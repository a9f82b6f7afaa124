"""Whether the numbers of an attribute become values as they are, or ranges.

People say sizes, years and capacities as they are ("a 42", "128"): these are values. They say prices, ratings and
measures by limits ("below 50"): these are ranges.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from fractions import Fraction
from math import gcd
from statistics import median_low
from typing import NamedTuple

_FEW = 12
_MOST_PICKED_FROM = 100
_SHARED = 3
_MOST_SHARED = 30
_FILLED = Fraction(1, 2)
_MONEY = frozenset(("price", "prices", "cost", "costs", "mrp", "rrp", "msrp", "budget"))
_RATINGS = frozenset(("rating", "ratings", "review", "reviews", "stars", "score", "scores"))


class NumberRule(NamedTuple):
    """How numbers become values."""

    ranges: bool
    why: str  # in words, as ``ontology.json`` keeps it


def is_money(attribute: str) -> bool:
    """Whether an attribute's numbers are amounts of money, by its name in snake case."""
    return not _MONEY.isdisjoint(attribute.split("_"))


def is_rating(attribute: str) -> bool:
    """Whether an attribute's numbers are ratings, by its name in snake case."""
    return not _RATINGS.isdisjoint(attribute.split("_"))


def number_rule(attribute: str, numbers: Mapping[float, int]) -> NumberRule:
    """The rule for an attribute.

    Money is cut into ranges, and so are ratings with finer steps than halves. Other numbers stay as they are when they
    are few, when they follow regular steps of a half at least (sizes, years), or when most are shared by several
    products (inches, capacities), as long as there are not too many to pick from.

    Args:
        numbers: number -> products that have it.
    """
    different = f"{len(numbers)} different numbers"
    if is_money(attribute):
        return _ranges("amounts of money")
    steps = _steps(numbers.keys())
    if is_rating(attribute) and (steps is None or len(numbers) > _FEW):
        return _ranges("ratings")
    if len(numbers) <= _FEW:
        return _as_they_are(f"only {different}")
    if len(numbers) <= _MOST_PICKED_FROM and steps is not None and len(numbers) >= _FILLED * steps:
        return _as_they_are(f"{different} in regular steps")
    if len(numbers) <= _MOST_SHARED and median_low(numbers.values()) >= _SHARED:
        return _as_they_are(f"{different}, most of them of {_SHARED} products or more")
    return _ranges(f"{different} without regular steps" if len(numbers) <= _MOST_PICKED_FROM else different)


def _ranges(why: str) -> NumberRule:
    return NumberRule(True, f"ranges with about as many products each, at round edges: {why}")


def _as_they_are(why: str) -> NumberRule:
    return NumberRule(False, f"numbers as products have them: {why}")


def _steps(numbers: Set[float]) -> int | None:
    """How many numbers there would be from the lowest to the highest, in their common step; None below a half."""
    halves = sorted(2 * number for number in numbers)
    if any(number % 1 for number in halves):
        return None
    step = gcd(*(int(number - halves[0]) for number in halves))
    return 1 if step == 0 else int(halves[-1] - halves[0]) // step + 1
