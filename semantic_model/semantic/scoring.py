"""The trained student as a ranker: f(tau, rho) of candidates or of a whole catalogue (section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semantic_model.data.batch import ContextArrays, Reader
from semantic_model.data.ranker import FloatArray, Product, Query
from semantic_model.semantic.chunked_scoring import MatchQuery, rank_scores
from semantic_model.semantic.encoders import Context, ProductVectors
from semantic_model.semantic.gram import gram_cosine
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.product_table import ProductTable, TablePrecision

__all__ = ["EncodedContexts", "SemanticRanker", "gram_cosine", "match_all"]


def match_all(model: Semantic, context: Context, products: ProductVectors, S: Tensor) -> Tensor:
    """cos(x_CT, x_PT) + cos(x_CI, x_PI) of every product with every context: [B, N]; with gradients.

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
    """The trained student as a ranker; implements :class:`semantic_model.data.ranker.Ranker`.

    Args:
        model: its weights; put into evaluation mode.
        reader: how text and images are read.
        name: its name in tables.
        precision: of the product tables that it makes.
    """

    context_chunk = 64  # contexts encoded at a time
    queries = 16  # contexts whose M and H are held at a time

    def __init__(
        self, model: Semantic, reader: Reader, name: str = "semantic", precision: TablePrecision = "float32"
    ) -> None:
        self.model = model.eval()
        self.reader = reader
        self.name = name
        self.precision = precision

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.log_scale.device

    @torch.inference_mode()
    def encode_products(self, products: Sequence[Product]) -> ProductTable:
        """rho^T and rho^I of products, once."""
        self.model.eval()
        width = self.model.config.model.width
        parts = self._encoded(products)
        return ProductTable.collect(parts, len(products), width, precision=self.precision, device=self.device)

    def _encoded(self, products: Sequence[Product]) -> Iterator[ProductVectors]:
        for start in range(0, len(products), 512):
            batch = self.reader.products(products[start : start + 512])
            yield self.model.encode_products(type(batch)(*(field.to(self.device) for field in batch)))

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
        self,
        contexts: EncodedContexts,
        table: ProductTable | ProductVectors,
        candidates: npt.NDArray[np.int64] | None = None,
    ) -> FloatArray:
        """f(tau, rho) of every product, or of each context's candidates (section 3.3); see :class:`Ranker`.

        Beside the scores of 16 contexts, the memory needed does not grow with the catalogue.
        """
        self.model.eval()
        if isinstance(table, ProductVectors):
            table = ProductTable.of(table)

        def query_of(part: slice) -> MatchQuery:
            some = contexts[part]
            return MatchQuery.of(self.model, some.context, some.S)

        return rank_scores(query_of, len(contexts), table, candidates, at_a_time=self.queries)
