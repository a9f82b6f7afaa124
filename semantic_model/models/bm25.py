"""The user's last words against the products' texts: Okapi BM25 (Robertson and others, TREC-3, 1994) over words.

    score(q, d) = sum over words t of q of  idf(t) f (k1 + 1) / (f + k1 (1 - b + b |d| / mean |d|))

f is how often d has t, |d| how many words d has; a word counts as often as q says it. idf(t) = ln(1 + (D - n + 1/2) /
(n + 1/2)), with n of D documents having t, is the one that never falls below zero (Lucene's).
"""

from __future__ import annotations

import numpy as np

from semantic_model.models.inverted_index import LexicalRanker, Numbers, TermCounts, words_of

K1, B = 1.5, 0.75


class Bm25(LexicalRanker):
    """Scores products by BM25; a text without a known word scores 0 everywhere."""

    name = "bm25"

    @staticmethod
    def terms(text: str) -> list[str]:
        """Words."""
        return words_of(text)

    def of_products(self, found: TermCounts) -> tuple[Numbers, Numbers]:
        """A word's whole summand, for one mention by the user."""
        idf = np.log1p((found.documents - found.having + 0.5) / (found.having + 0.5))
        lengths = np.bincount(found.rows, weights=found.counts, minlength=found.products)
        long = 1 - B + B * lengths / (lengths.mean() or 1.0) if found.products else lengths
        f = found.counts
        return idf, idf[found.terms] * f * (K1 + 1) / (f + K1 * long[found.rows])

    def of_user(self, counts: Numbers, idf: Numbers) -> Numbers:
        """How often a word is said."""
        del idf
        return counts
