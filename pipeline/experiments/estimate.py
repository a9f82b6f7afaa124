"""What carrying a plan out would take: cells, time and disk, after the finished runs of this workspace."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from pipeline.chosen_dialogues import splits_of, training_dialogues
from pipeline.experiments.grid import PlannedRun
from pipeline.modelling.folds import Fold, fold_splits
from pipeline.modelling.run_record import RECORD, Plan, RunRecord, read_record
from pipeline.workspace import Workspace
from schemas.errors import ModelError
from schemas.json_form import json_form
from schemas.tables import RECOMMENDATIONS, read_table

_SIZES = ("model", "text", "image", "context")  # settings that decide what an example costs


@dataclass(frozen=True)
class Cells:
    """The runs of one row."""

    row: str
    runs: int
    done: int  # trained already
    labelled_ratio: float
    seconds: float | None  # to train the others, one after the other; None: not known
    bytes: int | None  # that they will take; None: not known
    basis: str  # what that is after


@dataclass(frozen=True)
class DryRun:
    """What an experiment would do."""

    name: str
    scale: str
    about: str
    folder: str  # that it would write to
    cells: tuple[Cells, ...]
    jobs: int
    free: int  # bytes on the disk

    @property
    def seconds(self) -> float | None:
        """On the clock, of all of it; None where that of a row is not known."""
        known = [row.seconds for row in self.cells if row.seconds is not None]
        return sum(known) / self.jobs if len(known) == len(self.cells) else None

    @property
    def bytes(self) -> int | None:
        """Of all of it; None where that of a row is not known."""
        known = [row.bytes for row in self.cells if row.bytes is not None]
        return sum(known) if len(known) == len(self.cells) else None

    @property
    def unknown(self) -> list[str]:
        """Rows of which nothing is known."""
        return [row.row for row in self.cells if row.seconds is None]

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {**json_form(self), "seconds": self.seconds, "bytes": self.bytes, "unknown": self.unknown}


def estimated(workspace: Workspace, runs: Sequence[PlannedRun]) -> tuple[Cells, ...]:
    """What each row's runs would take; nothing is written.

    Time is that of finished runs of a model of the same sizes, by example and epoch; the median where there are
    several. The tracker and the words are in it, the measuring afterwards is not.
    """
    finished = _finished(workspace)
    examples = _Examples(workspace)
    rows: dict[str, list[Plan]] = defaultdict(list)
    for run in runs:
        rows[run.row].append(run.plan)
    return tuple(_cells(workspace, row, plans, finished, examples) for row, plans in rows.items())


def _cells(
    workspace: Workspace,
    row: str,
    plans: Sequence[Plan],
    finished: Mapping[str, Sequence[RunRecord]],
    examples: _Examples,
) -> Cells:
    left = [plan for plan in plans if not (workspace.runs / plan.run / RECORD).is_file()]
    done = len(plans) - len(left)
    if not left:
        return Cells(row, len(plans), done, plans[0].labeled_ratio, 0.0, 0, "all are trained")
    alike = finished.get(_key(plans[0].model, plans[0].config), [])
    if not alike:
        return Cells(row, len(plans), done, plans[0].labeled_ratio, None, None, "no finished run of these sizes here")
    each = median(
        record.seconds / max(record.epochs * (record.examples["D_F"] + record.examples["D_P"]), 1) for record in alike
    )
    seconds = sum(each * plan.config["train"]["epochs"] * examples.of(plan) for plan in left)
    size = fmean(_size(workspace, record.run) for record in alike)
    devices = ", ".join(sorted({record.device for record in alike}))
    basis = f"{len(alike)} finished run{'s' * (len(alike) > 1)} of these sizes ({devices})"
    return Cells(row, len(plans), done, plans[0].labeled_ratio, seconds, round(size * len(left)), basis)


def _finished(workspace: Workspace) -> dict[str, list[RunRecord]]:
    found: dict[str, list[RunRecord]] = defaultdict(list)
    for path in sorted(workspace.runs.glob(f"*/{RECORD}")):
        try:
            record = read_record(path.parent)
        except ModelError:
            continue  # a run of another version tells nothing of time
        if record.seconds and {"D_F", "D_P"} <= record.examples.keys():
            found[_key(record.model, record.config)].append(record)
    return found


def _key(model: str, config: Mapping[str, Any]) -> str:
    decisive = [model, [config.get(section) for section in _SIZES], config["train"].get("rank_candidates")]
    return json.dumps(decisive, sort_keys=True)


def _size(workspace: Workspace, run: str) -> int:
    return sum(path.stat().st_size for path in (workspace.runs / run).rglob("*") if path.is_file())


class _Examples:
    """Recommendation turns that a run trains on, in an epoch."""

    def __init__(self, workspace: Workspace) -> None:
        rows = read_table(workspace.recommendations, RECOMMENDATIONS, columns=["dialogue_id"])
        self._turns = Counter(rows["dialogue_id"].to_pylist())
        self._splits = splits_of(workspace.turns)
        self._training: dict[Fold | None, tuple[int, int]] = {}

    def of(self, plan: Plan) -> float:
        """D_F's share is drawn: in the mean, turns as dialogues."""
        if plan.fold not in self._training:
            splits = self._splits if plan.fold is None else fold_splits(self._splits, plan.fold)
            names = training_dialogues(splits)
            self._training[plan.fold] = sum(self._turns[name] for name in names), len(names)
        turns, dialogues = self._training[plan.fold]
        share = plan.labeled_ratio if plan.labelled is None else len(plan.labelled) / max(dialogues, 1)
        part = max(float(plan.config["train"].get("unlabelled_ratio", 1.0)), share)
        return turns * (part + (0.0 if plan.ds_input else share))
