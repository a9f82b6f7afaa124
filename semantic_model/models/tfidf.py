"""The user's last words against the products' texts: TF-IDF over words and word pairs, by cosine.

The weighting is the usual one: tf = 1 + ln(count), idf = ln((1 + D) / (1 + documents with the term)) + 1, vectors of
length one.
"""

from __future__ import annotations

import itertools

import numpy as np

from semantic_model.models.inverted_index import LexicalRanker, Numbers, TermCounts, words_of


class TfIdf(LexicalRanker):
    """Scores products by the cosine of TF-IDF vectors, in [0, 1]; a text without a known term scores 0 everywhere."""

    name = "tfidf"

    @staticmethod
    def terms(text: str) -> list[str]:
        """Words, and pairs of neighbouring ones.

        >>> TfIdf.terms("A red-hot Dress")
        ['red', 'hot', 'dress', 'red hot', 'hot dress']
        """
        words = words_of(text)
        return words + [f"{first} {second}" for first, second in itertools.pairwise(words)]

    def of_products(self, found: TermCounts) -> tuple[Numbers, Numbers]:
        """Of length one in each product."""
        idf = np.log((1 + found.documents) / (1 + found.having)) + 1
        weights = (1 + np.log(found.counts)) * idf[found.terms]
        lengths = np.sqrt(np.bincount(found.rows, weights=weights**2, minlength=found.products))
        return idf, weights / lengths[found.rows]

    def of_user(self, counts: Numbers, idf: Numbers) -> Numbers:
        """Of length one."""
        weights: Numbers = (1 + np.log(counts)) * idf
        return weights / np.sqrt(np.sum(np.square(weights))) if len(weights) else weights
