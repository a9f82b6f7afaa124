from __future__ import annotations

import math

import pytest
import torch

from semantic_model.semantic.interaction import DialogueStateInteraction, attend_state
from semantic_model.semantic.scoring import gram_cosine
from semantic_model.semantic.settings import DsiConfig


def dsi_of(hops: int, *, temperature: float = 1.0, width: int = 6) -> DialogueStateInteraction:
    torch.manual_seed(hops)
    return DialogueStateInteraction(DsiConfig(hops=hops, temperature=temperature), width).double()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def plain_cos(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))


def plain_dsi(dsi: DialogueStateInteraction, x_0: list[float], S_0: list[list[float]], temperature: float):
    """Section 3.2 as loops over plain numbers: x_K and the attention of layer K + 1."""

    def attention(x: list[float], S: list[list[float]]) -> list[float]:
        weights = [math.exp(plain_cos(x, row) / temperature) for row in S]
        return [weight / sum(weights) for weight in weights]

    x, S = list(x_0), [list(row) for row in S_0]
    for layer in dsi.W:
        W, b = layer.weight.tolist(), layer.bias.tolist()
        after = [[sum(w * s for w, s in zip(W[d], row, strict=True)) + b[d] for d in range(len(b))] for row in S]
        a = attention(x, S)
        x = [x[d] + sum(a[i] * after[i][d] for i in range(len(S))) for d in range(len(x))]
        S = after
    return x, attention(x, S)


@pytest.mark.parametrize("hops", [0, 1, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_dsi_agrees_with_a_plain_loop(hops: int, temperature: float):
    dsi = dsi_of(hops, temperature=temperature)
    x_0, S = random(2, 3, 6), random(2, 4, 6)
    found = dsi(x_0, S)
    for b in range(2):
        for c in range(3):
            x, a = plain_dsi(dsi, x_0[b, c].tolist(), S[b].tolist(), temperature)
            assert found.x[b, c].tolist() == pytest.approx(x, abs=1e-7)
            assert found.attention[b, c].tolist() == pytest.approx(a, abs=1e-7)


def test_attention_rows_sum_to_one():
    found = dsi_of(2)(random(2, 3, 6), random(2, 4, 6))
    assert torch.allclose(found.attention.sum(dim=-1), torch.ones(2, 3, dtype=torch.float64))


def test_attention_by_hand():
    # cosines 1 and 0: weights e / (e + 1) and 1 / (e + 1)
    a = attend_state(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[5.0, 0.0], [0.0, 1.0]]]), torch.tensor(1.0))
    assert a[0, 0].tolist() == pytest.approx([math.e / (math.e + 1), 1 / (math.e + 1)])


def test_without_temperature_no_slot_gets_more_than_e_squared_times_another():
    a = dsi_of(1)(100 * random(4, 5, 6), random(4, 7, 6)).attention
    assert (a.max(dim=-1).values / a.min(dim=-1).values).max() <= math.e**2 + 1e-9


def test_a_zero_vector_attends_evenly_and_stays_finite():
    found = dsi_of(2)(torch.zeros(1, 1, 6, dtype=torch.float64), random(1, 4, 6))
    assert torch.isfinite(found.x).all()
    first = attend_state(torch.zeros(1, 1, 6), torch.randn(1, 4, 6), torch.tensor(1.0))
    assert first[0, 0].tolist() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("hops", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gram_form_equals_the_plain_form(hops: int, dtype: torch.dtype):
    dsi = dsi_of(hops, temperature=0.3, width=32).to(dtype)
    c, products, S = random(3, 32).to(dtype), 4 * random(50, 32).to(dtype), random(3, 5, 32).to(dtype)
    products[7] = 0.0  # a product without an image
    stack = dsi.states(S)
    x_C = dsi.interact(c[:, None], stack).x[:, 0]
    x_P = dsi.interact(products.expand(3, -1, -1), stack).x
    plain = torch.nn.functional.cosine_similarity(x_C[:, None], x_P, dim=-1)
    assert torch.allclose(gram_cosine(dsi, x_C, stack, products), plain, atol=1e-5 if dtype == torch.float32 else 1e-12)
    own = products[torch.arange(12).reshape(3, 4)]  # candidates of its own for each context
    assert torch.allclose(gram_cosine(dsi, x_C, stack, own), plain.gather(1, torch.arange(12).reshape(3, 4)), atol=1e-5)


def test_the_gram_form_has_the_gradients_of_the_plain_form():
    dsi = dsi_of(2)
    grads = []
    for gram in (True, False):
        c, products, S = (part.clone().requires_grad_() for part in (random(2, 6), random(7, 6), random(2, 4, 6)))
        dsi.zero_grad()
        stack = dsi.states(S)
        x_C = dsi.interact(c[:, None], stack).x[:, 0]
        if gram:
            cosines = gram_cosine(dsi, x_C, stack, products)
        else:
            x_P = dsi.interact(products.expand(2, -1, -1), stack).x
            cosines = torch.nn.functional.cosine_similarity(x_C[:, None], x_P, dim=-1)
        (cosines * torch.arange(14.0).reshape(2, 7)).sum().backward()
        grads.append([c.grad, products.grad, S.grad, dsi.W[0].weight.grad.clone(), dsi.W[1].bias.grad.clone()])
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-9)
