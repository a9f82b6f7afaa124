from __future__ import annotations

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import semantic_model.layers.losses
from semantic_model.layers.losses import (
    attention_gap,
    co_sim_loss,
    jeffreys_divergence,
    js_divergence,
    js_loss,
    rank_loss,
    softmax_rank_loss,
    state_mse,
)

EVERY_PAIR = torch.ones(1, 1, 2, dtype=torch.bool)


def distributions(n: int = 4):
    weights = st.lists(st.just(0.0) | st.floats(1e-6, 10.0), min_size=n, max_size=n).filter(lambda row: sum(row) > 0.1)
    return weights.map(lambda row: torch.tensor(row, dtype=torch.float64) / sum(row))


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(semantic_model.layers.losses, extraglobs={"torch": torch}).failed == 0


def test_rank_loss_is_the_mean_hinge_over_pairs():
    # 1 - 0.9 + 0.5 = 0.6 and max(0, 1 - 0.9 - 0.3) = 0; their mean is 0.3
    loss = rank_loss(torch.tensor([[0.9]]), torch.tensor([[0.5, -0.3]]), EVERY_PAIR)
    assert loss.item() == pytest.approx(0.3)


def test_rank_loss_is_zero_beyond_the_margin_and_passes_no_gradient_there():
    positive = torch.tensor([[0.9]], requires_grad=True)
    loss = rank_loss(positive, torch.tensor([[-0.2, -0.5]]), EVERY_PAIR)
    loss.backward()
    assert loss.item() == 0.0
    assert positive.grad is not None
    assert positive.grad.item() == 0.0


def test_rank_loss_leaves_pairs_that_do_not_exist_out():
    pairs = torch.tensor([[[True, False]]])
    loss = rank_loss(torch.tensor([[0.9]]), torch.tensor([[0.5, 0.9]]), pairs)
    assert loss.item() == pytest.approx(0.6)
    assert rank_loss(torch.tensor([[0.9]]), torch.tensor([[0.5, 0.9]]), pairs & False).item() == 0.0


def test_softmax_rank_loss_is_the_cross_entropy_of_one_positive():
    scores = torch.tensor([[2.0, 1.0, 0.0]])
    loss = softmax_rank_loss(scores, torch.tensor([[True, False, False]]), torch.ones(1, 3, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log(math.exp(2) + math.e + 1) - 2)


def test_positives_do_not_compete_with_each_other_in_the_softmax():
    # each positive of score 2 against the one negative of score 0: log(1 + e^-2)
    scores = torch.tensor([[2.0, 2.0, 0.0]])
    loss = softmax_rank_loss(scores, torch.tensor([[True, True, False]]), torch.ones(1, 3, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)))


def test_candidates_that_are_not_there_count_for_nothing_in_the_softmax():
    scores = torch.tensor([[2.0, 9.0, 0.0]])
    there = torch.tensor([[True, False, True]])
    loss = softmax_rank_loss(scores, torch.tensor([[True, False, False]]), there)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)))


def test_js_of_two_opposite_certainties_is_log_two():
    assert js_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item() == pytest.approx(math.log(2))


def test_js_by_hand():
    # p = (3/4, 1/4), q = (1/4, 3/4), m = (1/2, 1/2): KL(p | m) = 3/4 ln 3/2 + 1/4 ln 1/2, KL(q | m) is the same
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert js_divergence(torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])).item() == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(p=distributions(), q=distributions())
def test_js_is_symmetric_bounded_and_zero_on_equal_inputs(p, q):
    value = js_divergence(p, q).item()
    assert value == pytest.approx(js_divergence(q, p).item(), abs=1e-12)
    assert -1e-12 <= value <= math.log(2) + 1e-12
    assert js_divergence(p, p).item() == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(p=distributions(), q=distributions())
def test_js_agrees_with_a_plain_loop(p, q):
    total = 0.0
    for a, b in zip(p.tolist(), q.tolist(), strict=True):
        m = (a + b) / 2
        total += (a * math.log(a / m) if a > 0 else 0.0) / 2 + (b * math.log(b / m) if b > 0 else 0.0) / 2
    assert js_divergence(p, q).item() == pytest.approx(total, abs=1e-8)


def test_jeffreys_has_no_mixture():
    # (KL(p | q) + KL(q | p)) / 2 of (3/4, 1/4) and (1/4, 3/4) is (3/4 - 1/4) ln 3
    value = jeffreys_divergence(torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])).item()
    assert value == pytest.approx(0.5 * math.log(3))


def test_the_attention_gap_compares_context_with_product_in_both_modalities():
    same, other = torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])
    one = js_divergence(same, other).item()
    assert attention_gap(same, same, same, same).item() == pytest.approx(0.0, abs=1e-9)
    assert attention_gap(same, other, same, same).item() == pytest.approx(one)
    assert attention_gap(same, same, same, other).item() == pytest.approx(one)
    assert attention_gap(same, other, same, other).item() == pytest.approx(2 * one)


def test_js_loss_wants_the_positive_closer():
    # gaps 0.5 against 0.2 and 0.9: max(0, 0.3) and max(0, -0.4); mean 0.15
    loss = js_loss(torch.tensor([[0.5]]), torch.tensor([[0.2, 0.9]]), EVERY_PAIR)
    assert loss.item() == pytest.approx(0.15)


def test_co_sim_is_one_minus_the_cosine_summed_over_candidates():
    # cosines 1, 0 and -1: losses 0, 1 and 2
    x_PT = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    x_PI = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]])
    every = torch.ones(1, 3, dtype=torch.bool)
    assert co_sim_loss(x_PT, x_PI, every).item() == pytest.approx(3.0)
    assert co_sim_loss(x_PT, x_PI, every, "mean").item() == pytest.approx(1.0)
    assert co_sim_loss(x_PT, x_PI, torch.tensor([[True, False, True]])).item() == pytest.approx(2.0)


def test_state_mse_is_the_mean_over_elements_of_labelled_slots():
    S = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    S_hat = torch.tensor([[[2.0, 4.0], [9.0, 9.0]]])
    # (1 + 4) / 2 in the first slot; the second is not labelled
    assert state_mse(S_hat, S, torch.tensor([[True, False]])).item() == pytest.approx(2.5)
    assert state_mse(S_hat, S, torch.tensor([[False, False]])).item() == 0.0
