"""Logistic regression over named features, for a few thousand examples: no library, same examples, same weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import exp

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_STEPS = 100
_REMEMBERED = 10
_SETTLED = 1e-6
_RARELY = 2
"""A feature seen less often says nothing."""


class Logistic:
    """P(yes) = 1 / (1 + exp(-sum of the weights of the features there are)); other features weigh nothing."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = weights

    def probability(self, features: Iterable[str]) -> float:
        """Of yes, for the features of one example."""
        score = sum(self.weights.get(feature, 0.0) for feature in features)
        return 1.0 / (1.0 + exp(-max(-30.0, min(30.0, score))))

    @classmethod
    def fit(cls, examples: Sequence[tuple[Sequence[str], bool]], *, penalty: float = 1.0) -> Logistic:
        """The weights that minimise log loss + penalty / 2 |w|^2, to a millionth of it, for features and answers."""
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
) -> Numbers:
    """L-BFGS with a backtracking line search (Nocedal and Wright 2006, algorithms 7.4 and 3.1)."""

    def loss(weights: Numbers) -> tuple[float, Numbers]:
        scores = np.bincount(rows, weights[columns], len(answers))
        value = np.logaddexp(0, scores).sum() - scores @ answers + penalty / 2 * weights @ weights
        error = 1 / (1 + np.exp(-np.clip(scores, -30, 30))) - answers
        return float(value), np.bincount(columns, error[rows], width) + penalty * weights

    weights: Numbers = np.zeros(width)
    value, gradient = loss(weights)
    past: list[tuple[Numbers, Numbers]] = []
    for _ in range(_STEPS):
        direction = -_curved(gradient, past)
        slope = float(gradient @ direction)
        length = 1.0 if past else 1.0 / max(float(np.abs(gradient).sum()), 1.0)
        while True:
            there, its_gradient = loss(weights + length * direction)
            if there <= value + 1e-4 * length * slope or length < 1e-10:
                break
            length /= 2
        past = [*past[1 - _REMEMBERED :], (length * direction, its_gradient - gradient)]
        settled = value - there <= _SETTLED * abs(value)
        weights, value, gradient = weights + length * direction, there, its_gradient
        if settled:
            break
    return weights


def _curved(gradient: Numbers, past: Sequence[tuple[Numbers, Numbers]]) -> Numbers:
    """The gradient times the inverse of the curvature that the last steps have seen."""
    found = gradient.copy()
    shares = []
    for step, change in reversed(past):
        share = (step @ found) / (step @ change)
        found -= share * change
        shares.append(share)
    if past:
        step, change = past[-1]
        found *= (step @ change) / (change @ change)
    for (step, change), share in zip(past, reversed(shares), strict=True):
        found += step * (share - (change @ found) / (step @ change))
    return found
