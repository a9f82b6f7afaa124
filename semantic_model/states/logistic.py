"""Logistic regression over named features, for a few thousand examples: same examples, same weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from math import exp
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Numbers = npt.NDArray[np.float64]

_STEPS = 100
_SETTLED = 1e-6
_RARELY = 2
"""A feature seen less often says nothing."""


class Example(NamedTuple):
    """What there is to learn from."""

    features: Sequence[str]
    answer: bool
    times: float = 1.0  # how often it counts


class Logistic:
    """P(yes) = 1 / (1 + exp(-sum of the weights of the features there are)); other features weigh nothing."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = weights

    def probability(self, features: Iterable[str]) -> float:
        """Of yes, for the features of one example."""
        score = sum(map(self.weights.get, features, repeat(0.0)))
        return 1.0 / (1.0 + exp(-max(-30.0, min(30.0, score))))

    @classmethod
    def fit(cls, examples: Sequence[Example], *, penalty: float = 1.0) -> Logistic:
        """The weights that minimise log loss + penalty / 2 |w|^2, to a millionth of it, for features and answers."""
        seen = Counter[str]()
        for features, *_ in examples:
            seen.update(set(features))
        names = sorted(feature for feature, count in seen.items() if count >= _RARELY)
        if not names:
            return cls({})
        place = {name: at for at, name in enumerate(names)}
        columns: list[int] = []
        rows: list[int] = []
        for row, (features, *_) in enumerate(examples):
            known = sorted({place[feature] for feature in features if feature in place})
            columns += known
            rows += [row] * len(known)
        said = np.array([each.answer for each in examples], dtype=np.float64)
        times = np.array([each.times for each in examples], dtype=np.float64)
        at, row_of = np.array(columns), np.array(rows)

        def loss(weights: Numbers) -> tuple[float, Numbers]:
            scores = np.bincount(row_of, weights[at], len(said))
            value = times @ (np.logaddexp(0, scores) - scores * said) + penalty / 2 * weights @ weights
            error = times * (1 / (1 + np.exp(-np.clip(scores, -30, 30))) - said)
            return float(value), np.bincount(at, error[row_of], len(names)) + penalty * weights

        options = {"maxiter": _STEPS, "ftol": _SETTLED}
        found = minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", options=options)
        return cls(dict(zip(names, found.x.tolist(), strict=True)))
