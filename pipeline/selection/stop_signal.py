"""Whether the next batch is worth labelling, by what labels were worth in the runs of this workspace."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.modelling.run_record import RECORD, RunRecord, read_record
from pipeline.selection.learning_curve import LearningCurve, Point, learning_curve
from pipeline.workspace import Workspace
from schemas.errors import InputError, ModelError
from schemas.files import read_json, taken_apart
from schemas.json_form import json_form
from semantic_model.evaluation.metrics import Interval

METRIC = "ndcg@5"
_PER_QUERY = "per-query-valid-all.json"  # written by `semctl experiment`
_LABELS = ("D_F", "D_P", "ontology")  # inputs of a run that change with every ingest
_RATIOS = (0.05, 0.2)  # to make runs at, beside 0, where enough is labelled


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
        curve = None if self.curve is None else self.curve.curve
        return {
            **json_form(self, "before", "after", "curve"),
            "metric": METRIC,
            "labelled_before": self.before,
            "labelled_after": self.after,
            "interval": None if self.interval is None else list(self.interval),
            "verdict": self.verdict,
            "curve": None if curve is None else {"floor": curve.floor, "top": curve.top, "half": curve.half},
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
    return f"semctl experiment --ratios 0,{middle:g},{high:g} --seeds 3"


def _runs(workspace: Workspace) -> list[_Run]:
    """Complete runs that drew their labelled dialogues at random on the corpus's own splits, and were validated."""
    found = []
    for path in sorted(workspace.runs.glob(f"*/{RECORD}")):
        try:
            record = read_record(path.parent)
        except ModelError:
            continue  # a run of another version tells nothing, and is no reason not to select
        drawn = record.fold is None and not record.labelled_list
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
