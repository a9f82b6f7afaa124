"""What every ranker is: products are encoded once, contexts once, and scores are cheap.

Trained models and baselines share this protocol, so that evaluation needs no special cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from semantic_model.data.records import FloatArray, Product, Query

__all__ = ["ContextTable", "ProductTable", "Ranker"]

ProductTable = Any
"""What :meth:`Ranker.encode_products` returns; opaque to callers."""


class ContextTable(Protocol):
    """Encoded contexts; opaque but for their number and for slices of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> ContextTable: ...


class Ranker(Protocol):
    """Scores products for dialogue contexts."""

    name: str

    def encode_products(self, products: Sequence[Product]) -> ProductTable:
        """Encode a catalogue once."""

    def encode_contexts(self, queries: Sequence[Query]) -> Any:
        """Encode contexts; the result supports ``len()`` and slices (:class:`ContextTable`)."""

    def score(self, contexts: Any, table: ProductTable, candidates: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Relevance scores, higher is better.

        Args:
            contexts: B encoded contexts.
            table: N encoded products.
            candidates: product rows [B, C] to score, -1 for padding; None scores the whole table.

        Returns:
            float32 [B, N], or [B, C] with -inf where a candidate is padding.
        """
