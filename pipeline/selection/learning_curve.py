"""What more labels are expected to bring: a saturating learning curve with an interval, from runs at several ratios.

    y(L) = floor + top L / (L + half)

``floor`` is reached without labels, endless labels add ``top``, and ``half`` labelled dialogues add half of that. For a
fixed ``half`` the other two are linear least squares, so a search over ``half`` alone fits it: it cannot fail to
converge, which four noisy points would make a fit of three free parameters do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import InputError
from semantic_model.evaluation.metrics import Interval

Numbers = npt.NDArray[np.float64]

_HALVES = 60  # values of ``half`` tried
_FEWEST_RATIOS = 3
_FEWEST_REPEATS = 3  # runs beyond the first at their ratio


@dataclass(frozen=True)
class Point:
    """A run's figures."""

    labelled: int  # how many labelled dialogues it was trained with
    # of the queries measured [Q], the same ones in the same order for all runs; or of their mean alone [1]
    scores: Numbers


@dataclass(frozen=True)
class Curve:
    """The curve's three parameters; see this module."""

    floor: float
    top: float
    half: float

    def at(self, labelled: float) -> float:
        """y of so many labelled dialogues."""
        return self.floor + self.top * labelled / (labelled + self.half)


@dataclass(frozen=True)
class LearningCurve:
    """A curve, and the curves that other seeds and other dialogues might have given."""

    curve: Curve  # fitted to all runs
    draws: Numbers  # floor, top and half of each bootstrap sample [B, 3]
    largest: int  # most labelled dialogues of a run; beyond, the curve is a guess
    runs: int  # how many

    def gain(self, before: int, after: int, *, level: float = 0.95) -> tuple[float, Interval]:
        """What going from one number of labelled dialogues to another is expected to add, and its interval.

        The interval holds the middle of the samples, and as much on the other side of the gain: a curve with a bend is
        fitted with a bias, which samples repeat in its direction.
        """
        floor, top, half = self.draws.T
        del floor
        drawn = top * (after / (after + half) - before / (before + half))
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]).tolist()
        gain = self.curve.at(after) - self.curve.at(before)
        return gain, Interval(min(low, 2 * gain - high), max(high, 2 * gain - low))


def learning_curve(
    points: Sequence[Point], dialogues: Sequence[str] | None, *, samples: int = 2000, seed: int = 0
) -> LearningCurve:
    """Fit the curve, and draw seeds and dialogues again for its interval.

    A sample draws the measured dialogues with replacement, the same ones for all runs, and for each run the deviation
    of some run from the mean of its ratio. Deviations are pooled over ratios. N runs spread less about their own means
    than about the true ones, and how much is not known exactly: with df = N - ratios, each sample's deviations are
    widened by sqrt(N / df) and by a draw of sqrt(df / chi^2), which makes them Student's.

    Args:
        points: at three different numbers of labelled dialogues at least, and three runs more than numbers.
        dialogues: the dialogue of each query [Q]; None when only means are known: then no dialogues are drawn.
        samples: B.

    Raises:
        InputError: too few points.
    """
    labelled = np.array([point.labelled for point in points], dtype=np.float64)
    amounts, ratio_of = np.unique(labelled, return_inverse=True)
    if len(amounts) < _FEWEST_RATIOS or len(points) - len(amounts) < _FEWEST_REPEATS:
        raise InputError(
            f"too few runs for a learning curve: {len(points)}, at {len(amounts)} different numbers of labelled "
            f"dialogues; it takes {_FEWEST_RATIOS} numbers at least, and {_FEWEST_REPEATS} repetitions with other seeds"
        )
    generator = np.random.default_rng(seed)
    scores = np.stack([point.scores for point in points])  # [runs, Q]
    counts = np.bincount(ratio_of).astype(np.float64)
    averages = (ratio_of == np.arange(len(amounts))[:, None]) / counts[:, None]  # [ratios, runs]
    means = _means(scores, dialogues, samples, generator)  # [B, runs]
    centre = means @ averages.T  # [B, ratios]
    freedom = len(points) - len(amounts)
    widened = np.sqrt(len(points) / generator.chisquare(freedom, size=(samples, 1)))
    deviation = (means - centre[:, ratio_of]) * widened
    drawn = generator.integers(len(points), size=means.shape)
    again = centre[:, ratio_of] + np.take_along_axis(deviation, drawn, axis=1)
    fitted = _fit(amounts, counts, scores.mean(axis=1)[None] @ averages.T)[0]
    draws = _fit(amounts, counts, again @ averages.T)
    return LearningCurve(Curve(*fitted.tolist()), draws, int(amounts[-1]), len(points))


def _means(scores: Numbers, dialogues: Sequence[str] | None, samples: int, generator: np.random.Generator) -> Numbers:
    """Each run's mean over dialogues drawn again [B, runs]."""
    if dialogues is None:
        return np.tile(scores.mean(axis=1), (samples, 1))
    names, dialogue_of = np.unique(np.asarray(dialogues, dtype=str), return_inverse=True)
    count = len(names)
    sizes = np.bincount(dialogue_of, minlength=count).astype(np.float64)
    sums = np.stack([np.bincount(dialogue_of, weights=row, minlength=count) for row in scores], axis=1)  # [D, runs]
    times = generator.multinomial(count, np.full(count, 1.0 / count), size=samples).astype(np.float64)  # [B, D]
    found: Numbers = (times @ sums) / (times @ sizes)[:, None]
    return found


def _fit(amounts: Numbers, counts: Numbers, means: Numbers) -> Numbers:
    """Weighted least squares of many curves at once: means [B, ratios] -> floor, top, half [B, 3]."""
    smallest = amounts[amounts > 0].min()
    halves = np.geomspace(smallest / 4, 4 * amounts[-1], _HALVES)
    best = np.full(len(means), np.inf)
    found = np.zeros((len(means), 3))
    root = np.sqrt(counts)
    for half in halves:
        design = np.stack([np.ones_like(amounts), amounts / (amounts + half)], axis=1)  # [ratios, 2]
        solved = means * root @ np.linalg.pinv(design * root[:, None]).T  # [B, 2]
        error = (counts * np.square(means - solved @ design.T)).sum(axis=1)
        closer = error < best
        best[closer] = error[closer]
        found[closer, :2], found[closer, 2] = solved[closer], half
    return found
