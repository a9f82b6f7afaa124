"""The Gram form (:mod:`semantic_model.semantic.gram`) without gradients: in place, in memory that stays in a cache.

Candidates are columns, so every step over slots runs along memory. Nothing is kept of a chunk but its cosines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from semantic_model.ranking.workers import Scratch
from semantic_model.semantic.gram import gram_rows, smallest_square
from semantic_model.semantic.interaction import DialogueStateInteraction

__all__ = ["GramQuery", "gram_cosine_"]

LARGEST_EXPONENT = 60.0
"""Weights from 2^-60 to 2^60 and their sums are ordinary float32 numbers: no maximum is subtracted in the softmax while
cos / temperature is within these bounds, that is for temperatures from 0.025."""

LOG2_E = 1 / math.log(2)

_ROWS = 512  # products multiplied at a time on a CPU, so that they stay in a cache


@dataclass(frozen=True)
class GramQuery:
    """What B contexts bring to the scoring of one modality, computed once.

    Attributes:
        M: rows S_0 ... S_K and x_C [B, R, D], R = (K + 1) n + 1.
        H: per hop, the part of M M^T that adds the hop's a_k: [B, rows after block k, n].
        inverse_norms: 1 / norm of M's rows [B, R, 1].
        inverse_temperature: of the attention.
        K: hops.
        n: slots.
    """

    M: Tensor
    H: tuple[Tensor, ...]
    inverse_norms: Tensor
    inverse_temperature: float
    K: int
    n: int

    @classmethod
    def of(cls, dsi: DialogueStateInteraction, x_C: Tensor, stack: Tensor) -> GramQuery:
        """Of enhanced context vectors [B, D] and S_0 ... S_K [B, K + 1, n, D]; float32."""
        K, n = stack.shape[1] - 1, stack.shape[2]
        M, H, norms = gram_rows(x_C.float(), stack.float())
        blocks = tuple(H[:, (k + 1) * n :, (k + 1) * n : (k + 2) * n].contiguous() for k in range(K))
        return cls(M, blocks, norms.reciprocal()[:, :, None], float(dsi.inverse_temperature), K, n)

    def __len__(self) -> int:
        return len(self.M)

    def __getitem__(self, part: slice) -> GramQuery:
        H = tuple(block[part] for block in self.H)
        return GramQuery(self.M[part], H, self.inverse_norms[part], self.inverse_temperature, self.K, self.n)


def gram_cosine_(query: GramQuery, X_0: Tensor, square: Tensor, scratch: Scratch) -> Tensor:
    """cos(x_C, x_K) of C candidates for B contexts; as ``gram_cosine``, without gradients.

    Args:
        query: B contexts.
        X_0: candidates [C, D], float32 or bfloat16.
        square: |x_0|^2 [C].
        scratch: what is computed in; the answer lies there, too, until the next call.

    Returns:
        [B, C].
    """
    K, n, B, C = query.K, query.n, len(query), len(X_0)
    T = _products(query.M, X_0, scratch)  # [B, R, C]
    a, spare = scratch.tensor("a", B, n, C), scratch.tensor("spare", B, n, C)
    row, x_square = scratch.tensor("row", B, C), scratch.tensor("square", B, C)
    x_square.copy_(square.expand(B, C))
    smallest = smallest_square(square)
    bits = LOG2_E * query.inverse_temperature  # exp(y) = 2^(y log2 e), and exp2 is the quicker one
    for k in range(K):
        here, after = slice(k * n, (k + 1) * n), slice((k + 1) * n, (k + 2) * n)
        torch.maximum(x_square, smallest, out=row).rsqrt_().mul_(bits)
        torch.mul(T[:, here], query.inverse_norms[:, here], out=a).mul_(row[:, None])
        _softmax_(a, bits, row)
        # |x + dx|^2 - |x|^2 = a (2 T[k+1] + H a) = a T[k+1] as it is + a T[k+1] as it will be
        x_square += torch.sum(torch.mul(a, T[:, after], out=spare), dim=1, out=row)
        T[:, (k + 1) * n :].baddbmm_(query.H[k], a)
        x_square += torch.sum(torch.mul(a, T[:, after], out=spare), dim=1, out=row)
    torch.maximum(x_square, smallest, out=row).rsqrt_()
    return row.mul_(T[:, -1]).mul_(query.inverse_norms[:, -1]).clamp_(-1.0, 1.0)


def _softmax_(bits: Tensor, bound: float, spare: Tensor) -> None:
    """Softmax over slots [B, n, C] to base 2, in place; within +-``bound`` but for the rounding of vanishing x."""
    if bound <= LARGEST_EXPONENT:
        bits.clamp_(-bound, bound)
    else:
        bits.sub_(torch.amax(bits, dim=1, out=spare)[:, None])
    bits.exp2_()
    bits.mul_(torch.sum(bits, dim=1, out=spare).reciprocal_()[:, None])


def _products(M: Tensor, X_0: Tensor, scratch: Scratch) -> Tensor:
    """T = M X_0^T: [B, R, C]."""
    B, R, D = M.shape
    T = scratch.tensor("T", B * R, len(X_0))
    rows = M.reshape(B * R, D)
    if X_0.is_cuda and X_0.dtype == torch.bfloat16:
        _split_product(rows, X_0, T)
        return T.view(B, R, len(X_0))
    step = len(X_0) if X_0.is_cuda else _ROWS
    for start in range(0, len(X_0), step):
        part = X_0[start : start + step]
        if part.dtype != torch.float32:
            part = scratch.tensor("wide", *part.shape).copy_(part)
        torch.mm(rows, part.T, out=T[:, start : start + step])
    return T.view(B, R, len(X_0))


def _split_product(rows: Tensor, X_0: Tensor, T: Tensor) -> None:
    """T = rows X_0^T on a GPU's bfloat16 units: rows in two bfloat16 parts have 16 bits, sums are float32."""
    coarse = rows.bfloat16()
    fine = (rows - coarse).bfloat16()
    torch.mm(coarse, X_0.T, out_dtype=torch.float32, out=T)
    T.add_(torch.mm(fine, X_0.T, out_dtype=torch.float32))
