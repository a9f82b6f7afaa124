"""Timing things beside each other, saying whether a goal was reached, and on what machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from schemas.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from pipeline.labelling.prelabelling import LlmOptions


@dataclass(frozen=True)
class Options:
    """What a benchmark may be told."""

    rounds: int | None = None  # how often everything is measured; None: the benchmark's own number
    # how many products, queries, dialogues or actions, whatever the benchmark counts; empty: its own sizes
    sizes: tuple[int, ...] = ()
    width: int | None = None  # D of the vectors; None: the paper's 768
    corpus: Path | None = None  # real data to measure on instead of made-up data, where the benchmark takes any
    workspace: Path | None = None  # folder of the workspace, for benchmarks of its labels
    prelabels: tuple[str, ...] = ()  # what to measure as pre-labels beside the lexicon: ``run:ID`` or ``llm``
    seconds: float | None = None  # how long clients ask a server; None: the benchmark's own time
    dialogues: int | None = None  # how many a language model is asked about; None: the benchmark's own number
    llm: LlmOptions | None = None  # which language model, and what it may cost
    self_training: bool = False  # of the state tracker: measured beside what labels alone teach it
    ranking: bool = False  # what labels are worth to a run, too, where a benchmark teaches state trackers
    out: Path | None = None  # folder for what a benchmark makes on its way, where it keeps any
    progress: Progress = field(default_factory=SilentProgress)  # shows a bar


@dataclass(frozen=True)
class Goal:
    """What a ratio should be."""

    sense: Literal["at least", "at most"]
    limit: float

    def reached(self, ratio: float) -> bool:
        """Whether this ratio will do."""
        return ratio >= self.limit if self.sense == "at least" else ratio <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.sense == 'at least' else '<='} {self.limit:g}"


def interleaved(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    progress: Progress,
    title: str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round; a round runs them one after the other, so that they share the
    machine's moods. One round before that warms everything up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in progress.track(range(rounds + 1), title):
        for name, work in works.items():
            start = clock()
            work()
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def compared(
    name: str,
    against: str,
    seconds: Sequence[float],
    seconds_against: Sequence[float],
    goal: Goal | None = None,
    *,
    faster: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """A row: how many times as fast (``faster``), or as long, as what it is measured against took in the same round.

    The ratio is the median over rounds, ``ratios`` their spread; seconds are medians.
    """
    ratios = sorted((b / a if faster else a / b) for a, b in zip(seconds, seconds_against, strict=True))
    return row(
        name,
        median(ratios),
        ("times as fast as " if faster else "times the time of ") + against,
        goal,
        seconds=median(seconds),
        seconds_against=median(seconds_against),
        ratios=[ratios[0], ratios[-1]],
        rounds=len(ratios),
        **more,
    )


def row(name: str, ratio: float, against: str, goal: Goal | None, **more: Any) -> dict[str, Any]:
    """A row of a benchmark's answer; ``reached`` is None where no goal was set."""
    return {
        "name": name,
        "ratio": ratio,
        "against": against,
        "goal": None if goal is None else str(goal),
        "reached": None if goal is None else goal.reached(ratio),
        **more,
    }


def machine() -> dict[str, Any]:
    """Processor, cores, Python and load of this machine."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    """The processor's name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
