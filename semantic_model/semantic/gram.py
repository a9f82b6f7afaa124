"""The DSI in Gram form (section 3.2): cos(x_K, x_C) of many candidates without ever making an x_k.

S_{k+1} = W_{k+1} S_k does not depend on x, and x_k = x_0 + sum_{j<k} a_j S_{j+1}. With the rows
M = [S_0; ..; S_K; x_C],
H = M M^T and T = M X_0^T, each hop is a few operations on slots x candidates:

    a = softmax(T[block k] / (|S_k,i| |x|)),   |x|^2 += a (2 T[block k+1] + H[block k+1, block k+1] a),
    T += H[:, block k+1] a,

and after K hops the last row of T gives cos(x_K, x_C). :func:`gram_cosine` has gradients;
:mod:`semantic_model.semantic.gram` does the same in place, for whole catalogues.

Where hops all but cancel a product, |x_k| << |x_0|, what is left of |x_k|^2 is rounding; a length too small to be told
apart from it counts as just that long (:func:`smallest_square`), so that such a product matches nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from semantic_model.layers.losses import EPSILON
from semantic_model.ranking.chunked_scoring import Scratch
from semantic_model.semantic.interaction import DialogueStateInteraction


def gram_rows(x_C: Tensor, stack: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """M [B, R, D] with R = (K + 1) n + 1, H = M M^T [B, R, R], and the rows' norms [B, R], at least EPSILON.

    Args:
        x_C: enhanced context vectors [B, D].
        stack: S_0 ... S_K [B, K + 1, n, D].
    """
    M = torch.cat([stack.flatten(1, 2), x_C[:, None]], dim=1)
    H = M @ M.transpose(1, 2)
    return M, H, H.diagonal(dim1=1, dim2=2).clamp(min=EPSILON**2).sqrt()


def smallest_square(square: Tensor) -> Tensor:
    """The smallest |x_k|^2 that differences of numbers as large as |x_0|^2 can tell from zero; at least EPSILON^2."""
    return (8 * torch.finfo(square.dtype).eps * square).clamp(min=EPSILON**2)


def gram_cosine(dsi: DialogueStateInteraction, x_C: Tensor, stack: Tensor, X_0: Tensor) -> Tensor:
    """cos(x_C, x_K) of candidates that went through the DSI; equal to the plain form up to rounding.

    Args:
        dsi: for its temperature.
        x_C: enhanced context vectors [B, D].
        stack: S_0 ... S_K [B, K + 1, n, D].
        X_0: candidates [N, D] for every context, or [B, C, D].

    Returns:
        [B, N] or [B, C].
    """
    K, n = stack.shape[1] - 1, stack.shape[2]
    M, H, norms = gram_rows(x_C, stack)
    T = M @ (X_0.T if X_0.dim() == 2 else X_0.transpose(1, 2))  # [B, R, C]
    square = X_0.square().sum(dim=-1)  # [N] or [B, C]
    square = square.expand(len(x_C), -1)  # |x|^2 [B, C]
    smallest = smallest_square(square.detach())
    for k in range(K):  # T keeps the rows of blocks k ... K and of x_C: earlier ones are not looked at again
        rest, after = slice((k + 1) * n, None), slice((k + 1) * n, (k + 2) * n)
        length = torch.maximum(square, smallest).sqrt()[:, None]
        cosines = T[:, :n] / (norms[:, k * n : (k + 1) * n, None] * length)
        a = torch.softmax(dsi.inverse_temperature * cosines, dim=1)  # [B, n, C]
        H_a = H[:, rest, after] @ a  # [B, rows left, C]
        square = square + (a * (2 * T[:, n : 2 * n] + H_a[:, :n])).sum(dim=1)
        T = T[:, n:] + H_a
    length = torch.maximum(square, smallest).sqrt()
    return T[:, -1] / (norms[:, -1:] * length)


LARGEST_EXPONENT = 60.0
"""Weights from 2^-60 to 2^60 and their sums are ordinary float32 numbers: no maximum is subtracted in the softmax while
cos / temperature is within these bounds, that is for temperatures from 0.025."""

LOG2_E = 1 / math.log(2)

_ROWS = 512  # products multiplied at a time on a CPU, so that they stay in a cache


@dataclass(frozen=True)
class GramQuery:
    """What B contexts bring to the scoring of one modality, computed once."""

    M: Tensor  # rows S_0 ... S_K and x_C [B, R, D], R = (K + 1) n + 1.
    H: tuple[Tensor, ...]  # per hop, the part of M M^T that adds the hop's a_k: [B, rows after block k, n]
    inverse_norms: Tensor  # 1 / norm of M's rows [B, R, 1]
    inverse_temperature: float  # of the attention
    K: int  # hops
    n: int  # slots

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
