"""The losses of rankers by a cosine, in plain loops; and presets on top of each other."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from semantic_model.config.sections import RankLossConfig
from semantic_model.ranking.candidates import Choices
from semantic_model.ranking.cosine import CosineRanker, LateCosineRanker, rank_objective
from semantic_model.ranking.model_spec import StepBatch


class Given(CosineRanker):
    def encode_contexts(self, batch):
        return batch


class Shifted(LateCosineRanker):
    """Products move towards the query before they are compared."""

    pair_width = 3

    def encode_contexts(self, batch):
        return batch

    def products_for(self, contexts, products):
        return F.normalize(products + 0.5 * contexts[:, None], dim=-1)


def vectors(*shape: int) -> torch.Tensor:
    torch.manual_seed(1)
    return F.normalize(torch.randn(*shape, 3), dim=-1)


C, P = vectors(2, 1)[:, 0], vectors(5, 1)[:, 0]
POSITIVES, NEGATIVES = torch.tensor([[0], [3]]), torch.tensor([[1, 2], [4, -1]])


def cosine(b: int, n: int) -> float:
    return float(sum(C[b, d] * P[n, d] for d in range(3)))


def test_the_hinge_is_the_mean_over_pairs():
    model = Given(RankLossConfig(rank="hinge", margin=0.5))
    found = rank_objective(model, StepBatch(C, None, P, Choices(POSITIVES, NEGATIVES)))
    pairs = [(0, 0, 1), (0, 0, 2), (1, 3, 4)]
    expected = sum(max(0.0, 0.5 - cosine(b, p) + cosine(b, n)) for b, p, n in pairs) / 3
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert model.log_scale is None
    assert list(model.parameters()) == []


def test_the_softmax_is_over_the_candidates_times_a_learned_scale():
    model = Given(RankLossConfig(rank="softmax", scale=4.0))
    found = rank_objective(model, StepBatch(C, None, P, Choices(POSITIVES, NEGATIVES)))
    each = []
    for b, p, others in ((0, 0, [1, 2]), (1, 3, [4])):
        odds = [math.exp(4 * cosine(b, n)) for n in (p, *others)]
        each.append(-math.log(odds[0] / sum(odds)))
    assert found.total.item() == pytest.approx(sum(each) / 2, rel=1e-5)
    found.total.backward()
    assert model.log_scale.grad.item() != 0


@pytest.mark.parametrize("rank", ["hinge", "softmax"])
def test_a_product_that_depends_on_the_query_scores_alike_in_a_list_and_in_the_catalogue(rank: str):
    model = Shifted(RankLossConfig(rank=rank))
    whole = model.score(C, P)
    for b in range(2):
        for n in range(5):
            moved = [P[n, d].item() + 0.5 * C[b, d].item() for d in range(3)]
            length = math.hypot(*moved)
            expected = sum(C[b, d].item() * value / length for d, value in enumerate(moved))
            assert whole[b, n].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    rows = torch.tensor([[4, 0], [2, 2]])
    torch.testing.assert_close(model.score(C, P[rows]), whole.gather(1, rows))
