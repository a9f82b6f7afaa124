"""Two vectors into one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semantic_model.layers.attention import Dropout
from semantic_model.layers.pooling import masked_softmax


class GatedFusion(nn.Module):
    """g x + (1 - g) y with g = sigmoid(W [x; y]), one gate a number: two times [.., D] -> [.., D].

    Either may have axes of size one where the other has more: its half of the gate is computed once for all of them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        of_x, of_y = self.gate.weight.chunk(2, dim=1)
        g = torch.sigmoid(F.linear(x, of_x) + F.linear(y, of_y, self.gate.bias))
        return g * x + (1 - g) * y


class BilinearFusion(nn.Module):
    """Factorised bilinear pooling (MFB, Yu et al. 2017): z = SumPool_k(U x * V y), [.., A], [.., B] -> [.., out].

    Args:
        x_width, y_width: of the two.
        out: of the result.
        factors: k, products that each number of the result sums.
        normalise: a signed square root, then length one (the paper of MFB; its followers leave both out).
    """

    def __init__(
        self, x_width: int, y_width: int, out: int, *, factors: int = 1, dropout: float = 0.0, normalise: bool = False
    ) -> None:
        super().__init__()
        self.of_x = nn.Linear(x_width, out * factors)
        self.of_y = nn.Linear(y_width, out * factors)
        self.factors = factors
        self.dropout = Dropout(dropout)
        self.normalise = normalise

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        products: Tensor = self.dropout(self.of_x(x) * self.of_y(y))
        z = products.reshape(*products.shape[:-1], products.shape[-1] // self.factors, self.factors).sum(dim=-1)
        if self.normalise:
            z = F.normalize(z.sign() * (z.abs() + 1e-12).sqrt(), dim=-1)
        return z


def read_memory(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """softmax(q K^T) V over the rows that ``mask`` keeps; zeros where it keeps none.

    Args:
        query: [.., D].
        keys: [.., R, D].
        values: [.., R, E].
        mask: bool [.., R].

    Returns:
        [.., E].
    """
    shares = masked_softmax(torch.einsum("...d,...rd->...r", query, keys), mask)
    return torch.einsum("...r,...re->...e", shares, values)
