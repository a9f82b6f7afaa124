"""``semctl report EXPERIMENT``: a grid's table and figures on one page, from the files that it left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.experiments.summary import COST, SELECT
from pipeline.reports.pages import data_url, render
from pipeline.workspace import Workspace
from schemas.errors import ModelError
from schemas.files import read_json
from schemas.json_form import json_form
from semantic_model.ranking.model_spec import REIMPLEMENTED

RESULTS = "results.json"

_MAIN = (SELECT, "recall@5", "ndcg@10")
_LARGEST_FIGURE = 2_000_000  # bytes


@dataclass(frozen=True)
class Spread:
    """A figure over seeds, or over folds; a fraction of 1."""

    mean: float
    std: float | None  # standard deviation; None of a single run
    n: int
    interval: list[float] | None = None  # 95 %, of the mean


@dataclass(frozen=True)
class Against:
    """How far a row is ahead of another one, paired by query."""

    difference: float
    interval: list[float]


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    name: str
    label: str
    floor: bool  # whether nothing was trained for it
    figures: dict[str, Spread]
    runs: list[dict[str, Any]]
    ratio: float | None = None
    folds: dict[str, dict[str, Spread]] = field(default_factory=dict)
    against: Against | None = None
    reimplemented: bool = False
    remark: str = ""
    # as of :data:`pipeline.experiments.summary.COST`, on average
    parameters: float | None = None
    seconds: float | None = None
    evaluation_seconds: float | None = None
    examples_per_second: float | None = None

    @property
    def shown(self) -> str:
        """Its name, with the mark of what was re-implemented, or is a stand-in."""
        marked = f"{self.name} {REIMPLEMENTED}" if self.reimplemented else self.name
        return f"{marked} ({self.remark.partition(':')[0]})" if self.remark else marked


@dataclass(frozen=True)
class Table:
    """A declared experiment's table, as the paper prints it."""

    headings: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Said:
    """A claim of the paper with its verdict, or what more labels would bring."""

    text: str


@dataclass(frozen=True)
class Results:
    """What ``results.json`` holds: of a declared experiment more than of a grid, no rows where nothing is trained."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    against: str = ""
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    # of a declared experiment
    measured: str = ""  # on which queries
    asks: str = ""
    scale: str = ""
    table: Table | None = None
    answers: list[Said] = field(default_factory=list)
    claims: list[Said] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExperimentFacts:
    """What is known of an experiment."""

    workspace: str  # its folder's name
    results: Results
    figures: dict[str, str]  # file -> ``data:`` address

    @property
    def lines(self) -> tuple[str, ...]:
        """What the page says, in short."""
        if not self.results.rows:
            return (f"{self.results.name}: {self.results.title}",)
        best = max(self.results.rows, key=lambda row: row.figures[SELECT].mean)
        failed = f"; {len(self.results.failed)} runs failed" if self.results.failed else ""
        return (
            f"{self.results.name}: {self.results.title}; {len(self.results.rows)} rows{failed}",
            f"highest NDCG@5: {best.shown}, {100 * best.figures[SELECT].mean:.1f}",
        )

    def as_json(self) -> dict[str, Any]:
        """The object of ``--json``; figures are fractions of 1."""
        return {
            "kind": "experiment",
            "workspace": self.workspace,
            **json_form(self.results),
            "figures": [*self.figures],
        }


def experiment_report(workspace: Workspace, name: str) -> ExperimentFacts:
    """Read an experiment's folder.

    Raises:
        ModelError: its results are missing, or not as a grid writes them.
    """
    folder = workspace.experiments / name
    fix = f"run `semctl experiment grid --name {name} ...` again: finished runs are not trained again"
    results = read_json(folder / RESULTS, error=ModelError, fix=fix, shape=Results)
    if not (results.rows or results.table) or any(name not in row.figures for row in results.rows for name in _MAIN):
        raise ModelError("a row without figures", where=folder / RESULTS, fix=fix)
    drawings = (path for path in sorted(folder.glob("*.svg")) if path.stat().st_size <= _LARGEST_FIGURE)
    # as an image: what a drawing would load or run is neither loaded nor run
    figures = {path.name: data_url("image/svg+xml", path.read_bytes()) for path in drawings}
    return ExperimentFacts(workspace.root.name, results, figures)


def experiment_page(facts: ExperimentFacts) -> str:
    """The page as text: the same files give the same bytes."""
    results = facts.results
    trained = [row for row in results.rows if not row.floor]
    metrics = list(results.rows[0].figures) if results.rows else []
    every = sorted({name for row in results.rows for name in row.folds}, key=lambda name: (len(name), name))
    return render(
        "experiment_report.html",
        facts=facts,
        results=results,
        trained=trained,
        main=_MAIN,
        headings=[_heading(name) for name in _MAIN],
        metrics=metrics,
        all_headings=[_heading(name) for name in metrics],
        folds=every,
        fold_headings=[f"fold {name}" for name in every],
        run_count=sum(len(row.runs) for row in trained),
        cost=COST,
        ratios=any(row.ratio is not None for row in results.rows),
        percent=lambda value: "–" if value is None else f"{100 * value:.0f} %",
        share=_share,
        amount=_amount,
        select=SELECT,
    )


def _share(found: Spread) -> str:
    return f"{100 * found.mean:.1f}" + ("" if found.std is None else f" ± {100 * found.std:.1f}")


def _amount(row: Row, name: str) -> str:
    value = getattr(row, name)
    return "" if value is None else f"{value:,.{int(name == 'evaluation_seconds')}f}"


def _heading(metric: str) -> str:
    return metric.replace("precision", "P").replace("recall", "R").replace("ndcg", "NDCG")
