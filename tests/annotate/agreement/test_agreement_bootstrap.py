from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.agreement.coefficients import interval, resamples
from annotate.agreement.figures import added_up, measure
from annotate.agreement.tally import Counts
from tests.annotate.agreement.given_answers import TURNS, Dialogues, tallied

VALUES = ["color=red", "color=blue", "size=S", "size=XL"]


def noisy(dialogues: int, error: float, seed: int) -> Dialogues:
    """Two annotators of one truth, each of whom puts another value with probability ``error``."""
    chance = random.Random(seed)

    def said(truth: str) -> list[str]:
        return [chance.choice(VALUES) if chance.random() < error else truth]

    found = []
    for _ in range(dialogues):
        truth = {turn: chance.choice(VALUES) for turn in TURNS}
        found.append({who: {turn: said(truth[turn]) for turn in TURNS} for who in ("ann", "bo")})
    return found


@given(
    st.lists(
        st.lists(st.one_of(st.floats(-1, 1), st.just(float("nan"))), min_size=9, max_size=9), min_size=1, max_size=4
    )
)
def test_intervals_are_percentiles_of_the_defined_resamples(columns: list[list[float]]):
    replicates = np.array(columns).T
    low, high = interval(replicates)
    for place, column in enumerate(columns):
        defined = [value for value in column if not np.isnan(value)]
        if 2 * len(defined) < len(column):
            assert np.isnan(low[place])
            assert np.isnan(high[place])
        else:
            assert low[place] == pytest.approx(np.percentile(defined, 2.5))
            assert high[place] == pytest.approx(np.percentile(defined, 97.5))


def test_resamples_draw_as_many_dialogues_as_there_are_and_depend_on_the_seed_only():
    blocks = list(resamples(7, 20, seed=3, at_once=8))
    assert [len(block) for block in blocks] == [8, 8, 4]
    drawn = np.concatenate(blocks)
    assert (drawn.sum(axis=1) == 7).all()
    assert np.array_equal(drawn, np.concatenate(list(resamples(7, 20, seed=3, at_once=5))))
    assert not np.array_equal(drawn, np.concatenate(list(resamples(7, 20, seed=4))))


@given(st.lists(st.dictionaries(st.integers(0, 5), st.integers(1, 9)), max_size=6))
def test_sums_of_counts_are_those_of_the_dense_matrix(rows: list[dict[int, int]]):
    counts, dense = Counts[int]("plain", "twice"), np.zeros((len(rows), 6))
    for key in range(6):
        counts.numbers[key] = key
    for number, row in enumerate(rows):
        for key, value in row.items():
            counts.add(key, value, 0)
            counts.add(key, 0, 2 * value)
            dense[number, key] += value
        counts.close()
    weights = np.arange(3 * len(rows), dtype=float).reshape(3, len(rows))
    per_key = np.arange(6.0)
    for name, factor in (("plain", 1), ("twice", 2)):
        assert np.array_equal(counts.sums(weights)[name], factor * weights @ dense)
        assert np.array_equal(counts.of_dialogues(name), factor * dense.sum(axis=1))
        assert np.array_equal(counts.of_dialogues(name, per_key), factor * dense @ per_key)
    assert np.array_equal(counts.dialogues(), (dense > 0).sum(axis=0))


@given(st.lists(st.integers(-1, 2), min_size=6, max_size=6))
def test_keys_are_added_up_by_group(groups: list[int]):
    per_key = np.arange(12.0).reshape(2, 6)
    together = np.stack([per_key[:, [g == group for g in groups]].sum(axis=1) for group in range(3)], axis=1)
    assert np.array_equal(per_key @ added_up(groups, 3), together)


def test_same_seed_same_report_and_no_interval_without_resamples_or_dialogues():
    tally = tallied(noisy(30, 0.2, seed=1))
    assert measure(tally, bootstrap=50, seed=4).as_json() == measure(tally, bootstrap=50, seed=4).as_json()
    assert measure(tally, bootstrap=50, seed=4).alpha != measure(tally, bootstrap=50, seed=5).alpha
    assert measure(tally, bootstrap=0).alpha.low is None
    assert measure(tallied(noisy(1, 0.0, seed=2)), bootstrap=50).alpha.low is None


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    truth = measure(tallied(noisy(3_000, 0.3, seed=0)), bootstrap=0).alpha.value
    assert truth is not None
    held = 0
    for seed in range(1, 41):
        found = measure(tallied(noisy(50, 0.3, seed=seed)), bootstrap=120, seed=seed).alpha
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert found.low <= found.value <= found.high
        held += found.low <= truth <= found.high
    assert held >= 32  # 95 % of 40 is 38; fewer than 32 by chance less than once in ten thousand


def test_alpha_falls_as_errors_rise():
    alphas = [measure(tallied(noisy(300, error, seed=9)), bootstrap=0).alpha.value for error in (0.0, 0.1, 0.3, 1.0)]
    assert alphas == sorted(alphas, reverse=True)
    assert alphas[0] == 1.0
    assert abs(alphas[3] or 0) < 0.1
