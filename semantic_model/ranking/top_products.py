"""Which products to show, given their scores: the best, or good ones that differ from each other.

The latter by maximal marginal relevance, over the values that products have.

Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries"
(SIGIR 1998): the next product is the one with the highest

    lambda rel(rho) - (1 - lambda) max_{rho' picked before} sim(rho, rho')

Here ``weight`` is 1 - lambda; rel is the score, brought to 0 ... 1 over the products to pick from, and sim the share of
slots in which two products have the same (:func:`same_values`). So it does not depend on which model ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from semantic_model.data.records import FloatArray

Numbers = npt.NDArray[np.float64]


def top_rows(scores: FloatArray, top: int) -> list[int]:
    """Rows of the ``top`` highest scores, best first; equal scores in the catalogue's order."""
    top = min(top, len(scores))
    last = -np.partition(-scores, top - 1)[top - 1] if top else np.inf
    rows = np.flatnonzero(scores >= last)  # few but for ties: a million products need not be sorted
    order: list[int] = rows[np.argsort(-scores[rows], kind="stable")][:top].tolist()
    return order


def marginal_relevance(scores: FloatArray, similarity: Numbers, weight: float, top: int) -> list[int]:
    """The ``top`` products to show, in the order in which they are picked.

    Args:
        scores: of P products [P], best first; among equals, the first is picked.
        similarity: of each two of them, 0 to 1 [P, P].
        weight: 0 keeps the order of the scores; with 1 nothing but the difference counts after the first.
        top: how many; all P where there are no more.
    """
    relevance = scores.astype(np.float64)
    spread = np.ptp(relevance) if len(relevance) else 0.0
    relevance = (relevance - relevance.min()) / spread if spread > 0 else np.zeros(len(relevance))
    nearest = np.zeros(len(relevance))  # to anything picked so far
    picked: list[int] = []
    left = np.ones(len(relevance), dtype=np.bool_)
    for _ in range(min(top, len(relevance))):
        worth = np.where(left, (1 - weight) * relevance - weight * nearest, -np.inf)
        best = int(worth.argmax()) if picked else 0
        picked.append(best)
        left[best] = False
        nearest = np.maximum(nearest, similarity[best])
    return picked


def same_values(values: npt.NDArray[np.bool_], slots: Sequence[slice]) -> Numbers:
    """How alike products are [P, P]: of the slots in which one of two has values, the mean share of common ones.

    A slot's share is that of the values that both have among those that either has (Jaccard). Two products without any
    values are not alike.

    Args:
        values: which values products have [P, V].
        slots: the columns of each slot.
    """
    shares, counts = np.zeros((len(values), len(values))), np.zeros((len(values), len(values)))
    for columns in slots:
        has = values[:, columns].astype(np.float64)
        both = has @ has.T
        each = has.sum(axis=1)
        either = each[:, None] + each - both
        shares += np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        counts += either > 0
    return np.divide(shares, counts, out=np.zeros_like(shares), where=counts > 0)
