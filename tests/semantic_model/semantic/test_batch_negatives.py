"""Every product of a batch, or of the catalogue, as a negative of every context: the Gram form inside training."""

from __future__ import annotations

import pytest
import torch

from semantic_model.layers.losses import rank_loss, rank_loss_of_all, softmax_rank_loss
from semantic_model.ranking.model_spec import StepBatch
from semantic_model.semantic.objective import joint_objective

RELEVANT = torch.tensor(
    [[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], [0, 1] + [0] * 10, [0] * 11 + [1], [0, 0, 1, 1, 1] + [0] * 7],
    dtype=torch.bool,
)


def test_the_hinge_over_all_pairs_by_hand():
    f = torch.tensor([[0.9, 0.5, -0.3], [0.1, 0.2, 0.6]])
    positives = torch.tensor([[True, False, False], [True, True, False]])
    # context 1: 1 - .9 + .5 and max(0, 1 - .9 - .3); context 2: 1 - .1 + .6 and 1 - .2 + .6
    assert rank_loss_of_all(f, positives, torch.ones_like(positives)).item() == pytest.approx(
        (0.6 + 0.0 + 1.5 + 1.4) / 4
    )


def test_the_hinge_over_all_pairs_is_the_mean_over_a_plain_loop():
    torch.manual_seed(0)
    f = torch.tanh(torch.randn(4, 12, dtype=torch.float64))
    pairs = [
        max(0.0, 0.7 - f[b, p].item() + f[b, q].item())
        for b in range(4)
        for p in range(12)
        for q in range(12)
        if RELEVANT[b, p] and not RELEVANT[b, q]
    ]
    loss = rank_loss_of_all(f, RELEVANT, torch.ones_like(RELEVANT), 0.7)
    assert loss.item() == pytest.approx(sum(pairs) / len(pairs))


def test_with_one_positive_each_it_is_the_hinge_on_listed_pairs():
    torch.manual_seed(1)
    f = torch.randn(3, 5)
    first = torch.zeros(3, 5, dtype=torch.bool)
    first[:, 0] = True
    listed = rank_loss(f[:, :1], f[:, 1:], torch.ones(3, 1, 4, dtype=torch.bool))
    assert rank_loss_of_all(f, first, torch.ones_like(first)).item() == pytest.approx(listed.item())


def test_columns_that_take_no_part_are_neither_right_nor_wrong():
    f = torch.tensor([[0.9, 5.0, 0.5], [0.1, 0.2, 5.0]])
    positives = torch.tensor([[True, False, False], [True, False, False]])
    candidates = torch.tensor([[True, False, True], [True, True, False]])
    assert rank_loss_of_all(f, positives, candidates).item() == pytest.approx((0.6 + 1.1) / 2)


def test_contexts_without_a_positive_or_a_negative_take_no_part():
    f = torch.randn(3, 2, requires_grad=True)
    positives = torch.tensor([[True, False], [False, False], [True, True]])
    loss = rank_loss_of_all(f, positives, torch.ones_like(positives))
    assert loss.item() == pytest.approx(max(0.0, 1 - f[0, 0].item() + f[0, 1].item()))
    loss.backward()
    assert f.grad is not None
    assert not f.grad[1:].any()
    assert rank_loss_of_all(f, torch.zeros_like(positives), torch.ones_like(positives)).item() == 0.0


@pytest.mark.parametrize("candidates", ["batch", "all"])
@pytest.mark.parametrize("rank", ["hinge", "softmax"])
def test_loss_and_gradients_are_those_of_the_plain_form(inputs_of, config_of, rank: str, candidates: str):
    """The same numbers as with every product of every context sent through the DSI one by one."""
    config = config_of(
        loss={"rank": rank, "js_weight": 0.0, "co_sim_weight": 0.0, "mse_weight": 0.0},
        train={"rank_candidates": candidates},
        dsi={"hops": 2, "temperature": 0.2, "learn_temperature": True},
    )
    answers = []
    for gram in (True, False):
        given = inputs_of(config)
        model = given.model.double().eval()
        contexts = given.contexts._replace(images=given.contexts.images.double())
        vectors = model.encode_products(given.products._replace(image=given.products.image.double()))
        if gram:
            total = joint_objective(
                model, StepBatch(contexts, None, vectors, given.choices._replace(relevant=RELEVANT))
            ).total
        else:
            context = model.encode_contexts(contexts)
            every = vectors.take(torch.arange(12).expand(4, -1))
            found = model.interact(context, every, model.student_state(context))
            if rank == "hinge":
                total = rank_loss_of_all(model.score(found), RELEVANT, torch.ones_like(RELEVANT), config.loss.margin)
            else:
                scores = model.log_scale.exp() * model.match(found)
                total = softmax_rank_loss(scores, RELEVANT, torch.ones_like(RELEVANT))
        total.backward()
        answers.append((total.item(), {name: part.grad for name, part in model.named_parameters()}))
    (one, ours), (other, theirs) = answers
    assert one == pytest.approx(other, abs=1e-9)
    moved = 0
    for name, gradient in theirs.items():
        if gradient is None:
            assert ours[name] is None or not ours[name].any(), name
        else:
            assert torch.allclose(ours[name], gradient, atol=1e-8), name
            moved += int(gradient.any())
    assert moved > 20
