from __future__ import annotations

import doctest
import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semantic_model.evaluation.metrics
from schemas.errors import ModelError
from semantic_model.evaluation.metrics import bootstrap_intervals, mean_metrics, metric_names, rank_metrics


def textbook(order: list[bool], k: int) -> dict[str, float]:
    """Precision, recall and NDCG of one list in its order, as a textbook writes them."""
    positives = sum(order)
    hits = sum(order[:k])
    gain = sum(1 / math.log2(place + 1) for place, hit in enumerate(order[:k], start=1) if hit)
    best = sum(1 / math.log2(place + 1) for place in range(1, min(k, positives) + 1))
    return {f"precision@{k}": hits / k, f"recall@{k}": hits / positives, f"ndcg@{k}": gain / best}


def over_all_orders(scores: list[float], relevant: list[bool], k: int) -> dict[str, float]:
    """The mean of the textbook figures over every order that the scores allow."""
    seen = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            seen.append(textbook([relevant[i] for i in order], k))
    return {name: sum(figures[name] for figures in seen) / len(seen) for name in seen[0]}


def test_doctests_of_the_module_hold():
    assert doctest.testmod(semantic_model.evaluation.metrics).failed == 0


def test_four_negatives_above_five_positives_give_one_hit_in_five():
    scores = [[9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]
    relevant = [[False] * 4 + [True] * 5]
    metrics = rank_metrics(scores, relevant, ks=(5,))
    assert metrics["precision@5"][0] == pytest.approx(0.2)
    assert metrics["recall@5"][0] == pytest.approx(0.2)
    # one hit at the fifth place, 1 / log2(6), against five hits: 1 + 1/log2(3) + 1/2 + 1/log2(5) + 1/log2(6)
    assert metrics["ndcg@5"][0] == pytest.approx(0.386853 / 2.948459, abs=1e-6)


def test_positive_negative_positive_is_not_a_perfect_list():
    metrics = rank_metrics([[3.0, 2.0, 1.0]], [[True, False, True]], ks=(5,))
    assert metrics["ndcg@5"][0] == pytest.approx(1.5 / (1 + 1 / math.log2(3)))  # 0.92


def test_the_ideal_order_has_no_more_hits_than_there_are_places():
    metrics = rank_metrics([[3.0, 2.0, 1.0]], [[True, True, True]], ks=(2,))
    assert metrics["ndcg@2"][0] == pytest.approx(1.0)
    assert metrics["recall@2"][0] == pytest.approx(2 / 3)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_ties_give_the_mean_over_all_their_orders(data: st.DataObject):
    size = data.draw(st.integers(1, 6))
    scores = data.draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=size, max_size=size))
    relevant = data.draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any))
    k = data.draw(st.integers(1, 7))
    metrics = rank_metrics([scores], [relevant], ks=(k,))
    for name, expected in over_all_orders(scores, relevant, k).items():
        assert metrics[name][0] == pytest.approx(expected), name


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_padding_and_the_order_of_candidates_change_nothing(data: st.DataObject):
    size = data.draw(st.integers(1, 6))
    scores = np.array(data.draw(st.lists(st.sampled_from([-math.inf, 0.0, 1.0, 3.0]), min_size=size, max_size=size)))
    relevant = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any)))
    plain = rank_metrics([scores], [relevant], ks=(1, 3))
    padding = data.draw(st.lists(st.sampled_from([-math.inf, 0.0, 99.0, math.nan]), min_size=1, max_size=4))
    order = np.array(data.draw(st.permutations(range(size + len(padding)))))
    padded = np.concatenate([scores, padding])[order]
    flags = np.concatenate([relevant, np.ones(len(padding), bool)])[order]
    valid = np.concatenate([np.ones(size, bool), np.zeros(len(padding), bool)])[order]
    again = rank_metrics([padded], [flags], [valid], ks=(1, 3))
    for name, value in plain.items():
        assert again[name][0] == pytest.approx(value[0]), name


def test_ndcg_agrees_with_scikit_learn_with_ties():
    from sklearn.metrics import ndcg_score

    generator = np.random.default_rng(3)
    scores = generator.integers(0, 4, (40, 30)).astype(float)
    relevant = generator.random((40, 30)) < 0.2
    relevant[:, 0] = True
    ours = rank_metrics(scores, relevant, ks=(5, 10))
    for k in (5, 10):
        theirs = [ndcg_score([hit], [row], k=k) for hit, row in zip(relevant, scores, strict=True)]
        np.testing.assert_allclose(ours[f"ndcg@{k}"], theirs, rtol=1e-12)


def test_all_figures_agree_with_ir_measures_without_ties():
    import ir_measures
    from ir_measures import P, R, nDCG

    generator = np.random.default_rng(4)
    scores = generator.permuted(np.tile(np.arange(60.0), (25, 1)), axis=1)
    relevant = generator.random((25, 60)) < 0.1
    relevant[:, 7] = True
    ours = rank_metrics(scores, relevant)
    truth = [
        ir_measures.Qrel(str(q), str(c), int(relevant[q, c])) for q in range(25) for c in range(60) if relevant[q, c]
    ]
    ranked = [ir_measures.ScoredDoc(str(q), str(c), float(scores[q, c])) for q in range(25) for c in range(60)]
    wanted = {
        f"{name}@{k}": measure @ k
        for name, measure in (("precision", P), ("recall", R), ("ndcg", nDCG))
        for k in (5, 10, 20)
    }
    for name, measure in wanted.items():
        theirs = {m.query_id: m.value for m in ir_measures.iter_calc([measure], truth, ranked)}
        np.testing.assert_allclose(ours[name], [theirs[str(q)] for q in range(25)], rtol=1e-9, err_msg=name)


def test_a_model_that_scores_everything_alike_gets_what_a_random_order_gets():
    metrics = rank_metrics(np.zeros((1, 100)), np.arange(100)[None] < 4, ks=(5,))
    assert metrics["precision@5"][0] == pytest.approx(0.04)
    assert metrics["recall@5"][0] == pytest.approx(0.05)


def test_a_query_without_positives_is_refused_or_left_out_and_counted():
    scores, relevant = np.zeros((3, 4)), np.array([[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]], bool)
    with pytest.raises(ValueError, match="query 1 has no positive"):
        rank_metrics(scores, relevant)
    metrics = rank_metrics(scores, relevant, ks=(2,), empty="nan")
    assert np.isnan(metrics["ndcg@2"]).tolist() == [False, True, False]
    means, skipped = mean_metrics(metrics)
    assert skipped == 1
    assert means["precision@2"] == pytest.approx((0.25 + 0.5) / 2)


def test_a_positive_in_the_padding_does_not_count():
    with pytest.raises(ValueError, match="no positive"):
        rank_metrics([[1.0, 2.0]], [[False, True]], [[True, False]])


@pytest.mark.parametrize("valid", [None, [[True, True]]])
def test_a_score_that_is_not_a_number_is_refused(valid: list[list[bool]] | None):
    with pytest.raises(ModelError, match="not a number"):
        rank_metrics([[math.nan, 1.0]], [[False, True]], valid)


def test_shapes_and_cut_offs_are_checked():
    with pytest.raises(ValueError, match="shape"):
        rank_metrics([[1.0, 2.0]], [[True]])
    with pytest.raises(ValueError, match="valid"):
        rank_metrics([[1.0, 2.0]], [[True, False]], [[True]])
    with pytest.raises(ValueError, match="at least 1"):
        rank_metrics([[1.0]], [[True]], ks=(0,))


def test_no_queries_give_empty_columns():
    metrics = rank_metrics(np.zeros((0, 5)), np.zeros((0, 5), bool))
    assert tuple(metrics) == metric_names()
    assert all(len(values) == 0 for values in metrics.values())


def test_seven_thousand_queries_over_a_thousand_candidates_take_a_second_at_most():
    generator = np.random.default_rng(0)
    scores = generator.random((7000, 1005), dtype=np.float32)
    relevant = np.zeros((7000, 1005), bool)
    relevant[:, :5] = True
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        rank_metrics(scores, relevant)
        best = min(best, time.perf_counter() - start)
    assert best < 1.0, f"took {best:.2f} s; about 0.3 s is usual"


def test_bootstrap_draws_whole_dialogues():
    # within a dialogue all turns agree, so the spread is that of 2 dialogues, not of 200 turns
    values = np.array([0.0] * 100 + [1.0] * 100)
    wide = bootstrap_intervals({"recall@5": values}, ["a"] * 100 + ["b"] * 100)["recall@5"]
    narrow = bootstrap_intervals({"recall@5": values}, [str(i) for i in range(200)])["recall@5"]
    assert (wide.low, wide.high) == (0.0, 1.0)
    # the normal approximation for 200 independent turns: 0.5 +- 1.96 * 0.5 / sqrt(200) = 0.5 +- 0.0693
    assert narrow.low == pytest.approx(0.4307, abs=0.01)
    assert narrow.high == pytest.approx(0.5693, abs=0.01)


def test_bootstrap_is_the_same_every_time_and_contains_the_mean():
    generator = np.random.default_rng(1)
    values = {"ndcg@5": generator.random(300)}
    groups = [str(i // 3) for i in range(300)]
    first, second = bootstrap_intervals(values, groups), bootstrap_intervals(values, groups)
    assert first == second
    assert first["ndcg@5"].low < values["ndcg@5"].mean() < first["ndcg@5"].high
