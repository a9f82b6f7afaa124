"""The user's last words against the products' texts: TF-IDF over words and word pairs, by cosine.

The weighting is the usual one: tf = 1 + ln(count), idf = ln((1 + D) / (1 + documents with the term)) + 1, vectors of
length one. Documents are the products' texts and what users say in the training split: a catalogue alone takes
"show" and "with" for telling words, since hardly a product's text has them. Terms seen in neither count for nothing.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semantic_model.data.corpus import Corpus
from semantic_model.data.records import FloatArray, Product, Query

_WORD = re.compile(r"\w\w+")


def terms(text: str) -> list[str]:
    """Words of two characters and more, lower-cased, and pairs of neighbouring ones.

    >>> terms("A red-hot Dress")
    ['red', 'hot', 'dress', 'red hot', 'hot dress']
    """
    words = _WORD.findall(text.lower())
    return words + [f"{first} {second}" for first, second in itertools.pairwise(words)]


@dataclass(frozen=True)
class InvertedIndex:
    """The catalogue, term by term."""

    vocabulary: Mapping[str, int]  # term -> its number
    idf: npt.NDArray[np.float64]  # [V] inverse document frequency
    starts: npt.NDArray[np.int64]  # [V + 1] where each term's entries begin in ``rows`` and ``weights``
    rows: npt.NDArray[np.int64]  # product rows that contain the term, ascending
    weights: FloatArray  # the term's weight there, float32
    products: int  # N, how many products there are


class TfIdf:
    """Scores products by the cosine of TF-IDF vectors, in [0, 1]; a text without a known term scores 0 everywhere.

    Args:
        said: what users say, as further documents for the document frequencies.
    """

    name = "tfidf"

    def __init__(self, said: Sequence[str] = ()) -> None:
        self.said = tuple(said)

    @classmethod
    def fit(cls, corpus: Corpus, split: str = "train") -> TfIdf:
        """Learn document frequencies from the last user turns of a split's queries."""
        return cls([_last_user_text(query) for query in corpus.queries(split)])

    def encode_products(self, products: Sequence[Product]) -> InvertedIndex:
        """Index the products' texts."""
        vocabulary: dict[str, int] = {}
        term_of: list[int] = []
        row_of: list[int] = []
        counts: list[int] = []
        for row, product in enumerate(products):
            for term, count in Counter(terms(product.text)).items():
                term_of.append(vocabulary.setdefault(term, len(vocabulary)))
                row_of.append(row)
                counts.append(count)
        said_of = [
            vocabulary.setdefault(term, len(vocabulary)) for text in self.said for term in sorted(set(terms(text)))
        ]
        number, rows = np.array(term_of, dtype=np.int64), np.array(row_of, dtype=np.int64)
        in_products = np.bincount(number, minlength=len(vocabulary))
        in_said = np.bincount(np.array(said_of, dtype=np.int64), minlength=len(vocabulary))
        documents = len(products) + len(self.said)
        idf = np.log((1 + documents) / (1 + in_products + in_said)) + 1
        weights = (1 + np.log(np.array(counts, dtype=np.float64))) * idf[number]
        lengths = np.sqrt(np.bincount(rows, weights=weights**2, minlength=len(products)))
        weights /= lengths[rows]
        order = np.argsort(number, kind="stable")
        starts = np.concatenate([[0], np.cumsum(in_products)])
        return InvertedIndex(vocabulary, idf, starts, rows[order], weights[order].astype(np.float32), len(products))

    def encode_contexts(self, queries: Sequence[Query]) -> list[Counter[str]]:
        """The terms of each query's last user turn, with their counts."""
        return [Counter(terms(_last_user_text(query))) for query in queries]

    def score(
        self, contexts: Sequence[Counter[str]], table: InvertedIndex, candidates: npt.NDArray[np.int64] | None = None
    ) -> FloatArray:
        """Cosines, [B, N] or [B, C]; see :meth:`semantic_model.ranking.ranker.Ranker.score`."""
        shape = (len(contexts), table.products) if candidates is None else candidates.shape
        scores = np.full(shape, -np.inf, dtype=np.float32)
        for row, counts in enumerate(contexts):
            cosines = _cosines(counts, table)
            if candidates is None:
                scores[row] = cosines
            else:
                real = candidates[row] >= 0
                scores[row, real] = cosines[candidates[row, real]]
        return scores


def _last_user_text(query: Query) -> str:
    return next((said.text for said in reversed(query.history) if said.speaker == "user"), "")


def _cosines(counts: Mapping[str, int], table: InvertedIndex) -> FloatArray:
    known = [(table.vocabulary[term], count) for term, count in counts.items() if term in table.vocabulary]
    cosines = np.zeros(table.products, dtype=np.float32)
    weights = [(1 + np.log(count)) * table.idf[number] for number, count in known]
    length = np.sqrt(np.sum(np.square(weights))) if known else 1.0
    for (number, _), weight in zip(known, weights, strict=True):
        entries = slice(table.starts[number], table.starts[number + 1])
        cosines[table.rows[entries]] += np.float32(weight / length) * table.weights[entries]
    return cosines
