"""One vector of several: over words, images or turns."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the places that ``mask`` [.., L] keeps: [.., L, D] -> [.., D]; zeros where it keeps none.

    >>> masked_mean(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([True, True, False]))
    tensor([2.])
    """
    kept = torch.where(mask[..., None], x, 0.0).sum(dim=-2)
    return kept / mask.sum(dim=-1, keepdim=True).clamp(min=1)


def masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the places that ``mask`` keeps; zeros, rather than nothing, where it keeps none."""
    shares = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=dim)
    return torch.where(mask, shares, 0.0)


class AttentivePool(nn.Module):
    """sum_l a_l x_l with a = softmax(w tanh(W x)): [.., L, D], bool [.., L] -> [.., D]; zeros without any place.

    Args:
        width: D.
        inner: of W x.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner)
        self.score = nn.Linear(inner, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        shares = masked_softmax(self.score(torch.tanh(self.inner(x)))[..., 0], mask)
        return torch.einsum("...l,...ld->...d", shares, x)
