"""Percentile bootstrap intervals by dialogue; Efron and Tibshirani (1993), "An Introduction to the Bootstrap".

Whole dialogues are resampled, since turns of one dialogue share its annotators, its user and its difficulties: as if
they were independent, intervals would come out too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from annotate.agreement.coefficients import Floats

__all__ = ["interval", "resamples"]

_LOW, _HIGH = 0.025, 0.975


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
    low, high = (_quantile(ordered, defined, share) for share in (_LOW, _HIGH))
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def _quantile(ordered: Floats, defined: NDArray[np.int64], share: float) -> Floats:
    place = share * np.maximum(defined - 1, 0)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, np.maximum(defined - 1, 0))
    low, high = (np.take_along_axis(ordered, index[None], axis=0)[0] for index in (below, above))
    return np.asarray(low + (high - low) * (place - below), float)
