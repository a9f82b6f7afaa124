"""The user's last words against the products' texts, term by term: what rankers by words have in common.

Documents are the products' texts and what users say in the training split: a catalogue alone takes "show" and "with"
for telling words, since hardly a product's text has them. Terms seen in neither count for nothing.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from semantic_model.data.corpus import Corpus
from semantic_model.data.records import FloatArray, Product, Query

Numbers = npt.NDArray[np.float64]

_WORD = re.compile(r"\w\w+")


def words_of(text: str) -> list[str]:
    """Words of two characters and more, lower-cased.

    >>> words_of("A red-hot Dress")
    ['red', 'hot', 'dress']
    """
    return _WORD.findall(text.lower())


class TermCounts(NamedTuple):
    """A catalogue, an entry for each term of each product."""

    terms: npt.NDArray[np.int64]  # [E] number of the term
    rows: npt.NDArray[np.int64]  # [E] product row
    counts: Numbers  # [E] how often the product has the term
    having: npt.NDArray[np.int64]  # [V] documents that have a term
    products: int  # N
    documents: int  # N and what was said


@dataclass(frozen=True)
class InvertedIndex:
    """The catalogue, term by term."""

    vocabulary: Mapping[str, int]  # term -> its number
    idf: Numbers  # [V] inverse document frequency
    starts: npt.NDArray[np.int64]  # [V + 1] where each term's entries begin in ``rows`` and ``weights``
    rows: npt.NDArray[np.int64]  # product rows that contain the term, ascending
    weights: FloatArray  # the term's weight there, float32
    products: int  # N, how many products there are


class LexicalRanker(ABC):
    """Scores a product by the sum over terms of what they weigh in the user's last turn times what they weigh in it.

    Args:
        said: what users say, as further documents for the document frequencies.
    """

    name: str

    def __init__(self, said: Sequence[str] = ()) -> None:
        self.said = tuple(said)

    @classmethod
    def fit(cls, corpus: Corpus, split: str = "train") -> Self:
        """Learn document frequencies from the last user turns of a split's queries."""
        return cls([_last_user_text(query) for query in corpus.queries(split)])

    @staticmethod
    @abstractmethod
    def terms(text: str) -> list[str]:
        """The terms of a text, each as often as it occurs."""

    @abstractmethod
    def of_products(self, found: TermCounts) -> tuple[Numbers, Numbers]:
        """Inverse document frequencies [V], and what each entry weighs [E]."""

    @abstractmethod
    def of_user(self, counts: Numbers, idf: Numbers) -> Numbers:
        """What the terms of a turn weigh [K], which has them ``counts`` [K] times."""

    def encode_products(self, products: Sequence[Product]) -> InvertedIndex:
        """Index the products' texts."""
        vocabulary: dict[str, int] = {}
        entries = [
            (vocabulary.setdefault(term, len(vocabulary)), row, count)
            for row, product in enumerate(products)
            for term, count in Counter(self.terms(product.text)).items()
        ]
        said_of = [
            vocabulary.setdefault(term, len(vocabulary)) for text in self.said for term in sorted(set(self.terms(text)))
        ]
        numbers, rows, counts = np.array(entries, dtype=np.int64).reshape(-1, 3).T
        in_products = np.bincount(numbers, minlength=len(vocabulary))
        in_said = np.bincount(np.array(said_of, dtype=np.int64), minlength=len(vocabulary))
        documents = len(products) + len(self.said)
        found = TermCounts(numbers, rows, counts.astype(np.float64), in_products + in_said, len(products), documents)
        idf, weights = self.of_products(found)
        order = np.argsort(numbers, kind="stable")
        starts = np.concatenate([[0], np.cumsum(in_products)])
        return InvertedIndex(vocabulary, idf, starts, rows[order], weights[order].astype(np.float32), len(products))

    def encode_contexts(self, queries: Sequence[Query]) -> list[Counter[str]]:
        """The terms of each query's last user turn, with their counts."""
        return [Counter(self.terms(_last_user_text(query))) for query in queries]

    def score(
        self, contexts: Sequence[Counter[str]], table: InvertedIndex, candidates: npt.NDArray[np.int64] | None = None
    ) -> FloatArray:
        """Sums over terms, [B, N] or [B, C]; see :meth:`semantic_model.ranking.ranker.Ranker.score`."""
        shape = (len(contexts), table.products) if candidates is None else candidates.shape
        scores = np.full(shape, -np.inf, dtype=np.float32)
        for row, counts in enumerate(contexts):
            found = self._sums(counts, table)
            if candidates is None:
                scores[row] = found
            else:
                real = candidates[row] >= 0
                scores[row, real] = found[candidates[row, real]]
        return scores

    def _sums(self, counts: Mapping[str, int], table: InvertedIndex) -> FloatArray:
        known = {table.vocabulary[term]: float(count) for term, count in counts.items() if term in table.vocabulary}
        weights = self.of_user(np.array(list(known.values())), table.idf[list(known)])
        sums = np.zeros(table.products, dtype=np.float32)
        for number, weight in zip(known, weights, strict=True):
            entries = slice(table.starts[number], table.starts[number + 1])
            sums[table.rows[entries]] += np.float32(weight) * table.weights[entries]
        return sums


def _last_user_text(query: Query) -> str:
    return next((said.text for said in reversed(query.history) if said.speaker == "user"), "")
