"""Logistic regression over named features, for a few thousand examples: no library, same examples, same weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import exp

import numpy as np
import numpy.typing as npt

__all__ = ["Logistic"]

_STEPS = 200
_RATE = 0.3
_RARELY = 2
"""A feature seen less often says nothing."""


class Logistic:
    """P(yes) = 1 / (1 + exp(-sum of the weights of the features there are)).

    Args:
        weights: of each feature; others weigh nothing.
    """

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = weights

    def probability(self, features: Iterable[str]) -> float:
        """Of yes, for the features of one example."""
        score = sum(self.weights.get(feature, 0.0) for feature in features)
        return 1.0 / (1.0 + exp(-max(-30.0, min(30.0, score))))

    @classmethod
    def fit(cls, examples: Sequence[tuple[Sequence[str], bool]], *, penalty: float = 1.0) -> Logistic:
        """The weights that minimise log loss + penalty / 2 |w|^2, to a few hundredths, by full-batch Adam.

        Args:
            examples: the features of each, and whether it is a yes.
            penalty: of large weights.
        """
        seen = Counter(feature for features, _ in examples for feature in set(features))
        names = sorted(feature for feature, count in seen.items() if count >= _RARELY)
        if not names:
            return cls({})
        place = {name: at for at, name in enumerate(names)}
        columns: list[int] = []
        rows: list[int] = []
        for row, (features, _) in enumerate(examples):
            known = sorted({place[feature] for feature in features if feature in place})
            columns += known
            rows += [row] * len(known)
        answers = np.array([answer for _, answer in examples], dtype=np.float64)
        weights = _minimise(np.array(rows), np.array(columns), answers, len(names), penalty)
        return cls(dict(zip(names, weights.tolist(), strict=True)))


def _minimise(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    answers: npt.NDArray[np.float64],
    width: int,
    penalty: float,
) -> npt.NDArray[np.float64]:
    weights, first, second = np.zeros(width), np.zeros(width), np.zeros(width)
    for step in range(1, _STEPS + 1):
        scores = np.bincount(rows, weights[columns], len(answers))
        error = 1 / (1 + np.exp(-np.clip(scores, -30, 30))) - answers
        gradient = np.bincount(columns, error[rows], width) + penalty * weights
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        rate = _RATE * (1 - (step - 1) / _STEPS)
        weights -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    return weights
