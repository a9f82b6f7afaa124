"""Pooling, gates, bilinear fusion and memories, worked out by hand or in loops."""

from __future__ import annotations

import math

import pytest
import torch

from semantic_model.config.sections import ImageConfig
from semantic_model.layers.fusion import BilinearFusion, GatedFusion, read_memory
from semantic_model.layers.images import ImageFeatures
from semantic_model.layers.pooling import AttentivePool, masked_mean, masked_softmax


def test_a_masked_mean_or_softmax_of_nothing_is_zero():
    x = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[5.0, 5.0], [5.0, 5.0]]])
    mask = torch.tensor([[True, True], [False, False]])
    torch.testing.assert_close(masked_mean(x, mask), torch.tensor([[2.0, 4.0], [0.0, 0.0]]))
    shares = masked_softmax(torch.tensor([[0.0, math.log(3.0)], [1.0, 2.0]]), mask)
    torch.testing.assert_close(shares, torch.tensor([[0.25, 0.75], [0.0, 0.0]]))


def test_attentive_pooling_weighs_places_by_their_score():
    pool = AttentivePool(2, 1)
    with torch.no_grad():
        pool.inner.weight.copy_(torch.tensor([[1.0, 0.0]]))
        pool.inner.bias.zero_()
        pool.score.weight.fill_(2.0)
    x = torch.tensor([[1.0, 10.0], [-1.0, 20.0], [9.0, 99.0]])
    a = math.exp(2 * math.tanh(1.0)), math.exp(2 * math.tanh(-1.0))
    share = a[0] / sum(a)
    expected = [share - (1 - share), 10 * share + 20 * (1 - share)]
    assert pool(x, torch.tensor([True, True, False])).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_gate_mixes_number_by_number():
    fusion = GatedFusion(2)
    with torch.no_grad():
        fusion.gate.weight.zero_()
        fusion.gate.bias.copy_(torch.tensor([math.log(3.0), -100.0]))  # gates 0.75 and 0
    torch.testing.assert_close(fusion(torch.tensor([4.0, 4.0]), torch.tensor([8.0, 9.0])), torch.tensor([5.0, 9.0]))


@pytest.mark.parametrize("normalise", [False, True])
def test_bilinear_fusion_sums_products_of_both_sides(normalise: bool):
    torch.manual_seed(0)
    fusion = BilinearFusion(3, 4, 2, factors=5, normalise=normalise).double()
    x, y = torch.randn(6, 3).double(), torch.randn(6, 4).double()
    found = fusion(x, y)
    for row in range(6):
        u, v = fusion.of_x(x[row]).tolist(), fusion.of_y(y[row]).tolist()
        z = [sum(u[5 * out + k] * v[5 * out + k] for k in range(5)) for out in range(2)]
        if normalise:
            roots = [math.copysign(math.sqrt(abs(value)), value) for value in z]
            z = [value / math.hypot(*roots) for value in roots]
        assert found[row].tolist() == pytest.approx(z, rel=1e-5)


def test_a_gate_mixes_what_is_shared_with_each():
    fusion = GatedFusion(3)
    x, y = torch.randn(2, 4, 3), torch.randn(1, 4, 3)
    torch.testing.assert_close(fusion(x, y), fusion(x, y.expand(2, 4, 3)))
    both = torch.cat([x, y.expand(2, 4, 3)], dim=2)
    g = torch.sigmoid(fusion.gate(both))
    torch.testing.assert_close(fusion(x, y), g * x + (1 - g) * y)


def test_a_memory_is_read_by_its_keys_and_an_empty_one_gives_zeros():
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    keys = torch.tensor([[[0.0, 7.0], [math.log(4.0), 0.0], [50.0, 0.0]]] * 2)
    values = torch.tensor([[[5.0], [10.0], [1000.0]]] * 2)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    torch.testing.assert_close(read_memory(query, keys, values, mask), torch.tensor([[9.0], [0.0]]))  # 1:4


def test_images_are_taken_to_mean_zero_and_maps_channel_by_channel():
    images = ImageFeatures(ImageConfig(encoder="pixels"), (2, 1, 2))
    catalogue = torch.tensor([[1.0, 3.0, 10.0, 10.0], [1.0, 3.0, 30.0, 30.0]])  # channels of mean 2 and 20
    images.standardize(catalogue)
    mask = torch.tensor([[True, False]])
    found = images(torch.stack([catalogue[0], catalogue[1]])[None], mask)
    spread = math.sqrt(4 / 3), math.sqrt(400 / 3)
    expected = torch.tensor([[[-1 / spread[0], 1 / spread[0]]], [[-10 / spread[1], -10 / spread[1]]]])
    torch.testing.assert_close(found[0, 0], expected)
    assert not found[0, 1].any()
