"""Convolutions of the nodes of a tree: each image goes through that of its own node."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NodeConvolution(nn.Module):
    """relu(W_n * x + b_n), 3 x 3 without padding, with weights of the node n that each image belongs to.

    All images are one grouped convolution, a group an image.

    Args:
        nodes: how many there are.
        inputs, outputs: channels.
    """

    def __init__(self, nodes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(nodes, outputs, inputs, 3, 3) * (2.0 / (9 * inputs)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(nodes, outputs))

    def forward(self, x: Tensor, node: Tensor) -> Tensor:
        """Maps [R, inputs, H, W] of nodes int [R] -> [R, outputs, H - 2, W - 2]."""
        R, _, H, W = x.shape
        shape = R, self.weight.shape[1], H - 2, W - 2
        if not R:
            return x.new_zeros(shape)
        weight, bias = self.weight[node], self.bias[node]
        found = F.conv2d(x.flatten(0, 1)[None], weight.flatten(0, 1), bias.flatten(), groups=R)
        return torch.relu(found.view(shape))
