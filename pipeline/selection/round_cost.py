"""What a round of labelling costs: how long annotators take, from the answers that were timed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import NamedTuple

from scipy.special import stdtrit

from annotate.assignment.progress_report import timed
from schemas.errors import UsageError
from semantic_model.evaluation.metrics import Interval

_ABOVE = 0.975  # quantile of the upper end of an interval that holds 95 %


class Estimate(NamedTuple):
    """A figure, and the interval that it lies in with 95 %; None where no spread is known."""

    value: float
    interval: Interval | None

    @property
    def text(self) -> str:
        """In words: ``2.6 (2.3 to 2.9)``."""
        if self.interval is None or self.interval.low == self.interval.high:
            return amount(self.value)
        return f"{amount(self.value)} ({amount(self.interval.low)} to {amount(self.interval.high)})"

    def times(self, factor: float) -> Estimate:
        """So many times as much."""
        if self.interval is None:
            return Estimate(self.value * factor, None)
        return Estimate(self.value * factor, Interval(*(end * factor for end in self.interval)))

    def plus(self, amount: float) -> Estimate:
        """So much more."""
        if self.interval is None:
            return Estimate(self.value + amount, None)
        return Estimate(self.value + amount, Interval(*(end + amount for end in self.interval)))


@dataclass(frozen=True)
class TurnTime:
    """Seconds that annotators take for one user turn."""

    mean: float  # all seconds over all turns: long tasks count for more, as they do in a round
    tasks: int = 0  # timed answers behind it; 0: the figure was given
    turns: int = 0  # of these
    # of a task's seconds beyond ``mean`` times its turns, for each of its turns; None for one answer alone
    variance: float | None = 0.0
    left_open: int = 0  # answers that took so long that the page was left open; they do not count

    @classmethod
    def given(cls, seconds: float) -> TurnTime:
        """As somebody says.

        Raises:
            UsageError: no time at all.
        """
        if not 0 < seconds < math.inf:
            raise UsageError(f"--seconds-per-turn {seconds:g} is no time", fix="give more than 0")
        return cls(seconds)

    @classmethod
    def measured(cls, times: Iterable[tuple[float | None, int]]) -> TurnTime | None:
        """Of answers, given as (seconds, user turns); None where no time counts."""
        counted, left_open = timed(times)
        if not counted:
            return None
        turns = sum(each for _, each in counted)
        mean = sum(seconds for seconds, _ in counted) / turns
        beyond = sum((seconds - mean * each) ** 2 for seconds, each in counted)
        spread = beyond / (len(counted) - 1) * len(counted) / turns if len(counted) > 1 else None
        return cls(mean, len(counted), turns, spread, left_open)

    @property
    def estimate(self) -> Estimate:
        """The mean, with its interval."""
        if not self.tasks or self.variance is None:
            return Estimate(self.mean, None)
        return _around(self.mean, self._widened * math.sqrt(self.variance / self.turns))

    @property
    def _widened(self) -> float:
        """Standard deviations between the middle and the end of an interval."""
        return float(stdtrit(self.tasks - 1 if self.tasks else math.inf, _ABOVE))

    def of_round(self, turns: Turns) -> Estimate:
        """Seconds that a round takes.

        Its variance is that of its own answers, v T, of the mean that is known from n turns, v T^2 / n, and of the
        number of turns T, mean^2 var(T).
        """
        total = turns.mean
        if self.variance is None:
            return Estimate(self.mean * total, None)
        own = self.variance * total * (1 + total / self.turns) if self.turns else 0.0
        half = self._widened * math.sqrt(own + self.mean**2 * turns.variance)
        return _around(self.mean * total, half)


class Turns(NamedTuple):
    """User turns of a round, before it is known which dialogues are in it."""

    mean: float
    variance: float

    @classmethod
    def drawn(cls, dialogues: int, each: Sequence[int], answers: float = 1.0) -> Turns:
        """Of dialogues drawn at random, without replacement, from some with so many turns each.

        Args:
            dialogues: how many are drawn.
            each: turns of every dialogue that may be.
            answers: to each turn, on average.
        """
        left = (1 - dialogues / len(each)) * variance(each) if len(each) > 1 else 0.0
        return cls(dialogues * fmean(each) * answers, dialogues * left * answers**2)

    @property
    def estimate(self) -> Estimate:
        """With its interval."""
        return _around(self.mean, float(stdtrit(math.inf, _ABOVE)) * math.sqrt(self.variance))


def answers_per_dialogue(overlap: float, redundancy: int) -> float:
    """How many people label a dialogue on average, where a share of them is answered by several."""
    return 1 + overlap * (redundancy - 1)


def amount(value: float) -> str:
    """A number with as many digits as say something: 120, 2.6, 0.042."""
    if value >= 10 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _around(value: float, half: float) -> Estimate:
    return Estimate(value, Interval(max(0.0, value - half), value + half))
