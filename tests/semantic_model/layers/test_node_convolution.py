from __future__ import annotations

import torch
import torch.nn.functional as F

from semantic_model.layers.node_convolution import NodeConvolution


def test_each_image_goes_through_the_convolution_of_its_node():
    torch.manual_seed(0)
    layer = NodeConvolution(3, 2, 4)
    torch.nn.init.normal_(layer.bias)
    x, node = torch.randn(5, 2, 6, 7), [2, 0, 2, 1, 0]
    found = layer(x, torch.tensor(node))
    assert found.shape == (5, 4, 4, 5)
    for row, number in enumerate(node):
        alone = F.conv2d(x[row : row + 1], layer.weight[number], layer.bias[number]).relu()
        torch.testing.assert_close(found[row : row + 1], alone)


def test_a_node_that_no_image_belongs_to_does_not_move():
    torch.manual_seed(0)
    layer = NodeConvolution(3, 2, 4)
    layer(torch.randn(4, 2, 5, 5), torch.tensor([0, 2, 0, 2])).sum().backward()
    moved = layer.weight.grad.flatten(1).any(dim=1)
    assert moved.tolist() == [True, False, True]


def test_no_images_are_no_maps():
    found = NodeConvolution(3, 2, 4)(torch.zeros(0, 2, 5, 5), torch.zeros(0, dtype=torch.int64))
    assert found.shape == (0, 4, 3, 3)
