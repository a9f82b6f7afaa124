from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semantic_model.ranking.top_products import marginal_relevance, same_values, top_rows


def test_a_list_worked_out_by_hand():
    """rel is 1, 0.9, 0.5, 0; the second is nearly the first.

    After the first: 0.5 * 0.9 - 0.5 * 0.8 = 0.05, 0.5 * 0.5 - 0.5 * 0 = 0.25, 0 - 0.5 * 0.2 = -0.1: the third. Then the
    second has 0.45 - 0.5 * max(0.8, 0.1) = 0.05, the fourth -0.5 * max(0.2, 0.6) = -0.3.
    """
    similarity = np.array([[1, 0.8, 0, 0.2], [0.8, 1, 0.1, 0], [0, 0.1, 1, 0.6], [0.2, 0, 0.6, 1]])
    scores = np.array([12.0, 11.8, 11.0, 10.0], np.float32)
    assert marginal_relevance(scores, similarity, 0.5, 4) == [0, 2, 1, 3]
    assert marginal_relevance(scores, similarity, 0.5, 2) == [0, 2]
    assert marginal_relevance(scores, similarity, 0.0, 3) == [0, 1, 2]
    # nothing but the difference: 1 has 0.8, 2 has 0, 3 has 0.2; then 1 has 0.8, 3 has 0.6
    assert marginal_relevance(scores, similarity, 1.0, 4) == [0, 2, 3, 1]


def test_equal_scores_none_and_one_product():
    assert marginal_relevance(np.array([2.0, 2.0], np.float32), np.eye(2), 0.5, 5) == [0, 1]
    assert marginal_relevance(np.array([3.0], np.float32), np.eye(1), 0.5, 5) == [0]
    assert marginal_relevance(np.zeros(0, np.float32), np.zeros((0, 0)), 0.5, 5) == []


@given(st.data())
@settings(deadline=None)
def test_it_is_the_greedy_choice_of_the_definition(data: st.DataObject):
    size = data.draw(st.integers(1, 7))
    numbers = st.integers(0, 8)
    scores = np.sort(data.draw(arrays(np.float32, size, elements=numbers)))[::-1]
    half = data.draw(arrays(np.float64, (size, size), elements=numbers)) / 8
    similarity = np.maximum(half, half.T)
    weight, top = data.draw(st.integers(0, 4)) / 4, data.draw(st.integers(1, 8))
    low, high = float(scores[-1]), float(scores[0])
    relevance = [(float(score) - low) / (high - low) if high > low else 0.0 for score in scores]
    picked = [0]
    while len(picked) < min(top, size):
        worth = {
            row: (1 - weight) * relevance[row] - weight * max(similarity[row][other] for other in picked)
            for row in range(size)
            if row not in picked
        }
        picked.append(max(worth, key=lambda row: (worth[row], -row)))
    assert marginal_relevance(scores, similarity, weight, top) == picked


def test_likeness_worked_out_by_hand():
    """Three colours, two sizes. The first two share one of the two colours that either has, and only one has a size."""
    values = np.array(
        [
            [1, 0, 0, 1, 0],  # red, M
            [1, 1, 0, 0, 0],  # red and blue, no size
            [0, 0, 1, 1, 0],  # green, M
            [0, 0, 0, 0, 0],  # nothing
        ],
        np.bool_,
    )
    alike = same_values(values, [slice(0, 3), slice(3, 5)])
    assert alike[0, 1] == pytest.approx((1 / 2 + 0) / 2)
    assert alike[0, 2] == pytest.approx((0 + 1) / 2)
    assert alike[1, 2] == 0
    assert alike[0, 0] == alike[1, 1] == 1
    assert (alike[3] == 0).all()
    np.testing.assert_array_equal(alike, alike.T)


def test_equal_scores_keep_the_catalogues_order():
    assert top_rows(np.array([1.0, 3.0, 3.0, 2.0, 3.0], np.float32), 4) == [1, 2, 4, 3]
    assert top_rows(np.array([1.0], np.float32), 5) == [0]
