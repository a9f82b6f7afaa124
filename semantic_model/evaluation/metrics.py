"""Precision, recall and NDCG at k, in expectation over ties (paper section 4.1.3).

Duplicate products and collapsed models give exactly equal scores. A sort then decides by position, and a list with its
positives first gets figures it has not earned. So candidates with one score share the places they take up: each figure
here is the mean over all orders of the tied candidates, computed exactly. Without ties these are the textbook figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import ModelError

KS = (5, 10, 20)
"""The cut-offs reported everywhere."""

MEASURES = ("precision", "recall", "ndcg")

Formula = Literal["standard", "release"]
FORMULAS: tuple[Formula, ...] = ("standard", "release")
"""``standard``: :func:`rank_metrics`. ``release``: :func:`release_rank_metrics`, to compare with its figures only."""

Figures = dict[str, npt.NDArray[np.float64]]
Counts = npt.NDArray[Any]

_BLOCK = 1 << 18  # scores compared at a time: small enough to stay in a processor's cache


class Interval(NamedTuple):
    """The two ends of a confidence interval."""

    low: float
    high: float


def metric_names(ks: Sequence[int] = KS) -> tuple[str, ...]:
    """Names in the order they are reported: ``precision@5``, ``recall@5``, ``ndcg@5``, ``precision@10`` ..."""
    return tuple(f"{measure}@{k}" for k in ks for measure in MEASURES)


def rank_metrics(
    scores: npt.ArrayLike,
    relevant: npt.ArrayLike,
    valid: npt.ArrayLike | None = None,
    ks: Sequence[int] = KS,
    *,
    empty: Literal["error", "nan"] = "error",
) -> Figures:
    """Metrics of every query, in expectation over the orders of tied candidates.

    precision@k = hits among the first k / k; recall@k = hits among the first k / positives;
    NDCG@k = sum over hits at rank i < k of 1 / log2(i + 2), divided by the same sum for the best possible order,
    which has min(k, positives) hits.

    Args:
        scores: [Q, C], larger is better; +-inf is allowed.
        relevant: [Q, C] bool, the positives.
        valid: [Q, C] bool, False where a row is padded; all True when left out. Padding is never ranked, its
            ``relevant`` and its score are not looked at.
        ks: cut-offs, each at least 1. A row with fewer than k candidates has no hits beyond its end.
        empty: what to do with a query that has no positive: refuse, or answer nan for it
            (:func:`mean_metrics` leaves those out and counts them).

    Returns:
        name -> [Q] float64, in the order of :func:`metric_names`.

    Raises:
        ValueError: shapes that do not agree, a cut-off below 1, or a query without positives under ``empty="error"``.
        ModelError: a score of a valid candidate is not a number.

    Two candidates are tied for second place, one of them relevant: it is found among the first two half of the time.

    >>> metrics = rank_metrics([[0.9, 0.5, 0.5, 0.1]], [[False, True, False, False]], ks=(2,))
    >>> {name: round(float(value[0]), 4) for name, value in metrics.items()}
    {'precision@2': 0.25, 'recall@2': 0.5, 'ndcg@2': 0.3155}
    """
    table, hit, rows, positives = _checked(scores, relevant, valid, ks, empty)
    above, tied = _places(table, rows, table[hit])
    metrics: Figures = {}
    for k in ks:
        flat = _cumulative(np.ones(k))
        discounted = _cumulative(1.0 / np.log2(np.arange(2, k + 2)))
        hits = np.bincount(rows, weights=_expected(flat, above, tied), minlength=len(table))
        gain = np.bincount(rows, weights=_expected(discounted, above, tied), minlength=len(table))
        metrics |= _figures(k, hits, positives, gain, discounted[np.minimum(positives, k)])
    return metrics


def release_rank_metrics(
    scores: npt.ArrayLike,
    relevant: npt.ArrayLike,
    valid: npt.ArrayLike | None = None,
    ks: Sequence[int] = KS,
    *,
    empty: Literal["error", "nan"] = "error",
) -> Figures:
    """The formula of the authors' released code, with its oddities; arguments and errors as :func:`rank_metrics`.

    The rank of a positive is the number of *negatives* that score strictly higher, so positives never stand in each
    other's way, several may share a rank, and ties are won. A positive of rank < k is a hit. precision@k = hits / k,
    recall@k = hits / positives. With rel_r = how many positives have the rank r, DCG@k = sum over r < k of
    rel_r / log2(r + 2), and NDCG@k divides it by the DCG@k of the same rel, largest first. On drawn
    scores this is 2 to 6 points more than the textbook at 5, about 1 at 20.

    Four negatives above five positives: the textbook has one hit in five.

    >>> metrics = release_rank_metrics([[9, 8, 7, 6, 5, 4, 3, 2, 1]], [[False] * 4 + [True] * 5], ks=(5,))
    >>> float(metrics["precision@5"][0]), float(metrics["recall@5"][0])
    (1.0, 1.0)
    """
    table, hit, rows, positives = _checked(scores, relevant, valid, ks, empty)
    rank, _ = _places(np.where(hit, np.nan, table), rows, table[hit])  # positives are above nobody
    of_rank, shared = np.unique(np.stack([rows, rank]), axis=1, return_counts=True)  # rel_r, by query and rank
    by_size = np.lexsort((-shared, of_rank[0]))
    place = np.arange(len(shared)) - np.searchsorted(of_rank[0], of_rank[0])  # 0, 1, ... within each query
    metrics: Figures = {}
    for k in ks:
        discount = np.append(1.0 / np.log2(np.arange(2, k + 2)), 0.0)  # nothing from the k-th place on
        hits = np.bincount(rows, weights=rank < k, minlength=len(table))
        gains = shared * discount[np.minimum(of_rank[1], k)], shared[by_size] * discount[np.minimum(place, k)]
        gain, best = (np.bincount(of_rank[0], weights=each, minlength=len(table)) for each in gains)
        metrics |= _figures(k, hits, positives, gain, best)
    return metrics


def _figures(k: int, hits: Counts, positives: Counts, gain: Counts, best: Counts) -> Figures:
    """The three figures at k, nan without a positive; ``best``: the gain of the best possible order."""
    answered = np.where(positives > 0, 1.0, np.nan)
    with np.errstate(invalid="ignore"):
        figures = (hits / k * answered, hits / (positives * answered), gain / (best * answered))
    return {f"{measure}@{k}": figure for measure, figure in zip(MEASURES, figures, strict=True)}


def _checked(
    scores: npt.ArrayLike, relevant: npt.ArrayLike, valid: npt.ArrayLike | None, ks: Sequence[int], empty: str
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Scores with nan where a row is padded, the positives among the rest, their rows, and how many each row has."""
    table = np.asarray(scores)
    if not np.issubdtype(table.dtype, np.floating):
        table = table.astype(np.float64)
    hit = np.asarray(relevant, dtype=bool)
    if table.ndim != 2 or hit.shape != table.shape:
        raise ValueError(f"scores {table.shape} and relevant {hit.shape} must be one two-dimensional shape")
    if any(k < 1 for k in ks):
        raise ValueError(f"cut-offs must be at least 1, got {tuple(ks)}")
    wrong = np.isnan(table)
    if valid is not None:
        real = np.asarray(valid, dtype=bool)
        if real.shape != table.shape:
            raise ValueError(f"valid {real.shape} must have the shape of scores {table.shape}")
        hit, wrong = hit & real, wrong & real
        table = np.where(real, table, np.nan)  # nan is neither above nor equal to anything: padding drops out
    if wrong.any():
        raise ModelError("the ranker gave a score that is not a number", fix="train again with a lower learning rate")
    rows = np.nonzero(hit)[0]
    positives = np.bincount(rows, minlength=len(table))
    if empty == "error" and not positives.all():
        raise ValueError(f"query {int(positives.argmin())} has no positive among its candidates")
    return table, hit, rows, positives


def _places(
    table: npt.NDArray[np.floating], rows: npt.NDArray[np.intp], values: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each positive: how many candidates of its row score higher, and how many score the same (itself included)."""
    above = np.empty(len(rows), dtype=np.int64)
    tied = np.empty(len(rows), dtype=np.int64)
    step = max(1, _BLOCK // max(1, table.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        candidates, value = table[rows[part]], values[part, None]
        above[part] = np.count_nonzero(candidates > value, axis=1)
        tied[part] = np.count_nonzero(candidates == value, axis=1)
    return above, tied


def _cumulative(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[k + 1]: the total weight of the first 0, 1, ..., k places."""
    return np.concatenate([[0.0], np.cumsum(weights)])


def _expected(
    total: npt.NDArray[np.float64], above: npt.NDArray[np.int64], tied: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mean weight of the places ``above`` ... ``above + tied - 1``: each positive takes any of them alike."""
    last = len(total) - 1
    share: npt.NDArray[np.float64] = (total[np.minimum(above + tied, last)] - total[np.minimum(above, last)]) / tied
    return share


def mean_metrics(metrics: Mapping[str, npt.NDArray[np.float64]]) -> tuple[dict[str, float], int]:
    """Macro means over the queries that have an answer, and how many had none (nan).

    >>> mean_metrics({"recall@5": np.array([1.0, 0.5, np.nan])})
    ({'recall@5': 0.75}, 1)
    """
    means: dict[str, float] = {}
    skipped = 0
    for name, values in metrics.items():
        answered = values[~np.isnan(values)]
        skipped = len(values) - len(answered)
        means[name] = float(answered.mean()) if len(answered) else float("nan")
    return means, skipped


def bootstrap_intervals(
    metrics: Mapping[str, npt.NDArray[np.float64]],
    groups: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile bootstrap of the means, drawing whole groups (dialogues): turns of one dialogue are not independent.

    Args:
        metrics: name -> [Q]; no nan.
        groups: the dialogue of each query, [Q].
        level: the share of resampled means within the interval.
    """
    names, group_of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if not len(names):
        return {name: Interval(float("nan"), float("nan")) for name in metrics}
    sizes = np.bincount(group_of, minlength=len(names)).astype(np.float64)
    sums = np.stack(
        [np.bincount(group_of, weights=values, minlength=len(names)) for values in metrics.values()], axis=1
    )
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=resamples)  # [R, groups]
    means = (drawn @ sums) / (drawn @ sizes)[:, None]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: Interval(float(low[i]), float(high[i])) for i, name in enumerate(metrics)}
