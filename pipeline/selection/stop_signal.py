"""Whether the next batch is worth labelling: a saturating learning curve of what labels were worth in the runs here.

    y(L) = floor + top L / (L + half)

``floor`` is reached without labels, endless labels add ``top``, and ``half`` labelled dialogues add half of that. For a
fixed ``half`` the other two are linear least squares, so a search over ``half`` alone fits it: it cannot fail to
converge, which four noisy points would make a fit of three free parameters do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.modelling.run_record import RECORD, RunRecord, read_record
from pipeline.workspace import Workspace
from schemas.errors import InputError, ModelError
from schemas.files import read_json, taken_apart
from schemas.json_form import json_form
from semantic_model.evaluation.metrics import Interval

Numbers = npt.NDArray[np.float64]

METRIC = "ndcg@5"
_PER_QUERY = "per-query-valid-all.json"  # written by `semctl experiment grid`
_LABELS = ("D_F", "D_P", "ontology")  # inputs of a run that change with every ingest
_RATIOS = (0.05, 0.2)  # to make runs at, beside 0, where enough is labelled
_HALVES = 60  # values of ``half`` tried
_FEWEST_RATIOS = 3
_FEWEST_REPEATS = 3  # runs beyond the first at their ratio


@dataclass(frozen=True)
class Point:
    """A run's figures."""

    labelled: int  # how many labelled dialogues it was trained with
    # of the queries measured [Q], the same ones in the same order for all runs; or of their mean alone [1]
    scores: Numbers
    of: Numbers | None = None  # of a ratio of sums, as F1 is: what the scores' sum is divided by [Q]; None: ones


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
    of = np.stack([np.ones_like(point.scores) if point.of is None else point.of for point in points])
    counts = np.bincount(ratio_of).astype(np.float64)
    averages = (ratio_of == np.arange(len(amounts))[:, None]) / counts[:, None]  # [ratios, runs]
    means = _means(scores, of, dialogues, samples, generator)  # [B, runs]
    centre = means @ averages.T  # [B, ratios]
    freedom = len(points) - len(amounts)
    widened = np.sqrt(len(points) / generator.chisquare(freedom, size=(samples, 1)))
    deviation = (means - centre[:, ratio_of]) * widened
    drawn = generator.integers(len(points), size=means.shape)
    again = centre[:, ratio_of] + np.take_along_axis(deviation, drawn, axis=1)
    fitted = fit_curves(amounts, counts, (scores.sum(axis=1) / of.sum(axis=1))[None] @ averages.T)[0]
    draws = fit_curves(amounts, counts, again @ averages.T)
    return LearningCurve(Curve(*fitted.tolist()), draws, int(amounts[-1]), len(points))


def _means(
    scores: Numbers, of: Numbers, dialogues: Sequence[str] | None, samples: int, generator: np.random.Generator
) -> Numbers:
    """Each run's mean over dialogues drawn again [B, runs]."""
    if dialogues is None:
        return np.tile(scores.sum(axis=1) / of.sum(axis=1), (samples, 1))
    names, dialogue_of = np.unique(np.asarray(dialogues, dtype=str), return_inverse=True)
    count = len(names)
    sums, sizes = (
        np.stack([np.bincount(dialogue_of, weights=row, minlength=count) for row in each], axis=1)  # [D, runs]
        for each in (scores, of)
    )
    times = generator.multinomial(count, np.full(count, 1.0 / count), size=samples).astype(np.float64)  # [B, D]
    found: Numbers = (times @ sums) / np.maximum(times @ sizes, 1.0)  # nothing is right where nothing is counted
    return found


def fit_curves(amounts: Numbers, counts: Numbers, means: Numbers, *, least: float | None = None) -> Numbers:
    """Weighted least squares of many curves at once: means [B, ratios] -> floor, top, half [B, 3].

    Args:
        least: the least that ``half`` can be; None: a quarter of the smallest amount.
    """
    halves = np.geomspace(least or amounts[amounts > 0].min() / 4, 4 * amounts[-1], _HALVES)
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


@dataclass(frozen=True)
class StopSignal:
    """What the next batch is expected to add to NDCG@5 on the valid split, every product ranked."""

    # before, after: dialogues labelled without and with the next batch
    before: int
    after: int
    # gain, interval: of NDCG@5, a fraction of 1; None when there are too few runs
    gain: float | None = None
    interval: Interval | None = None
    curve: LearningCurve | None = None  # what it is read off
    runs: tuple[str, ...] = ()  # ids of the runs behind it
    notes: tuple[str, ...] = ()  # what a reader has to know
    missing: str | None = None  # why there is no figure; None when there is one
    make: str | None = None  # what to run for one

    @property
    def verdict(self) -> str:
        """In plain words."""
        if self.interval is None:
            return "not known"
        if self.interval.low > 0:
            return "worth labelling"
        return "not distinguishable from nothing" if self.interval.high >= 0 else "more labels made it worse"

    def as_json(self) -> dict[str, Any]:
        """The JSON form; figures are fractions of 1."""
        return {
            **json_form(self, "before", "after", "curve"),
            "metric": METRIC,
            "labelled_before": self.before,
            "labelled_after": self.after,
            "interval": None if self.interval is None else list(self.interval),
            "verdict": self.verdict,
            "curve": None if self.curve is None else json_form(self.curve.curve),
        }


class _Run(NamedTuple):
    folder: Path
    record: RunRecord

    @property
    def labelled(self) -> int:
        return self.record.labelled_dialogues


def stop_signal(workspace: Workspace, labelled: int, more: int, *, usable: int, training: int) -> StopSignal:
    """Fit a learning curve to runs that differ in nothing but labelled ratio and seed, and read the gain off it.

    Of several such groups the one with the most ratios counts, then the most runs, then the newest.

    Args:
        workspace: where the runs are.
        labelled: dialogues labelled, or on their way.
        more: dialogues of the next batch.
        usable: training dialogues whose labels can be trained on now.
        training: all training dialogues.
    """
    after = labelled + more
    make = _command(usable, training)
    groups: dict[str, list[_Run]] = defaultdict(list)
    for run in _runs(workspace):
        groups[_same(run.record)].append(run)
    if not groups:
        return StopSignal(labelled, after, missing="no run has been trained here", make=make)
    chosen = max(groups.values(), key=_rank)
    points, dialogues = _points(chosen)
    try:
        curve = learning_curve(points, dialogues)
    except InputError as problem:
        return StopSignal(labelled, after, missing=problem.what, make=make)
    gain, interval = curve.gain(labelled, after)
    amounts = sorted({run.labelled for run in chosen})
    notes = [
        f"from {len(chosen)} runs of the preset {chosen[0].record.preset} with "
        f"{', '.join(map(str, amounts))} labelled dialogues",
        "for dialogues drawn at random; what another strategy adds to that is not in it",
    ]
    if dialogues is None:
        notes.append(
            "the interval leaves out how far other dialogues would move it: some runs were not measured by query"
        )
    if after > 2 * curve.largest:
        notes.append(f"{after} labelled dialogues are far more than the {curve.largest} measured: a guess")
    return StopSignal(
        labelled, after, gain, interval, curve, tuple(sorted(run.folder.name for run in chosen)), tuple(notes)
    )


def _command(usable: int, training: int) -> str:
    """Makes runs at three ratios, as far as there are labels."""
    largest = int(1000 * usable / training) / 1000 if training else 0.0
    middle, high = _RATIOS if largest >= _RATIOS[-1] else (round(largest / 3, 3), largest)
    if not middle:
        return "label more dialogues: semctl export-for-labelling, then semctl ingest-labels"
    return f"semctl experiment grid --ratios 0,{middle:g},{high:g} --seeds 3"


def _runs(workspace: Workspace) -> list[_Run]:
    """Complete runs that drew their labelled dialogues at random on the corpus's own splits, and were validated."""
    found = []
    for path in sorted(workspace.runs.glob(f"*/{RECORD}")):
        try:
            record = read_record(path.parent)
        except ModelError:
            continue  # a run of another version tells nothing, and is no reason not to select
        drawn = record.fold is None and not record.labelled_list and not record.ds_input
        if drawn and METRIC in record.best and "D_F" in record.inputs:  # its model reads labels
            found.append(_Run(path.parent, record))
    return found


def _same(record: RunRecord) -> str:
    inputs = {name: value for name, value in record.inputs.items() if name not in _LABELS}
    return repr([record.model, record.images, record.config, sorted(inputs.items())])


def _rank(runs: list[_Run]) -> tuple[int, int, int]:
    newest = max((run.folder / RECORD).stat().st_mtime_ns for run in runs)
    return len({run.labelled for run in runs}), len(runs), newest


def _points(runs: list[_Run]) -> tuple[list[Point], list[str] | None]:
    """The runs' figures, query by query where all have them."""
    by_query: list[dict[tuple[str, int], float]] = []
    for run in runs:
        if not (run.folder / _PER_QUERY).is_file():
            break
        file, fix = run.folder / _PER_QUERY, "delete it; it is measured again"
        value: Any = read_json(file, error=ModelError, fix=fix)
        with taken_apart(file, error=ModelError, fix=fix):
            names = [(str(dialogue), int(turn)) for dialogue, turn in value["queries"]]
            by_query.append(dict(zip(names, map(float, value["per_query"][METRIC]), strict=True)))
    queries = sorted(by_query[0]) if by_query else []
    if len(by_query) < len(runs) or any(each.keys() != set(queries) for each in by_query):
        return [Point(run.labelled, np.array([run.record.best[METRIC]])) for run in runs], None
    points = [
        Point(run.labelled, np.array([scores[query] for query in queries]))
        for run, scores in zip(runs, by_query, strict=True)
    ]
    return points, [dialogue for dialogue, _ in queries]
