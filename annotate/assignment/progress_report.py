"""What of the labelling is done: per annotator and batch, and in all."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas.json_form import json_form

LONGEST_TURN = 600.0
"""Seconds for one user turn beyond which the page was left open."""

_DAYS_BACK = 14
_FARTHEST = 3650.0
# quantile 0.9 of Student's t for 1, 2, ... degrees of freedom
_T = (3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.350)


@dataclass(frozen=True)
class Pace:
    """Seconds for one user turn."""

    # median, quick, slow: median and quartiles over tasks; None where no time was measured
    median: float | None = None
    quick: float | None = None
    slow: float | None = None
    measured: int = 0  # tasks with a time that counts
    left_open: int = 0  # tasks whose time is more than :data:`LONGEST_TURN` a turn, left out


@dataclass(frozen=True)
class Finish:
    """When what is left may be done."""

    # earliest, latest: the range; ``latest`` is None where no end is in sight
    earliest: datetime
    latest: datetime | None
    assuming: str  # ``days like the last`` or ``working on without a break``


def timed(times: Iterable[tuple[float | None, int]]) -> tuple[list[tuple[float, int]], int]:
    """The tasks, given as (seconds, user turns), whose time counts, and of how many the page was left open.

    Times that are missing, zero or negative were not measured.
    """
    found: list[tuple[float, int]] = []
    left_open = 0
    for seconds, turns in times:
        if seconds is None or not seconds > 0 or turns < 1:
            continue
        if seconds / turns > LONGEST_TURN:
            left_open += 1
        else:
            found.append((seconds, turns))
    return found, left_open


def pace_of(times: Iterable[tuple[float | None, int]]) -> Pace:
    """The pace of tasks given as (seconds, user turns), of those whose time counts."""
    counted, left_open = timed(times)
    per_turn = [seconds / turns for seconds, turns in counted]
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


@dataclass(frozen=True)
class WantedTask:
    """A task that was exported: its dialogue and how many user turns it asks for."""

    dialogue_id: str
    turns: int


@dataclass(frozen=True)
class Answer:
    """An answer to a task."""

    annotator: str  # semctl's name of who gave it
    seconds: float | None  # the time it took, None where nobody measured it
    at: datetime | None  # when; None where nobody knows
    skipped: bool = False  # whether the task was skipped


@dataclass(frozen=True)
class TouchedTask:
    """What became of a task: its answers, and whether another one was begun."""

    answers: tuple[Answer, ...] = ()
    has_draft: bool = False

    @property
    def is_done(self) -> bool:
        """Whether it has an answer that was not skipped."""
        return any(not answer.skipped for answer in self.answers)


@dataclass(frozen=True)
class WorkPart:
    """A batch, or what of it is one annotator's."""

    batch: int  # its number
    place: str  # the project or file
    wanted: Mapping[str, WantedTask]  # uid -> task
    touched: Mapping[str, TouchedTask]  # uid -> what became of it
    role: str = "label"  # ``label`` or ``review``
    annotator: str | None = None  # whom it was assigned to; None: anybody may answer it
    has_left: bool = False  # whether its annotator handed the rest over


@dataclass(frozen=True)
class Count:
    """How many of something are done, of how many."""

    done: int = 0
    total: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.done + other.done, self.total + other.total)


@dataclass(frozen=True)
class ProgressRow:
    """One line."""

    annotator: str | None  # whose; None for everybody
    batch: int | None  # number; None for all of them
    place: str | None  # the project or file; None for all of them
    role: str  # ``label`` or ``review``
    # tasks, dialogues, turns: done of all; a dialogue is done with its last task, a skipped task is not
    tasks: Count
    dialogues: Count
    turns: Count
    skipped: int  # tasks that everybody who saw them skipped; they are still open
    drafts: int  # tasks with an answer that was begun and not sent
    pace: Pace  # seconds for one user turn
    # when the last turn of this batch may be done, those before it first; None: unknown, or nothing is left
    finish: Finish | None
    # an annotator's answers within a batch that anybody may answer; its totals are theirs, not the batch's
    is_share: bool = False
    has_left: bool = False  # whether the annotator handed the rest over

    @property
    def left(self) -> int:
        """Tasks not answered yet, those skipped among them."""
        return self.tasks.total - self.tasks.done

    def as_json(self) -> dict[str, Any]:
        return {
            **json_form(self, "pace"),
            "left": self.left,
            "seconds_per_turn": {
                "median": self.pace.median,
                "quartiles": [self.pace.quick, self.pace.slow],
                "measured": self.pace.measured,
                "left_open": self.pace.left_open,
            },
            "finish": self.finish
            and {
                **json_form(self.finish),
                "earliest": _text(self.finish.earliest),
                "latest": self.finish.latest and _text(self.finish.latest),
            },
        }


@dataclass(frozen=True)
class ProgressReport:
    """Everything: a row per annotator and batch, and one over all."""

    # sorted by annotator, then batch; what anybody may answer first, with the shares of those who did below it
    rows: tuple[ProgressRow, ...]
    overall: ProgressRow  # the sum; a dialogue assigned to two annotators is to be done twice
    at: datetime  # when it was so
    source: str  # address of the server, or ``ingested``
    notes: tuple[str, ...] = ()  # what to know about it

    def as_json(self) -> dict[str, Any]:
        return {**json_form(self), "at": _text(self.at)}


def report_progress(
    parts: Iterable[WorkPart], *, now: datetime, source: str, notes: Sequence[str] = ()
) -> ProgressReport:
    """Count what is done.

    Args:
        parts: what was exported, with what became of it.
        now: the present.
        source: where it is known from.
        notes: to be passed on.
    """
    ordered = sorted(parts, key=lambda part: (part.annotator or "", part.batch))
    given: dict[str | None, list[tuple[Answer, int]]] = defaultdict(list)
    for part in ordered:
        given[part.annotator] += answers_of(part)
    rows: list[ProgressRow] = []
    left: Counter[str | None] = Counter()
    for part in ordered:
        row, finish = _row(part), None
        if row.left and not part.has_left:
            left[part.annotator] += row.turns.total - row.turns.done
            answers = given[part.annotator]
            done = [(answer.at, turns) for answer, turns in answers if answer.at is not None]
            finish = finish_of(left[part.annotator], done, _pace(answers), now)
        rows.append(replace(row, finish=finish))
        if part.annotator is None:
            rows.extend(_shares(part))
    overall = _overall(rows, _pace(answer for answers in given.values() for answer in answers))
    return ProgressReport(tuple(rows), overall, now, source, tuple(notes))


def answers_of(part: WorkPart) -> Iterable[tuple[Answer, int]]:
    """Answers to what is wanted, without those skipped, with the user turns of their tasks."""
    for uid, task in part.touched.items():
        if uid in part.wanted:
            yield from ((answer, part.wanted[uid].turns) for answer in task.answers if not answer.skipped)


def _pace(answers: Iterable[tuple[Answer, int]]) -> Pace:
    return pace_of((answer.seconds, turns) for answer, turns in answers)


def _row(part: WorkPart) -> ProgressRow:
    touched = {uid: part.touched.get(uid, TouchedTask()) for uid in part.wanted}
    done = {uid for uid, task in touched.items() if task.is_done}
    open_dialogues = {task.dialogue_id for uid, task in part.wanted.items() if uid not in done}
    dialogues = {task.dialogue_id for task in part.wanted.values()}
    return ProgressRow(
        annotator=part.annotator,
        batch=part.batch,
        place=part.place,
        role=part.role,
        tasks=Count(len(done), len(part.wanted)),
        dialogues=Count(len(dialogues - open_dialogues), len(dialogues)),
        turns=Count(sum(part.wanted[uid].turns for uid in done), sum(task.turns for task in part.wanted.values())),
        skipped=sum(bool(task.answers) and not task.is_done for task in touched.values()),
        drafts=sum(task.has_draft for task in touched.values()),
        pace=_pace(answers_of(part)),
        finish=None,
        has_left=part.has_left,
    )


def _shares(part: WorkPart) -> Iterable[ProgressRow]:
    """What each annotator did of a batch that anybody may answer."""
    for annotator in sorted({answer.annotator for task in part.touched.values() for answer in task.answers}):
        theirs = {
            uid: TouchedTask(tuple(answer for answer in task.answers if answer.annotator == annotator))
            for uid, task in part.touched.items()
            if uid in part.wanted and any(answer.annotator == annotator for answer in task.answers)
        }
        wanted = {uid: part.wanted[uid] for uid in theirs}
        share = WorkPart(part.batch, part.place, wanted, theirs, part.role, annotator)
        yield replace(_row(share), is_share=True)


def _overall(rows: Sequence[ProgressRow], pace: Pace) -> ProgressRow:
    whole = [row for row in rows if not row.is_share]
    waiting = [row for row in whole if row.left and not row.has_left]
    finishes = [row.finish for row in waiting if row.finish is not None]
    finish = None
    if finishes and len(finishes) == len(waiting):
        latest = [each.latest for each in finishes if each.latest is not None]
        assuming = sorted({each.assuming for each in finishes})
        finish = Finish(
            max(each.earliest for each in finishes),
            max(latest) if len(latest) == len(finishes) else None,
            " or ".join(assuming),
        )
    return ProgressRow(
        annotator=None,
        batch=None,
        place=None,
        role="label",
        tasks=sum((row.tasks for row in whole), Count()),
        dialogues=sum((row.dialogues for row in whole), Count()),
        turns=sum((row.turns for row in whole), Count()),
        skipped=sum(row.skipped for row in whole),
        drafts=sum(row.drafts for row in whole),
        pace=pace,
        finish=finish,
    )


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
