"""How often a product was recommended in the training dialogues, whatever the user says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from semantic_model.data.corpus import Corpus
from semantic_model.data.records import FloatArray, Product, Query


class Popularity:
    """Scores a product by its count; equal counts stay ties, which the metrics average over.

    Args:
        counts: product id -> how often it was a positive.
    """

    name = "popularity"

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)

    @classmethod
    def fit(cls, corpus: Corpus, split: str = "train") -> Popularity:
        """Count the positives of a split; a product counts once a turn."""
        rows = Counter(row for query in corpus.queries(split) for row in query.positives)
        return cls({corpus.products[row].product_id: count for row, count in rows.items()})

    def encode_products(self, products: Sequence[Product]) -> FloatArray:
        """[N] counts."""
        return np.array([self.counts.get(product.product_id, 0) for product in products], dtype=np.float32)

    def encode_contexts(self, queries: Sequence[Query]) -> npt.NDArray[np.bool_]:
        """[Q], with nothing in it: the dialogue does not matter."""
        return np.zeros(len(queries), dtype=np.bool_)

    def score(
        self, contexts: npt.NDArray[np.bool_], table: FloatArray, candidates: npt.NDArray[np.int64] | None = None
    ) -> FloatArray:
        """Counts, [B, N] or [B, C]; see :meth:`semantic_model.ranking.ranker.Ranker.score`."""
        if candidates is None:
            return np.tile(table, (len(contexts), 1))
        return np.where(candidates < 0, np.float32(-np.inf), table[candidates])
