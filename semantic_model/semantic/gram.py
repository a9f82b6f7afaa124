"""The DSI in Gram form (section 3.2): cos(x_K, x_C) of many candidates without ever making an x_k.

S_{k+1} = W_{k+1} S_k does not depend on x, and x_k = x_0 + sum_{j<k} a_j S_{j+1}. With the rows
M = [S_0; ..; S_K; x_C],
H = M M^T and T = M X_0^T, each hop is a few operations on slots x candidates:

    a = softmax(T[block k] / (|S_k,i| |x|)),   |x|^2 += a (2 T[block k+1] + H[block k+1, block k+1] a),
    T += H[:, block k+1] a,

and after K hops the last row of T gives cos(x_K, x_C). :func:`gram_cosine` has gradients;
:mod:`semantic_model.semantic.gram_in_place` does the same in place, for whole catalogues.

Where hops all but cancel a product, |x_k| << |x_0|, what is left of |x_k|^2 is rounding; a length too small to be told
apart from it counts as just that long (:func:`smallest_square`), so that such a product matches nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semantic_model.layers.similarity import EPSILON
from semantic_model.semantic.interaction import DialogueStateInteraction

__all__ = ["gram_cosine", "gram_rows", "smallest_square"]


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
