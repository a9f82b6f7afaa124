"""``semctl experiment grid``: plan a grid, train and measure what is missing of it, put it beside the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.experiments.figure import Drawing, ratio_figure
from pipeline.experiments.grid import ExperimentRequest, PlannedRun, Row, check_labels, folds_of, plan_grid
from pipeline.experiments.running import Measured, run_all
from pipeline.experiments.summary import SELECT, Part, RowSummary, by_label, compare, markdown, summarise
from pipeline.modelling.evaluate import RULES, baselines, told_gold
from pipeline.modelling.run_record import RECORD
from pipeline.modelling.runs import load_corpus
from pipeline.modelling.training_data import gold_states, states_of
from pipeline.workspace import Workspace
from schemas.errors import CheckError, UsageError
from schemas.files import sha256_bytes, write_atomic, write_json
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.validation import did_you_mean, known_name
from semantic_model.evaluation.evaluation import CANDIDATE_KINDS, CandidateKind, evaluate_ranker
from semantic_model.models.state_rule import GOLD, PREDICTED
from semantic_model.ranking.model_spec import REIMPLEMENTED


@dataclass(frozen=True)
class ExperimentReport:
    """What came out of a grid."""

    name: str  # its folder's name
    # with ``grid.json``, ``results.json``, ``table.md`` and, for two ratios and more, ``ratios.svg`` and ``ratios.png``
    folder: Path
    title: str  # what was measured
    # models in the order of the grid, the rule over the states that they predict, then the baselines
    rows: tuple[RowSummary, ...]
    against: str  # label of the row that the others are compared with
    notes: tuple[str, ...]  # what a reader of the figures has to know
    failed: dict[str, str]  # run -> why, of the runs that could not be trained
    figure: Drawing | None  # what ``ratios.svg`` and ``ratios.png`` hold; None where there is none
    runs: int = 0  # how many were planned
    reason: str = ""  # what was wrong with the first that failed
    planned: Mapping[str, Sequence[Row]] = field(default_factory=dict)  # grid -> its rows

    def as_json(self) -> dict[str, Any]:
        """The JSON form, which is ``results.json`` too."""
        return json_form(self, "folder", "figure", "runs", "reason", "planned")

    @property
    def problem(self) -> CheckError | None:
        """What to say of runs that failed; None where none did."""
        if not self.failed:
            return None
        return CheckError(
            f"{len(self.failed)} of {self.runs} runs failed, the first with: {self.reason}",
            where=next(iter(self.failed)),
            fix=f"the others' figures are in {self.folder}; fix it and run the same command again",
        )


def experiment(
    workspace: Workspace,
    request: ExperimentRequest,
    *,
    name: str | None = None,
    jobs: int = 1,
    against: str | None = None,
    progress: Progress | None = None,
) -> ExperimentReport:
    """Train and measure a grid, and keep what came out in ``experiments/<name>``.

    Finished runs are not trained again and interrupted ones are resumed: the same call after a kill does the rest.

    Args:
        workspace: where the corpus, the labels and the runs are.
        request: the grid.
        name: of the folder; None: made from the request.
        jobs: worker processes, each of one thread.
        against: label or name of the row that the others are compared with, query by query; None: the best.
        progress: shows a bar over runs and a line a run.

    Raises:
        UsageError: a grid, a setting or a row's name that does not fit.
        InputError: too few dialogues are labelled, or too few are there for the folds.
        WorkspaceError: an earlier stage has not been run.
        CheckError: some runs failed; the figures of the others are kept.
        KeyboardInterrupt: stopped; runs under way have saved a checkpoint.
    """
    found = run_grids(
        workspace, {"": request}, folder=_folder_name(name, request), jobs=jobs, against=against, progress=progress
    )
    report = replace(found, figure=ratio_figure(found.rows, found.title))
    write_json(report.folder / "results.json", report.as_json())
    write_atomic(report.folder / "table.md", markdown(report.title, report.rows, report.against, report.notes))
    if report.figure is not None:
        write_atomic(report.folder / "ratios.svg", report.figure.svg)
        write_atomic(report.folder / "ratios.png", report.figure.png)
    problem = report.problem
    if problem is not None:
        raise problem
    return report


def plan_grids(
    workspace: Workspace, grids: Mapping[str, ExperimentRequest]
) -> tuple[dict[str, list[Row]], list[PlannedRun]]:
    """The rows of each grid, and the runs of all of them, each once; every setting is checked.

    Rows of the same name in two grids have the grid's before it, unless they are the same row.

    Raises:
        UsageError: as :func:`pipeline.experiments.grid.plan_grid`.
        InputError: as :func:`pipeline.experiments.grid.check_labels`.
        WorkspaceError: an earlier stage has not been run.
    """
    rows: dict[str, list[Row]] = {}
    runs: list[PlannedRun] = []
    for grid, request in grids.items():
        own, planned = plan_grid(workspace, request)
        there = {row.label: row for each in rows.values() for row in each}
        again = {row.label for row in own if row.label in there and there[row.label].request == row.request}
        renamed = {row.label: f"{grid}: {row.label}" for row in own if row.label in there and row.label not in again}
        rows[grid] = [
            replace(row, name=f"{grid}: {row.name}") if row.label in renamed else row
            for row in own
            if row.label not in again
        ]
        runs += [replace(run, row=renamed.get(run.row, run.row)) for run in planned if run.row not in again]
        check_labels(workspace, request, own)
    return rows, runs


def run_grids(
    workspace: Workspace,
    grids: Mapping[str, ExperimentRequest],
    *,
    folder: str,
    jobs: int = 1,
    against: str | None = None,
    progress: Progress | None = None,
) -> ExperimentReport:
    """Train and measure several grids, all on the same queries, as :func:`experiment` does one; writes ``grid.json``.

    Args:
        folder: its name below ``experiments``.
        grids: name -> grid. Split, candidates, folds and seeds are those of the first.

    Raises:
        As :func:`experiment`, but for runs that fail: these are in the report.
    """
    shown = progress or SilentProgress()
    workspace.require()
    if jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {jobs}")
    request = next(iter(grids.values()))
    kind = known_name("candidates", request.candidates, CANDIDATE_KINDS)
    told = replace(request, ds_input=any(grid.ds_input for grid in grids.values()))
    by_grid, runs = plan_grids(workspace, grids)
    rows = [row for own in by_grid.values() for row in own]
    floors = _floors(workspace, told, kind, shown)
    _row_named(against, [*(row.label for row in rows), *(row.name for row in rows), *(row.label for row in floors)])
    target = workspace.experiments / folder
    asked = {name: asdict(grid) for name, grid in grids.items()}
    kept = {"request": asked[""]} if "" in asked else {"requests": asked}
    write_json(target / "grid.json", {**kept, "runs": {run.run: run.row for run in runs}})
    trained = sum((workspace.runs / run.run / RECORD).is_file() for run in runs)
    shown.log(f"runs: {len(runs)}, of which trained already: {trained}; {target}")
    try:
        measured, failed = run_all(workspace, runs, split=request.asked, kind=kind, jobs=jobs, progress=shown)
    except KeyboardInterrupt:
        shown.log("stopped; the same command continues from here")
        raise
    summaries = [*_summaries(rows, measured), *floors]
    chosen = by_label(summaries).get(against) if against else None
    if chosen is None:  # not said, or all of its runs failed
        chosen = max((row for row in summaries if row.name != GOLD), key=lambda row: row.figures[SELECT].mean)
    summaries = [row if row is chosen else _compared(row, chosen) for row in summaries]
    return ExperimentReport(
        folder,
        target,
        _title(request, summaries),
        tuple(summaries),
        chosen.label,
        _notes(told if len(grids) == 1 else request, rows, summaries),
        {run: str(problem) for run, problem in failed.items()},
        None,
        len(runs),
        next((problem.what for problem in failed.values()), ""),
        by_grid,
    )


def _floors(workspace: Workspace, request: ExperimentRequest, kind: CandidateKind, shown: Progress) -> list[RowSummary]:
    parts: dict[str, list[Part]] = {}
    for fold in folds_of(request):
        corpus = load_corpus(workspace, images=request.images, fold=fold)
        if request.ds_input:  # before anything is trained
            states_of(corpus.queries(request.asked), gold_states(workspace))
        for ranker in (*baselines(corpus), *told_gold(workspace, corpus, request.asked)):
            found = evaluate_ranker(ranker, corpus, request.asked, kind, progress=shown)
            number = None if fold is None else fold.number
            parts.setdefault(ranker.name, []).append(Part(None, None, number, found))
    return [summarise(name, None, name, found, floor=True) for name, found in parts.items()]


def _summaries(rows: Sequence[Row], measured: Sequence[Measured]) -> list[RowSummary]:
    """Of the rows of which a run was measured at all, and of the rule over the states that they predict."""
    trained, rules = [], []
    for row in rows:
        own = [done for done in measured if done.planned.row == row.label]
        if own:
            parts = [_part(done) for done in own]
            found = summarise(row.name, row.ratio, row.label, parts, reimplemented=row.reimplemented)
            trained.append(replace(found, remark=row.remark))
        told = [replace(_place(done), evaluation=done.rule) for done in own if done.rule is not None]
        if told:
            name = f"{PREDICTED} by {row.name}"
            rules.append(summarise(name, row.ratio, replace(row, name=name).label, told, floor=True))
    return [*trained, *rules]


def _place(done: Measured) -> Part:
    plan = done.planned.plan
    return Part(plan.run, plan.seed, None if plan.fold is None else plan.fold.number, done.evaluation)


def _part(done: Measured) -> Part:
    record = done.record
    return replace(
        _place(done),
        best_epoch=record.best_epoch,
        seconds=record.seconds,
        parameters=record.parameters,
        examples_per_second=done.examples_per_second,
        evaluation_seconds=done.evaluation_seconds,
        words=record.words,
        images=record.pictures,
        labelled=record.labelled_dialogues,
        states=done.states,
    )


def _compared(row: RowSummary, chosen: RowSummary) -> RowSummary:
    try:
        return replace(row, against=compare(row, chosen))
    except ValueError:  # a row of which a fold's runs failed
        return row


def _row_named(against: str | None, names: Sequence[str]) -> None:
    if against is None:
        return
    if against not in names:
        known = ", ".join(dict.fromkeys(names))
        raise UsageError(f"there is no row '{against}'", fix=did_you_mean(against, names, f"rows: {known}"))
    options = [name for name in dict.fromkeys(names) if name.startswith(f"{against} r")]
    if options and names.count(against) > 1 and " r" not in against:
        raise UsageError(f"'{against}' names {len(options)} rows", fix=f"say which: {', '.join(options)}")


def _folder_name(name: str | None, request: ExperimentRequest) -> str:
    if name is None:
        labels = [request.labelled, request.ratios_of] if request.labelled or request.ratios_of != "training" else []
        return f"grid-{sha256_bytes((repr(request) + repr(labels) * bool(labels)).encode())[:8]}"
    return folder_name(name)


def folder_name(name: str) -> str:
    """The name, if a folder can have it.

    Raises:
        UsageError: it cannot.
    """
    if not name or name.startswith(".") or "/" in name:
        raise UsageError(f"'{name}' cannot be the name of a folder")
    return name


def _title(request: ExperimentRequest, rows: Sequence[RowSummary]) -> str:
    queries = len({query for part in rows[-1].parts for query in part.evaluation.queries})
    where = f"{request.split} split" if request.folds is None else f"{request.folds} folds, held-out dialogues"
    images = "" if request.images else ", without images"
    return f"{where}, {queries:,} queries, candidates: {request.candidates}{images}; per cent"


def _notes(request: ExperimentRequest, planned: Sequence[Row], rows: Sequence[RowSummary]) -> tuple[str, ...]:
    notes = []
    if request.folds is None:
        spread = f"mean ± standard deviation over {request.seeds} seeds; 95 %: of the mean, by Student's t"
        notes.append(spread if request.seeds > 1 else "a single seed: how far another would move a figure is not known")
        if request.split == "valid":
            notes.append("the epoch was chosen on this same split, so figures of trained rows flatter a little")
    else:
        each = "of one seed" if request.seeds == 1 else f"the mean of {request.seeds} seeds"
        notes.append(
            f"mean ± standard deviation over {request.folds} folds, each {each}; "
            "95 %: by Student's t, too narrow as the folds' training parts overlap"
        )
        kept = "assigned, too" if request.pool_test else "untouched"
        notes.append(f"the corpus's own test part: {kept}; a tenth of a fold's other dialogues chose the epoch")
    if request.ds_input:
        notes.append("ds-input: every model is given the gold state as text, in training and in testing")
    notes += [said for name, said in RULES.items() if any(name in row.name for row in rows)]
    if any(row.reimplemented for row in rows):
        notes.append(f"{REIMPLEMENTED}: after what was published of it alone, as no code of its authors is public")
    notes += dict.fromkeys(f"{row.name}: {row.remark}" for row in rows if row.remark)
    notes += _other_presets(planned)
    notes += [*_sources("words", "BERT", rows), *_sources("images", "ResNet-18, trained along", rows)]
    notes.append("seconds: on the clock, of one process; those of evaluation are for encoding and ranking")
    if any(row.against for row in rows):
        notes.append("against: paired by query, 95 % by drawing dialogues again")
    return tuple(notes)


def _other_presets(rows: Sequence[Row]) -> list[str]:
    """Which models have no preset of the name that was asked for, and what was taken."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for asked in row.instead_of:
            said = f"{row.request.model} with {row.request.preset}"
            if said not in found.setdefault(asked, []):
                found[asked].append(said)
    return [f"no preset '{asked}' of their own: {', '.join(said)}" for asked, said in found.items()]


def _sources(what: str, papers: str, rows: Sequence[RowSummary]) -> list[str]:
    """Where ``words`` or ``images`` are from, which tells what stands in for weights that are not here."""
    found: dict[str, list[str]] = {}
    trained = [row for row in rows if row.cost["seconds"] is not None]
    for row in trained:
        for source in dict.fromkeys(getattr(part, what) for part in row.parts):
            found.setdefault(source, []).append(row.label)
    return [
        f"{what} (the paper's: {papers}): {source}"
        + ("" if len(labels) == len(trained) else f"; of {', '.join(labels)}")
        for source, labels in found.items()
    ]
