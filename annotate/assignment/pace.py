"""How fast an annotator works, and when what is left may be done: ranges, with what they assume.

Time per turn is Label Studio's ``lead_time`` of a task over the user turns in it. It runs as long as the page is open,
so a lunch break counts; the median does not mind, and times of more than ten minutes a turn are left out and counted.

The finish is a range that holds the day in four of five cases, if the days to come are like the whole days since the
work began, the last 14 of them at most, days without an answer among them: a prediction interval for a sum of n days,
L = n m +- t s sqrt(n + n^2/k) with mean m and standard deviation s of the k days' turns, and Student's t. Work begun
today or yesterday has no such days: then the range is that of working on without a break, from the quartiles of the
time per turn.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

__all__ = ["LONGEST_TURN", "Finish", "Pace", "finish_of", "pace_of"]

LONGEST_TURN = 600.0
"""Seconds for one user turn beyond which the page was left open."""

_DAYS_BACK = 14
_FARTHEST = 3650.0
# quantile 0.9 of Student's t for 1, 2, ... degrees of freedom
_T = (3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.350)


@dataclass(frozen=True)
class Pace:
    """Seconds for one user turn.

    Attributes:
        median, quick, slow: median and quartiles over tasks; None where no time was measured.
        measured: tasks with a time that counts.
        left_open: tasks whose time is more than :data:`LONGEST_TURN` a turn, left out.
    """

    median: float | None = None
    quick: float | None = None
    slow: float | None = None
    measured: int = 0
    left_open: int = 0


@dataclass(frozen=True)
class Finish:
    """When what is left may be done.

    Attributes:
        earliest, latest: the range; ``latest`` is None where no end is in sight.
        assuming: ``days like the last`` or ``working on without a break``.
    """

    earliest: datetime
    latest: datetime | None
    assuming: str


def pace_of(times: Iterable[tuple[float | None, int]]) -> Pace:
    """The pace of tasks given as (seconds, user turns); times that are missing, zero or negative were not measured."""
    per_turn: list[float] = []
    left_open = 0
    for seconds, turns in times:
        if seconds is None or not seconds > 0 or turns < 1:
            continue
        if seconds / turns > LONGEST_TURN:
            left_open += 1
        else:
            per_turn.append(seconds / turns)
    if not per_turn:
        return Pace(left_open=left_open)
    quick, median, slow = statistics.quantiles(per_turn, n=4, method="inclusive") if len(per_turn) > 1 else per_turn * 3
    return Pace(median, quick, slow, len(per_turn), left_open)


def finish_of(left: int, done: Sequence[tuple[datetime, int]], pace: Pace, now: datetime) -> Finish | None:
    """When ``left`` user turns may be done; None when nothing is left, or nothing says how fast it goes.

    Args:
        left: user turns.
        done: when each task was answered, with its user turns.
        pace: of these tasks.
        now: the present.
    """
    if left <= 0 or not done:
        return None
    by_day = _whole_days(done, now.astimezone(UTC).date())
    if len(by_day) >= 2:
        days = _days_until(left, by_day)
        if days is None:
            return None
        earliest, latest = days
        return Finish(
            now + timedelta(days=earliest),
            None if latest is None else now + timedelta(days=latest),
            "days like the last",
        )
    if pace.quick is None or pace.slow is None:
        return None
    quick, slow = (timedelta(seconds=left * seconds) for seconds in (pace.quick, pace.slow))
    return Finish(now + quick, now + slow, "working on without a break")


def _whole_days(done: Iterable[tuple[datetime, int]], today: date) -> list[int]:
    """User turns answered on each whole day since the first answer, up to 14 days back."""
    turns: Counter[date] = Counter()
    for at, count in done:
        turns[at.astimezone(UTC).date()] += count
    first = max(min(turns), today - timedelta(days=_DAYS_BACK))
    return [turns[first + timedelta(days=number)] for number in range((today - first).days)]


def _days_until(left: int, by_day: Sequence[int]) -> tuple[float, float | None] | None:
    """Both roots n of (n m - L)^2 = t^2 s^2 (n + n^2/k); the later one is None where it does not exist."""
    mean, k = statistics.fmean(by_day), len(by_day)
    if mean == 0:
        return None
    spread = (_T[min(k - 1, len(_T)) - 1] * statistics.stdev(by_day)) ** 2
    a, b = mean**2 - spread / k, 2 * left * mean + spread
    root = math.sqrt(max(b**2 - 4 * a * left**2, 0.0))
    earliest = 2 * left**2 / (b + root)
    latest = (b + root) / (2 * a) if a > 0 else math.inf
    return min(earliest, _FARTHEST), latest if latest <= _FARTHEST else None
