"""Graph attention against plain loops, and sparsemax against the quadratic programme that defines it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from semantic_model.layers.graph import GraphAttention, sparsemax


def projected(scores: list[float]) -> np.ndarray:
    """The point of the simplex nearest to the scores, by a general solver."""
    z = np.array(scores)
    found = minimize(
        lambda p: ((p - z) ** 2).sum(),
        np.full(len(z), 1 / len(z)),
        jac=lambda p: 2 * (p - z),
        bounds=[(0, None)] * len(z),
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1, "jac": lambda p: np.ones_like(p)},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return found.x


@given(st.lists(st.floats(-3, 3).map(lambda x: round(x, 3)), min_size=1, max_size=6))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores: list[float]):
    found = sparsemax(torch.tensor(scores, dtype=torch.float64), torch.ones(len(scores), dtype=torch.bool))
    assert found.sum().item() == pytest.approx(1.0)
    np.testing.assert_allclose(found.numpy(), projected(scores), atol=2e-4)


def test_sparsemax_by_hand_and_with_places_left_out():
    scores = torch.tensor([[1.0, 0.5, -1.0], [5.0, 0.2, 0.0], [1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, True], [False, True, True], [False, False, False]])
    # (1 + 0.5 - 1) / 2 = 0.25 is taken off the first two; (0.2 + 0 - 1) / 2 = -0.4 off the last two of the second row
    expected = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(sparsemax(scores, mask), expected)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shares", ["softmax", "sparsemax"])
def test_a_layer_is_the_sum_over_the_nodes_looked_at(shares: str, residual: bool):
    torch.manual_seed(0)
    layer = GraphAttention(4, 3, heads=2, residual=residual, shares=shares)
    nodes = torch.randn(2, 5, 4)
    sees = torch.rand(2, 5, 5) < 0.6
    sees[0, 1] = False
    found = layer(nodes, sees)
    assert found.shape == (2, 5, 6)
    W = layer.project.weight.reshape(2, 3, 4)
    for b in range(2):
        for i in range(5):
            near = [j for j in range(5) if sees[b, i, j]]
            heads = []
            for k in range(2):
                h = [W[k] @ nodes[b, j] for j in range(5)]
                e = [(layer.looks[k] @ h[i] + layer.is_seen[k] @ h[j]).item() for j in near]
                e = [x if x > 0 else 0.2 * x for x in e]
                if shares == "softmax":
                    a = [math.exp(x) / sum(map(math.exp, e)) for x in e]
                else:
                    a = list(projected(e)) if e else []
                heads.append(sum((w * h[j] for w, j in zip(a, near, strict=True)), torch.zeros(3)))
            expected = torch.cat(heads)
            if residual:
                expected = expected + layer.residual(nodes[b, i])
            torch.testing.assert_close(found[b, i], expected.float(), atol=1e-3, rtol=1e-3)
