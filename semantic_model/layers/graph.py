"""Attention over the nodes of a graph (GAT), dense: [B, V, D] and which node looks at which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semantic_model.layers.attention import Dropout
from semantic_model.layers.pooling import masked_softmax

Shares = Literal["softmax", "sparsemax"]


def sparsemax(scores: Tensor, mask: Tensor) -> Tensor:
    """The point of the simplex nearest to the scores, over the last axis (Martins and Astudillo 2016, algorithm 1).

    Many shares are exactly zero. Places that ``mask`` leaves out have none; all are zero where it keeps none.

    >>> sparsemax(torch.tensor([1.0, 0.5, -1.0]), torch.ones(3, dtype=torch.bool))
    tensor([0.7500, 0.2500, 0.0000])
    """
    z = scores - scores.masked_fill(~mask, torch.finfo(scores.dtype).min).amax(dim=-1, keepdim=True)
    z = z.masked_fill(~mask, -2.0)  # the best is 0: what is 1 or more below it has no share
    ordered, _ = z.sort(dim=-1, descending=True)
    k = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
    sums = ordered.cumsum(dim=-1)
    size = (1 + k * ordered > sums).sum(dim=-1, keepdim=True)
    threshold = (sums.gather(-1, size - 1) - 1) / size
    return torch.where(mask, (z - threshold).clamp(min=0.0), 0.0)


_SHARES: dict[Shares, Callable[[Tensor, Tensor], Tensor]] = {"softmax": masked_softmax, "sparsemax": sparsemax}


class GraphAttention(nn.Module):
    """One layer: h_i' = sum_j a_ij W h_j, with a_ij from LeakyReLU(u W h_i + v W h_j) over the nodes j that i looks at.

    Several heads are joined (Velickovic et al. 2018, equations 1 to 5). A node that looks at none gets zeros.

    Args:
        inputs: D of the nodes.
        width: of each head.
        heads: how many.
        dropout: of the nodes and of the shares.
        residual: add the node itself, projected where its width differs.
        shares: softmax, or sparsemax, which leaves most nodes out.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        heads: int = 1,
        *,
        dropout: float = 0.0,
        residual: bool = False,
        shares: Shares = "softmax",
    ) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(inputs, width * heads, bias=False)
        self.looks = nn.Parameter(width**-0.5 * torch.randn(heads, width))  # u
        self.is_seen = nn.Parameter(width**-0.5 * torch.randn(heads, width))  # v
        self.dropout = Dropout(dropout)
        self.shares = _SHARES[shares]
        self.residual: nn.Module | None = None
        if residual:
            same = inputs == width * heads
            self.residual = nn.Identity() if same else nn.Linear(inputs, width * heads, bias=False)

    def forward(self, nodes: Tensor, sees: Tensor) -> Tensor:
        """Nodes [B, V, D], bool [B, V, V] (the row looks at the column) -> [B, V, heads * width]."""
        nodes = self.dropout(nodes)
        h = self.project(nodes).unflatten(2, (self.heads, -1))  # [B, V, heads, width]
        ask, answer = (torch.einsum("bvhd,hd->bhv", h, vector) for vector in (self.looks, self.is_seen))
        scores = F.leaky_relu(ask[..., :, None] + answer[..., None, :], 0.2)  # [B, heads, V, V]
        a = self.dropout(self.shares(scores, sees[:, None].expand_as(scores)))
        found = torch.einsum("bhij,bjhd->bihd", a, h).flatten(2)
        return found if self.residual is None else found + self.residual(nodes)
