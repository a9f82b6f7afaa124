"""Exact scoring without materialising x_k: the DSI in Gram form.

S_{k+1} = W_{k+1} S_k does not depend on x, and x_k = x_0 + sum_{j<k} a_j S_{j+1}. With the rows
M = [S_0; ..; S_K; x_C],
H = M M^T and T = M X_0^T, each hop is a few operations on slots x candidates:

    a = softmax(T[block k] / (|S_k,i| |x|)),   |x|^2 += a (2 T[block k+1] + H[block k+1, block k+1] a),
    T += H[:, block k+1] a,

and after K hops the last row of T gives cos(x_K, x_C).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semantic_model.batch import ContextArrays, Reader
from semantic_model.encoders import Context, ProductVectors
from semantic_model.interaction import EPSILON, DialogueStateInteraction
from semantic_model.model import Semantic
from semantic_model.ranker import FloatArray, Product, Query

__all__ = ["EncodedContexts", "SemanticRanker", "gram_cosine", "match_all"]


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
    rows = torch.cat([stack.flatten(1, 2), x_C[:, None]], dim=1)  # M [B, (K + 1) n + 1, D]
    H = rows @ rows.transpose(1, 2)
    T = rows @ (X_0.T if X_0.dim() == 2 else X_0.transpose(1, 2))  # [B, rows, C]
    norms = H.diagonal(dim1=1, dim2=2).clamp(min=EPSILON**2).sqrt()  # [B, rows]
    square = X_0.square().sum(dim=-1)  # [N] or [B, C]
    square = square.expand(len(x_C), -1)  # |x|^2 [B, C]
    for k in range(K):  # T keeps the rows of blocks k ... K and of x_C: earlier ones are not looked at again
        rest, after = slice((k + 1) * n, None), slice((k + 1) * n, (k + 2) * n)
        length = square.clamp(min=EPSILON**2).sqrt()[:, None]
        cosines = T[:, :n] / (norms[:, k * n : (k + 1) * n, None] * length)
        a = torch.softmax(dsi.inverse_temperature * cosines, dim=1)  # [B, n, C]
        H_a = H[:, rest, after] @ a  # [B, rows left, C]
        square = square + (a * (2 * T[:, n : 2 * n] + H_a[:, :n])).sum(dim=1)
        T = T[:, n:] + H_a
    length = square.clamp(min=EPSILON**2).sqrt()
    return T[:, -1] / (norms[:, -1:] * length)


def match_all(model: Semantic, context: Context, products: ProductVectors, S: Tensor) -> Tensor:
    """cos(x_CT, x_PT) + cos(x_CI, x_PI) of every product with every context: [B, N].

    ``products`` may also be candidates of their own for each context, [B, C, D]: then [B, C].
    """
    found = []
    for dsi, c, X_0 in ((model.dsi_T, context.c_T, products.rho_T), (model.dsi_I, context.c_I, products.rho_I)):
        stack = dsi.states(S)
        found.append(gram_cosine(dsi, dsi.interact(c[:, None], stack).x[:, 0], stack, X_0))
    w = model.modality_weights
    return w[0] * found[0] + w[1] * found[1]


@dataclass(frozen=True)
class EncodedContexts:
    """Contexts with the student's state, ready to score; supports ``len()`` and slices."""

    context: Context
    S: Tensor  # [B, n, D]

    def __len__(self) -> int:
        return len(self.S)

    def __getitem__(self, part: slice) -> EncodedContexts:
        return EncodedContexts(Context(*(field[part] for field in self.context)), self.S[part])


class SemanticRanker:
    """The trained student as a ranker; implements :class:`semantic_model.ranker.Ranker`.

    Args:
        model: its weights; put into evaluation mode.
        reader: how text and pictures are read.
        name: its name in tables.
    """

    product_chunk = 4096
    context_chunk = 64

    def __init__(self, model: Semantic, reader: Reader, name: str = "semantic") -> None:
        self.model = model.eval()
        self.reader = reader
        self.name = name

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.log_scale.device

    @torch.inference_mode()
    def encode_products(self, products: Sequence[Product]) -> ProductVectors:
        """rho^T and rho^I of products, once."""
        self.model.eval()
        parts = []
        for start in range(0, len(products), 512):
            batch = self.reader.products(products[start : start + 512])
            parts.append(self.model.encode_products(type(batch)(*(field.to(self.device) for field in batch))))
        return ProductVectors(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def encode_contexts(self, queries: Sequence[Query]) -> EncodedContexts:
        """Contexts with their predicted states, once."""
        return self.encode_arrays(self.reader.contexts(queries))

    @torch.inference_mode()
    def encode_arrays(self, arrays: ContextArrays) -> EncodedContexts:
        """:meth:`encode_contexts`, of contexts that have been read already."""
        self.model.eval()
        contexts, states = [], []
        for start in range(0, len(arrays), self.context_chunk):
            part = slice(start, start + self.context_chunk)
            context = self.model.encode_contexts(arrays.batch(part, self.reader.features, self.device))
            contexts.append(context)
            states.append(self.model.student_state(context))
        return EncodedContexts(
            Context(*(torch.cat(fields) for fields in zip(*contexts, strict=True))), torch.cat(states)
        )

    @torch.inference_mode()
    def score(
        self, contexts: EncodedContexts, table: ProductVectors, candidates: npt.NDArray[np.int64] | None = None
    ) -> FloatArray:
        """f(tau, rho) of every product, or of each context's candidates (section 3.3); see :class:`Ranker`."""
        self.model.eval()
        if candidates is not None:
            return self._score_candidates(contexts, table, candidates)
        scores = np.empty((len(contexts), len(table.rho_T)), dtype=np.float32)
        for b in range(0, len(contexts), 16):
            some = contexts[b : b + 16]
            for start in range(0, scores.shape[1], self.product_chunk):
                part = ProductVectors(*(field[start : start + self.product_chunk] for field in table))
                found = torch.tanh(match_all(self.model, some.context, part, some.S))
                scores[b : b + 16, start : start + self.product_chunk] = found.cpu().numpy()
        return scores

    def _score_candidates(
        self, contexts: EncodedContexts, table: ProductVectors, candidates: npt.NDArray[np.int64]
    ) -> FloatArray:
        scores = np.empty(candidates.shape, dtype=np.float32)
        for b in range(0, len(contexts), 16):
            some = contexts[b : b + 16]
            rows = torch.from_numpy(candidates[b : b + 16].clip(min=0)).to(self.device)
            found = torch.tanh(match_all(self.model, some.context, table.take(rows), some.S))
            scores[b : b + 16] = found.cpu().numpy()
        scores[candidates < 0] = -np.inf
        return scores
