"""What the Gram form is measured against: the DSI written out hop by hop, and the matrix product it cannot do without.

The plain form is made as fast as it gets: chunks that stay in a cache, nothing allocated, slots normalised once, each
hop two small matrix products on x in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from semantic_model.layers.similarity import EPSILON
from semantic_model.ranking.workers import Scratch, for_each
from semantic_model.semantic.interaction import DialogueStateInteraction
from semantic_model.semantic.product_table import ProductTable
from semantic_model.semantic.scoring import MatchQuery

__all__ = ["MatrixProduct", "PlainDsi"]

Side = tuple[DialogueStateInteraction, Tensor, Tensor]


class PlainDsi:
    """tanh of the sum of both modalities' cosines, for one context.

    Args:
        sides: for text and images, the DSI, x_C [1, D] and S_0 ... S_K [1, K + 1, n, D].
    """

    def __init__(self, sides: Sequence[Side]) -> None:
        self.sides = []
        for dsi, x_C, stack in sides:
            S = stack[0]
            unit = S / S.norm(dim=-1, keepdim=True).clamp(min=EPSILON) * dsi.inverse_temperature
            self.sides.append((S, unit.transpose(1, 2).contiguous(), x_C[0] / x_C[0].norm()))

    def run(self, table: ProductTable, chunk: int) -> Tensor:
        """Scores [N]."""
        scores = torch.zeros(len(table))

        def work(starts: Iterator[int]) -> None:
            scratch = Scratch(table.device)
            for start in starts:
                part = slice(start, start + chunk)
                for side, modality in enumerate((table.text, table.image)):
                    scores[part] += self._cosines(side, modality.vectors[part], scratch)
                scores[part].tanh_()

        for_each(range(0, len(table), chunk), work)
        return scores

    def _cosines(self, side: int, x_0: Tensor, scratch: Scratch) -> Tensor:
        S, unit, x_C = self.sides[side]
        n, (C, D) = S.shape[1], x_0.shape
        x, a, length = scratch.tensor("x", C, D), scratch.tensor("a", C, n), scratch.tensor("length", C, 1)
        weights = scratch.tensor("weights", C, n)
        x_k = x_0
        for k in range(len(S) - 1):
            torch.linalg.vector_norm(x_k, dim=1, keepdim=True, out=length).clamp_(min=EPSILON)
            torch.mm(x_k, unit[k], out=a).div_(length)
            torch.softmax(a, dim=1, out=weights)
            x_k = torch.addmm(x_k, weights, S[k + 1], out=x)
        torch.linalg.vector_norm(x_k, dim=1, keepdim=True, out=length).clamp_(min=EPSILON)
        return torch.mv(x_k, x_C).div_(length[:, 0])


class MatrixProduct:
    """T = M X_0^T of both modalities and nothing else."""

    def __init__(self, query: MatchQuery) -> None:
        self.rows = [side.M[0] for side in (query.text, query.image)]

    def run(self, table: ProductTable, chunk: int) -> None:
        """Every chunk's product overwrites the one before."""

        def work(starts: Iterator[int]) -> None:
            scratch = Scratch(table.device)
            for start in starts:
                part = slice(start, start + chunk)
                for M, modality in zip(self.rows, (table.text, table.image), strict=True):
                    X_0 = modality.vectors[part]
                    torch.mm(M, X_0.T, out=scratch.tensor("T", len(M), len(X_0)))

        for_each(range(0, len(table), chunk), work)
