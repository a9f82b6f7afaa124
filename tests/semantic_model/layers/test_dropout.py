from __future__ import annotations

import pytest
import torch

from semantic_model.layers.attention import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_share_is_dropped_and_the_mean_stays(p: float, kind: torch.dtype):
    torch.manual_seed(0)
    found = Dropout(p)(torch.ones(1001, 997, dtype=kind)).float()
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.002)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.01)
    assert len(found.unique()) == 2
    assert found.shape == (1001, 997)


def test_numbers_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(400_000)) == 0).float()
    for distance in (1, 2, 3, 4, 8, 16):
        assert float((dropped[:-distance] * dropped[distance:]).mean()) == pytest.approx(0.25, abs=0.005)


def test_what_is_dropped_has_no_gradient_and_the_rest_has_the_scale():
    x = torch.randn(5, 7, requires_grad=True)
    found = Dropout(0.4)(x)
    found.sum().backward()
    expected = torch.where(found == 0, 0.0, 1 / 0.6)
    assert torch.allclose(x.grad, expected, rtol=1e-4)


def test_a_seed_repeats_and_the_next_draw_differs():
    draw = Dropout(0.5)
    torch.manual_seed(3)
    first, second = draw(torch.ones(100)), draw(torch.ones(100))
    torch.manual_seed(3)
    assert torch.equal(first, draw(torch.ones(100)))
    assert not torch.equal(first, second)


def test_nothing_is_dropped_in_evaluation_or_at_zero():
    x = torch.randn(3, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert Dropout(0.5)(torch.zeros(0, 4)).shape == (0, 4)
