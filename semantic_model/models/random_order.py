"""The floor: a random order of the candidates, the same on every run."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from semantic_model.data.corpus import Corpus
from semantic_model.data.records import FloatArray, Product, Query

Hashes = npt.NDArray[np.uint64]


class RandomOrder:
    """Scores a product uniformly in [0, 1) for each query.

    The score depends on the seed, the dialogue, the turn and the product id alone, so neither the order of queries nor
    which other candidates there are changes it.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @classmethod
    def fit(cls, corpus: Corpus) -> RandomOrder:
        """Nothing is learned."""
        del corpus
        return cls()

    def encode_products(self, products: Sequence[Product]) -> Hashes:
        """[N] hashes of the product ids."""
        return _hashes([f"product {product.product_id}" for product in products])

    def encode_contexts(self, queries: Sequence[Query]) -> Hashes:
        """[Q] hashes of dialogue and turn."""
        return _hashes([f"{self.seed} {query.turn} {query.dialogue_id}" for query in queries])

    def score(self, contexts: Hashes, table: Hashes, candidates: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Uniform scores, [B, N] or [B, C]; see :meth:`semantic_model.ranking.ranker.Ranker.score`."""
        products = table[None, :] if candidates is None else table[candidates]
        mixed = _mix(contexts[:, None] ^ _mix(products))
        scores = ((mixed >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24)
        return scores if candidates is None else np.where(candidates < 0, np.float32(-np.inf), scores)


def _hashes(names: Sequence[str]) -> Hashes:
    raw = [name.encode() for name in names]
    halves = [(zlib.crc32(name) << 32) | zlib.adler32(name) for name in raw]
    return _mix(np.array(halves, dtype=np.uint64))


def _mix(values: Hashes) -> Hashes:
    """Scatter the bits of each value: the finaliser of the SplitMix64 generator."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
