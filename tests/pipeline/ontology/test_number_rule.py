"""Which numbers stay values and which become ranges, on lists of numbers as catalogues have them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ontology.number_rule import number_rule

SHOES = [35 + i for i in range(14)]
HALF_SHOES = [36 + i / 2 for i in range(25)]
CHILDREN = list(range(50, 177, 6))
WEIGHTS = [173, 181, 220, 247, 312, 333, 398, 401, 467, 518, 544, 603, 681, 702, 777, 845, 932, 1044]
INCHES = [4.7, 5, 5.4, 5.5, 5.8, 6, 6.1, 6.2, 6.4, 6.5, 6.6, 6.7, 6.8, 7, 7.6]


@pytest.mark.parametrize(
    ("attribute", "numbers"),
    [
        ("size", SHOES),
        ("shoe_size", HALF_SHOES),
        ("waist", range(28, 37, 2)),
        ("kids_size", CHILDREN),
        ("storage", [16, 32, 64, 128, 256, 512, 1024]),
        ("screen_inches", INCHES * 3),
        ("year", range(1990, 2025)),
        ("age", range(17)),
        ("stars", [1, 2, 3, 4, 5]),
        ("customer_rating", [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]),
        ("volume_ml", [30, 50, 75, 100]),
        ("weight", [0.25, 0.5, 0.75]),
        ("pack", [7]),
        ("drop", [6, 8]),
    ],
)
def test_numbers_that_people_say_as_they_are_stay_values(attribute: str, numbers: list[float]) -> None:
    rule = number_rule(attribute, Counter(map(float, numbers)))
    assert not rule.ranges
    assert rule.why.startswith("numbers as products have them: ")


@pytest.mark.parametrize(
    ("attribute", "numbers"),
    [
        ("price", [10, 20]),
        ("price", range(10, 100)),
        ("sale_price", [19.99, 24.99]),
        ("mrp", [499, 999]),
        ("rating", [3.1, 4.2, 4.7]),
        ("avg_stars", [1 + i / 10 for i in range(41)]),
        ("customer_review", [3.75, 2.5]),
        ("weight", WEIGHTS),
        ("weight", [w / 100 for w in WEIGHTS]),
        ("battery", range(2000, 2400)),
        ("heel_height", INCHES),
        ("weight", [w / 100 for w in (*WEIGHTS, *range(1100, 2400, 97))] * 3),
    ],
)
def test_money_ratings_and_measures_become_ranges(attribute: str, numbers: list[float]) -> None:
    rule = number_rule(attribute, Counter(map(float, numbers)))
    assert rule.ranges
    assert rule.why.startswith("ranges ")


def test_the_reason_is_given_in_words() -> None:
    assert number_rule("size", Counter(map(float, SHOES))).why.endswith(": 14 different numbers in regular steps")
    assert number_rule("weight", Counter(map(float, WEIGHTS))).why.endswith(
        "18 different numbers without regular steps"
    )
    inches = Counter(map(float, INCHES * 3))
    assert number_rule("inches", inches).why.endswith("15 different numbers, most of them of 3 products or more")


@given(st.integers(0, 500), st.sampled_from([0.5, 1, 2, 5, 6, 10]), st.integers(1, 100))
def test_up_to_a_hundred_sizes_in_equal_steps_are_values_wherever_they_begin(low: int, step: float, n: int) -> None:
    assert not number_rule("size", dict.fromkeys((low + step * i for i in range(n)), 1)).ranges
