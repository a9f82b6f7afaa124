"""``semctl report RUN``: all that is known of a run, on one page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.modelling.run_record import RunRecord, read_record
from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.modelling.training_data import gold_states
from pipeline.reports.cases import METRIC, Cases, make_cases, pick
from pipeline.reports.curves import Chart, training_curves
from pipeline.reports.next_labels import NextLabels, next_labels
from pipeline.reports.slices import Figure, SliceGroup, query_labels, slice_groups
from pipeline.workspace import Workspace
from schemas.errors import UsageError, WorkspaceError
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress, Task
from schemas.validation import known_name

if TYPE_CHECKING:
    from pipeline.corpus.stats import SplitStats
    from pipeline.modelling.evaluate import EvaluationReport
    from semantic_model.data.corpus import Corpus
    from semantic_model.evaluation.evaluation import Evaluation
    from semantic_model.ranking.ranker import Ranker

T = TypeVar("T")

SELECT = "ndcg@5"
_MEASURED_ON = ("test", "valid", "train")


@dataclass(frozen=True)
class RunReportRequest:
    """What to report of a run."""

    run: str = "latest"  # a run's id, or ``latest``
    against: str | None = None  # another run, whose cases are compared
    split: str | None = None  # train, valid or test; None: the first of test and valid that recommends anything
    candidates: str = "all"  # what the positives are ranked against, see :data:`CANDIDATE_KINDS`
    cases: int = 50  # how many recommendation turns are shown
    seed: int = 0  # draws them

    def __post_init__(self) -> None:
        if self.cases < 0:
            raise UsageError(f"--cases {self.cases} is no number of cases", fix="give 0 or more")


@dataclass(frozen=True)
class RunReport:
    """All that is known of a run."""

    run: str
    workspace: str  # its folder's name
    about: str  # what kind of model it is
    record: RunRecord
    data: tuple[SplitStats, ...]
    products: int
    evaluation: EvaluationReport  # the run's row first
    rows: Mapping[str, Evaluation]  # the run, the one it is compared with, if there is one, and the baselines
    figures: Mapping[str, Figure]  # row -> NDCG@5
    differences: Mapping[str, Figure]  # row -> by how much the run is ahead of it in NDCG@5, paired by query
    against: str | None  # the run that the cases are compared with
    rival: str  # the row that slices are compared with
    curves: tuple[Chart, ...]
    slices: tuple[SliceGroup, ...]
    cases: Cases
    next: NextLabels
    notes: tuple[str, ...]  # what was said while it was measured
    seed: int

    def as_json(self) -> dict[str, Any]:
        """The object of ``--json``; figures are fractions of 1."""
        return {"kind": "run", **json_form(self, "rows")}


class _Noting:
    """Passes progress on, and keeps the lines that are said of the data."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.lines: list[str] = []

    def task(self, title: str, total: float | None = None) -> AbstractContextManager[Task]:
        return self._progress.task(title, total)

    def track(self, items: Iterable[T], title: str, total: float | None = None) -> Iterator[T]:
        return self._progress.track(items, title, total)

    def log(self, message: str) -> None:
        self.lines.append(message)
        self._progress.log(message)


def run_report(workspace: Workspace, request: RunReportRequest, *, progress: Progress | None = None) -> RunReport:
    """Measure a run as ``semctl evaluate`` does, and collect what else is known of it.

    Raises:
        UsageError: a split without recommendation turns, or the run is to be compared with itself.
        ModelError: no such run, or one that cannot be used.
        WorkspaceError: not a workspace, or nothing was imported.
    """
    from pipeline.corpus.stats import split_stats
    from pipeline.modelling.evaluate import EvaluateRequest, evaluate
    from semantic_model.evaluation.evaluation import CANDIDATE_KINDS, evaluate_ranker
    from semantic_model.models.state_rule import GOLD
    from semantic_model.ranking.model_spec import find_model
    from semantic_model.ranking.network_ranker import TEACHER

    shown = _Noting(progress or SilentProgress())
    workspace.require()
    kind = known_name("candidates", request.candidates, CANDIDATE_KINDS)
    folder = find_run(workspace, request.run)
    record = read_record(folder)
    rival_folder = None if request.against is None else _rival(workspace, request.against, folder, record)
    corpus = load_corpus(workspace, images=record.images, fold=record.fold)
    split = request.split or _split(corpus)
    asked = EvaluateRequest(folder.name, split=split, candidates=kind, images=record.images)
    evaluation = evaluate(workspace, asked, progress=shown)
    mine = evaluation.rows[0]
    rows = {row.name: row for row in evaluation.rows[1:]}
    asking: list[tuple[Ranker, Corpus]] = [(open_ranker(folder, corpus), corpus)]
    if rival_folder is not None:
        images = read_record(rival_folder).images
        theirs = load_corpus(workspace, images=images, fold=record.fold)
        asking.append((open_ranker(rival_folder, theirs), theirs))
        rows = {rival_folder.name: evaluate_ranker(asking[1][0], theirs, split, kind, progress=shown), **rows}
    dialogues = [dialogue for dialogue, _ in mine.queries]
    told = [name for name in rows if GOLD not in name and TEACHER not in name]
    rival = rival_folder.name if rival_folder else max(told, key=lambda name: rows[name].means[SELECT])
    every = {(query.dialogue_id, query.turn): query for query in corpus.queries(split)}
    queries = [every[key] for key in mine.queries]
    figures = [mine.per_query[METRIC], *([] if rival_folder is None else [rows[rival].per_query[METRIC]])]
    picked, tally = pick(mine.queries, figures, request.cases, request.seed)
    labels = query_labels(queries, corpus, workspace.ontology())
    return RunReport(
        run=folder.name,
        workspace=workspace.root.name,
        about=find_model(record.model).about,
        record=record,
        data=split_stats(workspace),
        products=len(corpus.products),
        evaluation=evaluation,
        rows={mine.name: mine, **rows},
        figures={
            name: Figure(row.means[SELECT], row.intervals[SELECT]) for name, row in {mine.name: mine, **rows}.items()
        },
        differences={
            name: Figure.of(mine.per_query[SELECT] - row.per_query[SELECT], dialogues) for name, row in rows.items()
        },
        against=None if rival_folder is None else rival_folder.name,
        rival=rival,
        curves=training_curves(folder, record.best_epoch),
        slices=slice_groups(labels, mine.per_query[SELECT], rows[rival].per_query[SELECT], dialogues),
        cases=make_cases(asking, queries, picked, figures, _gold(workspace, shown), tally),
        next=next_labels(workspace, [folder.name], progress or SilentProgress()),
        notes=tuple(dict.fromkeys(line.replace(str(workspace.root), workspace.root.name) for line in shown.lines)),
        seed=request.seed,
    )


def _rival(workspace: Workspace, name: str, folder: Path, record: RunRecord) -> Path:
    found = find_run(workspace, name)
    if found == folder:
        raise UsageError(f"--against {name} is the run itself", fix="name another run")
    if read_record(found).fold != record.fold:
        raise UsageError(
            f"{found.name} was trained on other dialogues than {folder.name}: their folds differ",
            fix="compare runs of one fold",
        )
    return found


def _split(corpus: Corpus) -> str:
    there = [split for split in _MEASURED_ON if corpus.queries(split)]
    if not there:
        raise UsageError("no recommendation turn to measure on", fix="import dialogues that recommend products")
    return there[0]


def _gold(workspace: Workspace, progress: Progress) -> Mapping[str, Any]:
    if not workspace.split_manifest.is_file():
        return {}
    try:
        return gold_states(workspace)
    except WorkspaceError as problem:
        progress.log(f"gold states are left out: {problem}")
        return {}
