"""How alike two cells are, the coefficients of agreement as functions of counts, and bootstrap intervals.

All take arrays with any leading axes. Undefined results are NaN, never an error: see each function for when.
Intervals are percentiles; Efron and Tibshirani (1993), "An Introduction to the Bootstrap".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from annotate.agreement.aligned_labels import Cell, Element

Floats = NDArray[np.float64]
Distance = Literal["nominal", "masi"]
Similarity = Callable[[Cell, Cell], float]

DISTANCES: tuple[Distance, ...] = ("nominal", "masi")


def similarity(distance: Distance) -> Similarity:
    """The similarity that goes with a distance.

    ``nominal``: cells are the same or they are not, which is what the usual thresholds of alpha are about.
    ``masi``: sets that overlap agree in part: the Jaccard index times 2/3 where one holds the other and times 1/3
    where neither does (Passonneau 2006, "Measuring agreement on set-valued items", LREC). Saying nothing and saying
    something have nothing in common.
    """
    return _nominal if distance == "nominal" else _masi


def _nominal(one: Cell, other: Cell) -> float:
    return float(one == other)


def _masi(one: Cell, other: Cell) -> float:
    if one == other:
        return 1.0
    shared = len(one & other)
    nested = shared == min(len(one), len(other))
    return shared / len(one | other) * (2 / 3 if nested else 1 / 3)


def partial_matches(cells: Sequence[Cell], alike: Similarity) -> list[tuple[int, int, float]]:
    """All pairs ``i < j`` of different cells that are alike in part, with how much; found by what they share."""
    holders: dict[Element, list[int]] = {}
    for number, cell in enumerate(cells):
        for element in cell:
            holders.setdefault(element, []).append(number)
    pairs = {pair for numbers in holders.values() for pair in combinations(numbers, 2)}
    scored = ((i, j, alike(cells[i], cells[j])) for i, j in sorted(pairs))
    return [(i, j, score) for i, j, score in scored if score > 0]


def ratio(part: Any, whole: Any) -> Floats:
    """``part / whole``; NaN where ``whole`` is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    found: Floats = np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)
    return found


def one_minus_ratio(observed: Any, expected: Any) -> Floats:
    """Agreement beyond chance, ``1 - observed / expected`` disagreement; NaN where no disagreement is possible."""
    return 1.0 - ratio(observed, expected)


def expected_disagreement(values: Floats, alike: Floats) -> Floats:
    """Alpha's expected disagreement, summed over values: ``n * D_e = (n^2 - sum_ck n_c n_k s_ck) / (n - 1)``.

    Krippendorff (2004), "Content Analysis", chapter 11: the chance that two of the ``n`` values, drawn without
    replacement, differ. With a distance ``d_ck`` between values, ``s_ck = 1 - d_ck``.

    Args:
        values: ``n``, how many values were given in units with two values or more.
        alike: ``sum_ck n_c n_k s_ck`` over the values' frequencies ``n_c``; ``sum_c n_c^2`` for nominal data.

    Returns:
        0 where all values are the same, and where there are fewer than two.
    """
    left = np.maximum(values * values - alike, 0.0)
    found: Floats = np.divide(left, values - 1, out=np.zeros_like(left), where=values > 1)
    return found


def cohen_kappa(units: Any, disagreements: Any, alike: Any) -> Floats:
    """Cohen's kappa of two annotators; Cohen (1960), Educational and Psychological Measurement 20(1).

    Several slots are pooled by summing before the ratio is taken, see :mod:`annotate.agreement.figures`; the sums run
    over the last axis.

    Args:
        units: cells that both answered, [..., slots].
        disagreements: how many of them differ, [..., slots].
        alike: ``sum_c n1_c n2_c`` of the two annotators' frequencies, [..., slots].

    Returns:
        [...]; NaN where no cell was answered by both, or both said one and the same thing throughout.
    """
    expected = np.asarray(units, float) - np.nan_to_num(ratio(alike, units))
    return one_minus_ratio(np.sum(disagreements, axis=-1), np.sum(expected, axis=-1))


def resamples(dialogues: int, times: int, seed: int, *, at_once: int = 16) -> Iterator[Floats]:
    """How often each dialogue was drawn, in blocks of up to ``at_once`` resamples: [B, dialogues]."""
    random = np.random.default_rng(seed)
    for start in range(0, times, at_once):
        drawn = (random.integers(0, dialogues, dialogues) for _ in range(min(at_once, times - start)))
        yield np.stack([np.bincount(draw, minlength=dialogues) for draw in drawn]).astype(float)


def interval(replicates: Floats) -> tuple[Floats, Floats]:
    """The 2.5 and 97.5 percentiles over the first axis, [B, ...] -> two of [...].

    Resamples in which a statistic is undefined are left out; where that is more than half of them, so is the interval.
    """
    ordered = np.sort(replicates, axis=0)  # NaN last
    defined = np.sum(~np.isnan(ordered), axis=0)
    enough = (defined > 0) & (2 * defined >= len(ordered))
    low, high = (_quantile(ordered, defined, share) for share in (0.025, 0.975))
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def _quantile(ordered: Floats, defined: NDArray[np.int64], share: float) -> Floats:
    place = share * np.maximum(defined - 1, 0)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, np.maximum(defined - 1, 0))
    low, high = (np.take_along_axis(ordered, index[None], axis=0)[0] for index in (below, above))
    return np.asarray(low + (high - low) * (place - below), float)
