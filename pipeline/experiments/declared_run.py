"""``semctl experiment run``: a declared experiment carried out, its table as the paper prints it, its figure."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.corpus.stats import split_stats
from pipeline.experiments.budget import BudgetAnswer, budget_answers
from pipeline.experiments.claims import Verdict, verdict
from pipeline.experiments.declaration import Declared, DeclaredRow, Number
from pipeline.experiments.estimate import DryRun, estimated
from pipeline.experiments.experiment import ExperimentReport, folder_name, plan_grids, run_grids
from pipeline.experiments.figure import Dots, Drawing, curves, dots
from pipeline.experiments.grid import ExperimentRequest, Row
from pipeline.experiments.summary import RowSummary, label_heading, lines_of_table, percent, percent_interval
from pipeline.workspace import Workspace
from schemas.errors import CheckError, UsageError
from schemas.files import write_atomic, write_json
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress

_SELECTED = "ndcg@5"


@dataclass(frozen=True)
class RunRequest:
    """What ``semctl experiment run`` was asked."""

    scale: str | None = None  # None: the file's own
    settings: tuple[str, ...] = ()  # ``KEY=VALUE`` on top, for every run
    seeds: int | None = None  # instead of the scale's
    folds: int | None = None  # by dialogue, instead of the scale's own
    # dialogues in the order of choosing, of which ratios are shares, on the corpus's own splits; None: they are drawn
    labelled: tuple[str, ...] | None = None
    more: int | None = None  # how many more labelled dialogues are asked about, instead of the file's
    name: str | None = None  # of the folder; None: the experiment's and the scale's
    jobs: int = 1


@dataclass(frozen=True)
class Line:
    """A line of the table as the paper has it: ours, or the paper's own figures."""

    name: str  # as the paper calls it
    source: str  # our row's label, or where the paper measured it
    ratio: float | None  # share of labelled dialogues, of ours
    cells: tuple[str, ...]  # a figure for each measure, per cent
    interval: str = ""  # 95 % of NDCG@5, of ours
    ours: bool = True
    mark: str = ""  # of what was re-implemented, or is a stand-in; of ours


@dataclass(frozen=True)
class DeclaredReport:
    """What came out of a declared experiment."""

    declared: Declared
    scale: str  # empty where nothing is trained
    folder: Path
    lines: tuple[Line, ...]
    figure: Drawing | None
    grid: ExperimentReport | None  # the runs' own figures; None where nothing is trained
    answers: tuple[BudgetAnswer, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What a reader has to know: of the paper's figures first, then of ours."""
        ours = () if self.grid is None else self.grid.notes
        shown = [note for note in ours if not note.startswith(("seconds:", "against:"))]  # columns of a grid's table
        labels: dict[str, list[str]] = {}
        for line in self.lines:
            if line.ours and self.grid is not None:
                names = labels.setdefault(line.name, [])
                names += [name for name in [_without_ratio(line)] if name not in names and name != line.name]
        rows = [f"{name} here: {', '.join(names)}" for name, names in labels.items() if names]
        return [*self.declared.declaration.footnotes, *rows, *shown]

    @property
    def problem(self) -> CheckError | None:
        """What to say of runs that failed; None where none did."""
        return None if self.grid is None else self.grid.problem

    def as_json(self) -> dict[str, Any]:
        """The JSON form, which is ``results.json`` too: that of a grid, and what the paper says beside it."""
        declaration = self.declared.declaration
        headings, rows = table_of(self)
        return {
            **({"name": self.folder.name} if self.grid is None else self.grid.as_json()),
            "title": declaration.title,
            "measured": "" if self.grid is None else self.grid.title,
            "experiment": self.declared.name,
            "asks": declaration.asks,
            "scale": self.scale,
            "measures": list(declaration.measures),
            "lines": [json_form(line) for line in self.lines],
            "table": {"headings": headings, "rows": rows},
            "paper": [
                {"name": row.name, "source": source, "figures": [_mean_and_std(each) for each in figures]}
                for row in declaration.rows
                for source, figures in row.paper.items()
            ],
            "answers": [answer.as_json() for answer in self.answers],
            "claims": [{**each.as_json(), "text": claim_lines(each)[0]} for each in self.verdicts],
            "footnotes": list(declaration.footnotes),
        }

    def markdown(self) -> str:
        """``table.md``."""
        declaration = self.declared.declaration
        headings, rows = table_of(self)
        parts = [f"# {declaration.title}", "", declaration.asks, ""]
        if self.grid is not None:
            parts += [f"{self.grid.title} (scale {self.scale})", ""]
        parts += lines_of_table(headings, rows)
        for title, texts in (
            ("What more labels would bring", [answer.text for answer in self.answers]),
            ("What the paper claims", [text for each in self.verdicts for text in claim_lines(each)]),
            ("Failed", [] if self.grid is None else [f"{run}: {said}" for run, said in self.grid.failed.items()]),
            ("Notes", self.notes),
        ):
            if texts:
                parts += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
        return "\n".join(parts) + "\n"


def _without_ratio(line: Line) -> str:
    return line.source if line.ratio is None else line.source.removesuffix(f" r{line.ratio:g}")


def claim_lines(found: Verdict) -> list[str]:
    """A claim with its verdict and what that is after."""
    compared = "; ".join(each.text for each in found.compared)
    return [f"{found.answer}: {found.claim.says} ({found.claim.where})" + (f" [{compared}]" if compared else "")]


def table_of(report: DeclaredReport) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table, for people."""
    measures = [label_heading(name) for name in report.declared.declaration.measures]
    ratios = any(line.ratio is not None for line in report.lines) and len({line.ratio for line in report.lines}) > 2
    intervals = any(line.interval for line in report.lines)
    headings = ["", "measured", *["labelled"] * ratios, *measures, *[f"95 % of {label_heading(_SELECTED)}"] * intervals]
    rows, before = list[list[str]](), ""
    for line in report.lines:
        ratio = "" if line.ratio is None else f"{line.ratio:g}"
        name = "" if line.name == before else line.name
        before = line.name
        source = f"here {line.mark}".strip() if line.ours else f"paper, {line.source}"
        rows.append([name, source, *[ratio] * ratios, *line.cells, *[line.interval] * intervals])
    return headings, rows


def run_declared(
    workspace: Workspace, declared: Declared, request: RunRequest, *, progress: Progress | None = None
) -> DeclaredReport:
    """Carry an experiment out, and keep table, figure and figures in ``experiments/<name>-<scale>``.

    Raises:
        UsageError: no such scale, a setting that does not fit, or an experiment that other commands do.
        InputError: the corpus lacks what it needs: labels, gold states, dialogues enough for the folds.
        WorkspaceError: an earlier stage has not been run.
        KeyboardInterrupt: stopped; the same call continues.
    """
    workspace.require()
    declaration = declared.declaration
    _is_a_grid(declared)
    if declaration.statistics:
        report = _statistics(workspace, declared, request)
    else:
        scale, grids = _grids(declared, request)
        found = run_grids(
            workspace,
            grids,
            folder=folder_name(request.name or f"{declared.name}-{scale}"),
            jobs=request.jobs,
            progress=progress or SilentProgress(),
        )
        report = _report(declared, scale, found, request.more)
    write_json(report.folder / "results.json", report.as_json())
    write_atomic(report.folder / "table.md", report.markdown())
    if report.figure is not None:
        write_atomic(report.folder / "figure.svg", report.figure.svg)
        write_atomic(report.folder / "figure.png", report.figure.png)
    return report


def dry_run(workspace: Workspace, declared: Declared, request: RunRequest) -> DryRun:
    """Plan an experiment, and say what it would take; writes nothing.

    Raises:
        As :func:`run_declared`.
    """
    workspace.require()
    _is_a_grid(declared)
    if declared.declaration.statistics:
        raise UsageError(f"{declared.name} trains nothing", fix=f"semctl experiment run {declared.name}")
    scale, grids = _grids(declared, request)
    _, runs = plan_grids(workspace, grids)
    folder = workspace.experiments / folder_name(request.name or f"{declared.name}-{scale}")
    free = shutil.disk_usage(workspace.root).free
    cells = estimated(workspace, runs)
    return DryRun(declared.name, scale, declared.about(scale), str(folder), cells, request.jobs, free)


def _is_a_grid(declared: Declared) -> None:
    commands = declared.declaration.commands
    if commands:
        raise UsageError(f"{declared.name} is no grid of runs", fix=f"it is done by: {', then '.join(commands)}")


def _grids(declared: Declared, request: RunRequest) -> tuple[str, dict[str, ExperimentRequest]]:
    scale = declared.scale(request.scale)
    grids = declared.grids(scale)
    grids = {name: replace(grid, settings=(*grid.settings, *request.settings)) for name, grid in grids.items()}
    if request.seeds is not None:
        grids = {name: replace(grid, seeds=request.seeds) for name, grid in grids.items()}
    if request.folds is not None:
        grids = {name: replace(grid, folds=request.folds) for name, grid in grids.items()}
    if request.labelled is not None:
        if request.folds is not None:
            raise UsageError("--folds would hold some of the --labelled dialogues out", fix="leave one of them out")
        grids = {
            name: replace(grid, labelled=request.labelled, folds=None, pool_test=False) for name, grid in grids.items()
        }
    return scale, grids


def _report(declared: Declared, scale: str, found: ExperimentReport, more: int | None) -> DeclaredReport:
    declaration = declared.declaration
    ours = {row.label: row for row in found.rows}
    fitting: list[tuple[DeclaredRow, list[RowSummary]]] = [
        (
            row,
            [
                ours[planned.label]
                for grid, rows in found.planned.items()
                for planned in rows
                if planned.label in ours and _fits(row, grid, planned)
            ],
        )
        for row in declaration.rows
    ]
    lines = list[Line]()
    for row, summaries in fitting:
        lines += [_line(row.name, summary, declaration.measures) for summary in summaries]
        lines += paper_lines(row, percent=True)
    shown = {summary.label for _, summaries in fitting for summary in summaries}
    lines += [_line(row.shown, row, declaration.measures) for row in found.rows if row.label not in shown]
    named = {name: summary for row, summaries in fitting for name, summary in _claimed(row.name, summaries).items()}
    asked = _asked(declaration.measures)
    usual = min(declaration.more, max((part.labelled or 0 for row in found.rows for part in row.parts), default=0))
    return DeclaredReport(
        declared,
        scale,
        found.folder,
        tuple(lines),
        _figure(declared, scale, found, fitting),
        found,
        tuple(budget_answers(found.rows, more or usual, asked)) if more or usual else (),
        tuple(verdict(claim, named) for claim in declaration.claims),
    )


def _claimed(name: str, summaries: Sequence[RowSummary]) -> dict[str, RowSummary]:
    """What claims call a row: by its name, and of several labelled ratios by which; as ``NAME, 20 % of labels``."""
    if not summaries:
        return {}
    ordered = sorted(summaries, key=lambda row: row.ratio or 0.0)
    most = ordered[-1].ratio or 0.0
    shares = {f"{name}, {100 * (row.ratio or 0.0) / most:.0f} % of labels": row for row in ordered} if most else {}
    return {name: summaries[-1], **shares}


def _asked(measures: Sequence[str]) -> list[str]:
    """What a budget is asked about: ranking, slots and whole states."""
    return [name for name in (_SELECTED, "slot_f1", "jga") if name in measures]


def _fits(row: DeclaredRow, grid: str, planned: Row) -> bool:
    changed = row.change is None or (row.change in planned.change if row.change else not planned.change)
    return changed and row.grid in (None, grid) and row.model in (None, planned.kind) and row.stat is None


def _line(name: str, row: RowSummary, measures: Sequence[str]) -> Line:
    found = [row.measure(measure) for measure in measures]
    interval = percent_interval(row.figures[_SELECTED].interval)
    cells = tuple("" if each is None else percent(each) for each in found)
    return Line(name, row.label, row.ratio, cells, interval, mark="" if name == row.shown else _mark(row))


def _mark(row: RowSummary) -> str:
    return row.shown.removeprefix(row.name).strip()


def paper_lines(row: DeclaredRow, *, percent: bool) -> list[Line]:
    """The paper's own figures of a row: per cent, or as they are."""
    return [
        Line(row.name, source, None, tuple(_printed(each, percent=percent) for each in figures), ours=False)
        for source, figures in row.paper.items()
    ]


def _mean_and_std(figure: Number) -> list[float | None]:
    return [figure, None] if isinstance(figure, int | float) else list(figure)


def _printed(figure: Number, *, percent: bool) -> str:
    mean, deviation = _mean_and_std(figure)
    if not percent:
        return f"{mean:,g}"
    return f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def _figure(
    declared: Declared, scale: str, found: ExperimentReport, fitting: Sequence[tuple[DeclaredRow, Sequence[RowSummary]]]
) -> Drawing | None:
    asked = declared.declaration.figure
    if asked is None or not any(summaries for _, summaries in fitting):
        return None
    title = f"{declared.declaration.title}\n{found.title} (scale {scale}; bars: one standard deviation)"
    if asked.kind == "curves":
        lines: dict[str, list[tuple[float, RowSummary]]] = {}
        ours = {row.label: row for row in found.rows}
        placed = set[str]()
        for planned in (row for rows in found.planned.values() for row in rows):
            at = planned.ratio if asked.along == "ratio" else _varied(planned, asked.along)
            if at is not None and planned.label in ours:
                row = ours[planned.label]
                called = [each.name for each, summaries in fitting if any(own is row for own in summaries)]
                name = planned.kind if asked.along != "ratio" or not called else called[0]
                lines.setdefault(name, []).append((at, row))
                placed.add(row.label)
        ordered = {name: sorted(line, key=lambda point: point[0]) for name, line in lines.items()}
        others = [row for row in found.rows if row.label not in placed and row.name not in ("random", "popularity")]
        level = [row for row in others if not row.name.startswith("state-rule (predicted)")]
        return curves(ordered, level, asked.measures, title, asked.caption)
    names = {
        row.name: " ".join(
            [row.name.rpartition(", ")[0] if row.series else row.name, *filter(None, map(_mark, summaries[-1:]))]
        )
        for row, summaries in fitting
    }
    kinds: dict[tuple[str, bool], dict[tuple[str, str], tuple[float, float | None]]] = {}
    for declared_row, summaries in fitting:
        name = names[declared_row.name]
        for summary in summaries[-1:]:
            here = "here" if not declared_row.series else f"here, {declared_row.series}"
            own = kinds.setdefault((here, False), {})
            for measure in asked.measures:
                spread = summary.measure(measure)
                if spread is not None:
                    own[name, measure] = 100 * spread.mean, None if spread.std is None else 100 * spread.std
        for source, figures in declared_row.paper.items():
            own = kinds.setdefault((f"paper, {source}", True), {})
            for measure, figure in zip(declared.declaration.measures, figures, strict=True):
                if measure in asked.measures:
                    mean, deviation = _mean_and_std(figure)
                    own[name, measure] = mean or 0.0, deviation
    series = [Dots(name, hollow, values) for (name, hollow), values in kinds.items()]
    return dots(list(dict.fromkeys(names.values())), series, asked.measures, title)


def _varied(planned: Row, key: str) -> float | None:
    """The value that a row has of the setting along an axis."""
    for text in planned.change:
        name, _, value = text.partition("=")
        if name == key:
            with suppress(ValueError):  # one that is no number has no place on an axis
                return float(value)
    return None


def _statistics(workspace: Workspace, declared: Declared, request: RunRequest) -> DeclaredReport:
    stats = {split.split: split for split in split_stats(workspace)}
    lines = list[Line]()
    for row in declared.declaration.rows:
        found = [getattr(stats[split], row.stat or "") for split in declared.declaration.measures]
        scaled = [100 * value if row.stat == "proportion" else value for value in found]
        lines.append(Line(row.name, "this corpus", None, tuple(f"{round(value, 1):,g}" for value in scaled)))
        lines += paper_lines(row, percent=False)
    folder = workspace.experiments / folder_name(request.name or declared.name)
    claims = tuple(verdict(claim, {}) for claim in declared.declaration.claims)
    return DeclaredReport(declared, "", folder, tuple(lines), None, None, (), claims)
