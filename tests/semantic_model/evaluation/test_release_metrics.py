"""The released code's metrics: worked by hand, and against a plain loop over one list."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_model.evaluation.metrics import rank_metrics, release_rank_metrics


def plain(scores: list[float], relevant: list[bool], k: int) -> dict[str, float]:
    """The formula as loops: ranks count negatives only, and NDCG's best list is the same counts, largest first."""
    negatives = [score for score, hit in zip(scores, relevant, strict=True) if not hit]
    ranks = [sum(other > score for other in negatives) for score, hit in zip(scores, relevant, strict=True) if hit]
    rel = [0] * (len(scores) + k)
    for rank in ranks:
        rel[rank] += 1

    def dcg(counts: list[int]) -> float:
        return sum(count / math.log2(i + 2) for i, count in enumerate(counts[:k]))

    hits = sum(rank < k for rank in ranks)
    ndcg = dcg(rel) / dcg(sorted(rel, reverse=True))
    return {f"precision@{k}": hits / k, f"recall@{k}": hits / len(ranks), f"ndcg@{k}": ndcg}


def of(scores: list[float], relevant: list[bool], k: int = 5) -> dict[str, float]:
    return {name: float(value[0]) for name, value in release_rank_metrics([scores], [relevant], ks=(k,)).items()}


def test_four_negatives_above_five_positives_are_a_perfect_five():
    # every positive has rank 4 < 5: five hits. The textbook has one.
    scores, relevant = [9.0, 8, 7, 6, 5, 4, 3, 2, 1], [False] * 4 + [True] * 5
    found = of(scores, relevant)
    assert (found["precision@5"], found["recall@5"]) == (1.0, 1.0)
    # rel = (0, 0, 0, 0, 5): 5 / log2(6) against 5 / log2(2)
    assert found["ndcg@5"] == pytest.approx(1 / math.log2(6))
    textbook = rank_metrics([scores], [relevant], ks=(5,))
    assert (textbook["precision@5"][0], textbook["recall@5"][0]) == (pytest.approx(0.2), pytest.approx(0.2))


def test_positive_negative_positive_is_a_perfect_list():
    # ranks 0 and 1: rel = (1, 1), which is its own best order. The textbook says 0.92.
    assert of([3.0, 2, 1], [True, False, True])["ndcg@5"] == 1.0
    assert rank_metrics([[3.0, 2, 1]], [[True, False, True]], ks=(5,))["ndcg@5"][0] == pytest.approx(0.9197, abs=1e-4)


def test_five_positives_on_top_share_rank_zero_and_count_five_times():
    # rel = (5): DCG = IDCG = 5 / log2(2) = 5
    found = of([9.0, 8, 7, 6, 5, 4], [True] * 5 + [False], k=1)
    assert found == {"precision@1": 5.0, "recall@1": 1.0, "ndcg@1": 1.0}


def test_the_best_list_counts_positives_that_were_not_hit():
    # ranks 0 and 6: DCG = 1, and the best order of (1, 0, 0, 0, 0, 0, 1) has 1 + 1 / log2(3)
    scores, relevant = [9.0, 8, 7, 6, 5, 4, 3, 2], [True] + [False] * 6 + [True]
    assert of(scores, relevant)["ndcg@5"] == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_a_tie_is_won():
    assert of([1.0, 1, 1], [False, False, True], k=1) == {"precision@1": 1.0, "recall@1": 1.0, "ndcg@1": 1.0}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_many_queries_at_once_agree_with_a_plain_loop(data: st.DataObject):
    size, k = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    queries = data.draw(st.integers(1, 4))
    table = [
        data.draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, 3.0]), min_size=size, max_size=size))
        for _ in range(queries)
    ]
    relevant = [data.draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any)) for _ in range(queries)]
    padded = [[*row, 99.0] for row in table]
    valid = [[True] * size + [False] for _ in range(queries)]
    found = release_rank_metrics(padded, [[*row, True] for row in relevant], valid, ks=(k,))
    for q in range(queries):
        for name, expected in plain(table[q], relevant[q], k).items():
            assert found[name][q] == pytest.approx(expected), name


def test_it_flatters_as_much_as_was_measured_on_drawn_scores():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(3000, 1004))
    scores[:, :4] += 2.5
    relevant = np.zeros(scores.shape, dtype=bool)
    relevant[:, :4] = True
    released, standard = release_rank_metrics(scores, relevant), rank_metrics(scores, relevant)
    more = {name: 100 * float(released[name].mean() - standard[name].mean()) for name in standard}
    assert 2 < more["precision@5"] < 5
    assert 1 < more["ndcg@5"] < 4
    assert more["precision@20"] < 1.2


def test_queries_without_a_positive_are_refused_or_nan():
    with pytest.raises(ValueError, match="query 1 has no positive"):
        release_rank_metrics([[1.0], [1.0]], [[True], [False]])
    found = release_rank_metrics([[1.0], [1.0]], [[True], [False]], empty="nan")
    assert np.isnan(found["ndcg@5"][1])
    assert np.isnan(found["precision@5"][1])
