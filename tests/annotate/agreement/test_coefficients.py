from __future__ import annotations

import math
import random
from collections.abc import Sequence

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotate.agreement.aligned_labels import Element
from annotate.agreement.coefficients import cohen_kappa, expected_disagreement, partial_matches, ratio, similarity
from tests.annotate.agreement.plain_alpha import alpha_of_units

tables = st.integers(2, 5).flatmap(
    lambda people: st.lists(
        st.lists(st.sampled_from(["a", "b", "c", None]), min_size=people, max_size=people), min_size=1, max_size=12
    )
)


def by_annotator(*answers: str) -> list[tuple[str | None, ...]]:
    """Units of one line of letters per annotator; a dot is a missing value."""
    return [tuple(None if value == "." else value for value in unit) for unit in zip(*answers, strict=True)]


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, abs_tol=1e-9)


# --- tables worked by hand: those of Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability"


def test_two_annotators_two_values():
    # ten units, 20 values: 14 zeros, 6 ones; four units differ, which are 4 + 4 ordered pairs.
    # D_o = 8 / 20; D_e = (400 - 14^2 - 6^2) / (20 * 19) = 168 / 380
    units = by_annotator("0100000010", "1110010000")
    assert alpha_of_units(units) == pytest.approx(1 - (8 / 20) / (168 / 380))
    assert alpha_of_units(units) == pytest.approx(0.095, abs=5e-4)


def test_four_units_worked_by_hand():
    # 8 values: a 3, b 5; one unit differs. alpha = 1 - 7 * 2 / (64 - 9 - 25) = 16 / 30
    assert alpha_of_units([("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")]) == pytest.approx(16 / 30)


def test_two_annotators_five_values():
    # twelve units, 24 values: a 4, b 6, c 6, d 6, e 2; three units differ.
    # alpha = 1 - 23 * 6 / (24^2 - 16 - 36 - 36 - 36 - 4) = 1 - 138 / 448
    units = by_annotator("aabbdcccedda", "babbbccceddd")
    assert alpha_of_units(units) == pytest.approx(1 - 138 / 448)
    assert alpha_of_units(units) == pytest.approx(0.692, abs=5e-4)


def test_four_annotators_with_missing_values():
    # the last unit has one value, so 40 values can be paired: 1 nine times, 2 13, 3 10, 4 5, 5 3 times.
    # a unit of m values adds sum_{c != k} n_c n_k / (m - 1): the second (2 2 3 2) 2 * 3 * 1 / 3 = 2, the sixth
    # (1 2 3 4) 12 / 3 = 4, the eighth (1 1 2 1) 2; all others agree: 8 of 40.
    units = by_annotator("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    # alpha = 1 - 39 * 8 / (1600 - 81 - 169 - 100 - 25 - 9) = 1 - 312 / 1216
    assert alpha_of_units(units) == pytest.approx(1 - 312 / 1216)
    assert alpha_of_units(units) == pytest.approx(0.743, abs=5e-4)


def test_kappa_of_a_table_worked_by_hand():
    # 50 cells; the first says yes 25 times, the second 30 times; 20 yes-yes, 15 no-no.
    # p_o = 35/50; p_e = (25*30 + 25*20) / 2500 = 0.5; kappa = 0.4
    assert cohen_kappa([50.0], [15.0], [25.0 * 30 + 25 * 20]) == pytest.approx(0.4)


# --- where it is undefined, and where exact


def test_everybody_agreeing_on_several_values_is_exactly_one():
    assert alpha_of_units([("a", "a", None), ("b", "b", "b")]) == 1.0


@pytest.mark.parametrize(
    "units",
    [[], [("a",)], [("a", None), (None, "b")], [("a", "a"), ("a", "a", "a")], [("a", "a"), ("b", None)]],
    ids=["no units", "one annotator", "never two values", "one value only", "one value among pairable ones"],
)
def test_alpha_is_undefined_where_nothing_could_have_differed(units: list[tuple[str | None, ...]]):
    assert math.isnan(alpha_of_units(units))


def test_kappa_is_undefined_without_cells_and_when_both_always_say_the_same_thing():
    assert np.isnan(cohen_kappa([0.0], [0.0], [0.0]))
    assert np.isnan(cohen_kappa([7.0], [0.0], [49.0]))


def test_ratio_of_nothing_is_undefined_without_a_warning():
    assert np.isnan(ratio(0, 0))
    assert np.array_equal(ratio([1, 2], [2, 0]), [0.5, np.nan], equal_nan=True)
    assert np.array_equal(expected_disagreement(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])), [0, 0, 2])


# --- independent oracles


def package_alpha(units: Sequence[Sequence[str | None]]) -> float:
    kinds = sorted({value for unit in units for value in unit if value is not None})
    data = [[np.nan if value is None else kinds.index(value) for value in row] for row in zip(*units, strict=True)]
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement="nominal"))


@given(tables)
def test_alpha_equals_the_krippendorff_package(units: list[list[str | None]]):
    ours = alpha_of_units(units)
    assume(not math.isnan(ours))  # the package raises, or divides by zero, where there is none
    assert ours == pytest.approx(package_alpha(units), abs=1e-9)


SETS = [frozenset(Element("want", letter) for letter in word) for word in ("", "r", "rb", "rbg", "bg", "g")]


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=3, max_size=3), min_size=1, max_size=10))
def test_alpha_of_sets_equals_the_package_with_the_same_distance(places: list[list[int | None]]):
    # Passonneau (2006), by hand: r / rb is 1/2 * 2/3, rb / bg is 1/3 * 1/3, rbg / bg is 2/3 * 2/3
    alike = similarity("masi")
    assert (alike(SETS[1], SETS[2]), alike(SETS[2], SETS[4])) == pytest.approx((1 / 3, 1 / 9))
    assert (alike(SETS[3], SETS[4]), alike(SETS[0], SETS[1]), alike(SETS[0], SETS[0])) == pytest.approx((4 / 9, 0, 1))
    units = [[None if place is None else SETS[place] for place in unit] for unit in places]
    ours = alpha_of_units(units, "masi")
    assume(not math.isnan(ours))
    distance = np.array([[1 - alike(one, other) for other in SETS] for one in SETS])
    data = [[np.nan if place is None else place for place in row] for row in zip(*places, strict=True)]
    theirs = krippendorff.alpha(
        reliability_data=data,
        value_domain=list(range(6)),
        level_of_measurement=lambda one, other, *_, **__: distance[np.intp(one), np.intp(other)],
    )
    assert ours == pytest.approx(float(theirs), abs=1e-9)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=20))
def test_kappa_equals_scikit_learn(pairs: list[tuple[str, str]]):
    first, second = zip(*pairs, strict=True)
    alike = sum(first.count(value) * second.count(value) for value in "abc")
    ours = cohen_kappa([len(pairs)], [sum(one != other for one, other in pairs)], [alike])
    if np.isnan(ours):
        assert set(first) == set(second)
        assert len(set(first)) == 1
    else:
        assert ours == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)


# --- what holds of any data


@given(tables, st.randoms(use_true_random=False))
def test_alpha_knows_no_names_no_order_and_no_annotators(units: list[list[str | None]], chance: random.Random):
    plain = alpha_of_units(units)
    renamed = [[None if value is None else {"a": "x", "b": "a", "c": "b"}[value] for value in unit] for unit in units]
    assert same(alpha_of_units(renamed), plain)
    shuffled = chance.sample(units, len(units))
    assert same(alpha_of_units(shuffled), plain)
    order = chance.sample(range(len(units[0])), len(units[0]))
    assert same(alpha_of_units([[unit[place] for place in order] for unit in units]), plain)
    assert same(alpha_of_units([chance.sample(unit, len(unit)) for unit in units]), plain)


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=20), st.integers(2, 5))
def test_identical_answers_give_one(values: list[str], people: int):
    assume(len(set(values)) > 1)
    assert alpha_of_units([[value] * people for value in values]) == 1.0


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_answers_given_by_chance_are_around_zero(seed: int):
    chance = random.Random(seed)
    units = [[chance.choice("aaabbc") for _ in range(3)] for _ in range(2_000)]
    assert abs(alpha_of_units(units)) < 0.06


def test_partial_matches_are_all_pairs_that_share_something():
    found = partial_matches(SETS, similarity("masi"))
    expected = [(i, j) for i in range(len(SETS)) for j in range(i + 1, len(SETS)) if SETS[i] & SETS[j]]
    assert [(i, j) for i, j, _ in found] == expected
    assert partial_matches(SETS, similarity("nominal")) == []
