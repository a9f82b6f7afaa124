"""``semctl evaluate``: a trained run beside the rankers it has to beat, on the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from pipeline.modelling.run_record import read_record
from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.modelling.state_tracking import states_read
from pipeline.modelling.training_data import gold_states, states_of
from pipeline.stages import find_stage
from pipeline.workspace import Workspace
from schemas.errors import WorkspaceError
from schemas.files import sha256_file, write_json
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.state_metrics import StateFigures
from schemas.validation import known_name
from semantic_model.data.corpus import Corpus
from semantic_model.evaluation.evaluation import CANDIDATE_KINDS, CandidateKind, Evaluation, evaluate_ranker
from semantic_model.evaluation.metrics import Formula
from semantic_model.evaluation.uncertainty import has_teacher
from semantic_model.models.state_rule import GOLD, PREDICTED, StateRule, rule_over_predictions
from semantic_model.ranking.network_ranker import TEACHER, NetworkRanker, TeacherRanker
from semantic_model.ranking.ranker import Ranker
from semantic_model.registry import BASELINES

RULES = {
    PREDICTED: f"{PREDICTED} is told the states that the run predicts",
    GOLD: f"{GOLD} is told the gold states",
    TEACHER: "the run's teacher is told the gold states",
}
"""What is in the names of rows that need a word of explanation -> that word."""


@dataclass(frozen=True)
class EvaluationReport:
    """The figures of a run and of the baselines."""

    run: str | None  # the run's id; None when only the baselines were measured
    split: str  # train, valid or test
    candidates: CandidateKind  # listed, 1000 or all
    images: bool  # False when every image was left out
    products: int  # how many products the catalogue has
    rows: tuple[Evaluation, ...]  # the model's figures first, then the baselines'; all on the same queries
    # whose states -> how they are read before the recommendation turns, where gold ones are there: the run's, if it
    # predicts any, those of a tracker taught by the run's labels, and those of its rules alone
    states: Mapping[str, StateFigures]
    file: Path | None = None  # where the report was written; None without a run
    metrics: Formula = "standard"  # the formula of the figures

    def as_json(self) -> dict[str, Any]:
        """The JSON form; metrics are fractions of 1, ``intervals`` are 95 % by dialogue."""
        return {
            **json_form(self, "rows", "states", "file"),
            "states": [{"name": name, **figures.as_json()} for name, figures in self.states.items()],
            "queries": len(self.rows[0].queries),
            "skipped": self.rows[0].skipped,
            "rows": [
                {
                    "name": row.name,
                    **row.means,
                    "intervals": {name: [ends.low, ends.high] for name, ends in row.intervals.items()},
                }
                for row in self.rows
            ],
        }


def baselines(corpus: Corpus) -> list[Ranker]:
    """What every model is shown beside; fitted on the training split where they learn at all."""
    return [resolve_name(found).fit(corpus) for found in BASELINES.values()]


def told_gold(workspace: Workspace, corpus: Corpus, split: str, models: Sequence[Ranker] = ()) -> list[Ranker]:
    """Who ranks by the gold states: the teachers of models that have one, and the rule; nobody unless every
    recommendation turn of the split has one.

    Raises:
        WorkspaceError: D_F and D_P are not one complete set.
    """
    queries = corpus.queries(split)
    known = gold_states(workspace) if workspace.split_manifest.is_file() else None
    if known is None or not all(query.dialogue_id in known for query in queries):
        return []
    states = zip(((query.dialogue_id, query.turn) for query in queries), states_of(queries, known), strict=True)
    teachers = [
        TeacherRanker(model, lambda asked: states_of(asked, known))
        for model in models
        if isinstance(model, NetworkRanker) and has_teacher(model)
    ]
    return [*teachers, StateRule(dict(states), workspace.ontology())]


@dataclass(frozen=True)
class EvaluateRequest:
    """What to measure."""

    run: str = "latest"  # a run's id, or ``latest``
    split: str = "test"  # whose recommendation turns are asked
    candidates: str = "listed"  # what the positives are ranked against: listed, 1000, all, or release
    images: bool = True  # False leaves every image out of dialogues and catalogue, to show what they are worth
    baselines_only: bool = False  # measures no run, so none is needed; nothing is written
    metrics: Formula = "standard"  # the formula: standard, or release, to compare with the released code's figures
    min_negatives: int = 1  # recommendation turns with fewer wrong candidates are left out
    # how exactly the run keeps encoded products: float32, or bfloat16 in half the memory
    product_table: str = "float32"

    def file_name(self) -> str:
        """Of the report in the run's folder: what was asked for, without what is as always."""
        marks = [f"min-{self.min_negatives}"] * (self.min_negatives > 1)
        marks += [f"{self.metrics}-metrics"] * (self.metrics != "standard")
        marks += [self.product_table] * (self.product_table != "float32") + ["no-images"] * (not self.images)
        return "-".join(["evaluation", self.split, self.candidates, *marks]) + ".json"


def evaluate(workspace: Workspace, request: EvaluateRequest, *, progress: Progress | None = None) -> EvaluationReport:
    """Measure a run and the baselines, and keep the report as ``runs/<id>/evaluation-<split>-<candidates>.json``.

    One more row shows what a rule does that reads the states which the run predicts, where it predicts any. Where the
    whole split is labelled, two more show what the gold states are worth: to the run's teacher, and to the rule.

    Raises:
        UsageError: unknown candidates, or a split without recommendation turns.
        WorkspaceError: not a workspace, or nothing was imported.
        ModelError: no such run, or one that cannot be used.
        InputError: the run reads gold states as text, and dialogues of the split have none.
    """
    kind, split = known_name("candidates", request.candidates, CANDIDATE_KINDS), request.split
    shown = progress or SilentProgress()
    workspace.require()
    folder, fold, ds_input = None, None, False
    if not request.baselines_only:
        folder = find_run(workspace, request.run)
        record = read_record(folder)
        _say_what_changed(workspace, folder.name, record.inputs, shown)
        fold, ds_input = record.fold, record.ds_input
    if fold is not None:
        shown.log(f"splits of the run's own: fold {fold.number} of {fold.of}, whose held-out dialogues are 'test'")
    corpus = load_corpus(workspace, images=request.images, fold=fold)
    if ds_input:  # before anything is encoded
        states_of(corpus.queries(split), gold_states(workspace))
    models = [] if folder is None else [open_ranker(folder, corpus, product_table=request.product_table)]
    rules = (rule_over_predictions(model, corpus.queries(split)) for model in models)
    floors = [*baselines(corpus), *(rule for rule in rules if rule is not None)]
    try:
        teachers = models if folder is not None and record.labelled else []  # without labels, none was trained
        if teachers and record.inputs.get("ontology") != sha256_file(workspace.ontology_file):
            shown.log("the run's teacher is left out: the ontology has changed, whose words it was taught")
            teachers = []
        floors += told_gold(workspace, corpus, split, teachers)
    except WorkspaceError as problem:  # an ingest that is not complete is no reason not to measure a run
        shown.log(f"the rule over gold states is left out: {problem}")
    states: dict[str, StateFigures] = {}
    if folder is not None:
        try:
            states = states_read(workspace, corpus, split, models[0], record.labelled, shown)
        except WorkspaceError as problem:
            shown.log(f"states are left out: {problem}")
    rows = tuple(
        evaluate_ranker(
            ranker, corpus, split, kind, formula=request.metrics, min_negatives=request.min_negatives, progress=shown
        )
        for ranker in (*models, *floors)
    )
    for reason, count in rows[0].skipped.items():
        shown.log(f"{count} recommendation turns were left out: {reason.replace('_', ' ')}")
    run, file = (None, None) if folder is None else (folder.name, folder / request.file_name())
    report = EvaluationReport(
        run, split, kind, request.images, len(corpus.products), rows, states, file, request.metrics
    )
    if file is not None:
        write_json(file, report.as_json())
    return report


def _say_what_changed(workspace: Workspace, run: str, trained_on: Mapping[str, str], shown: Progress) -> None:
    """A run may be measured on data it was not trained on; a reader of its figures should know."""
    changed = [
        path.stem
        for path in find_stage("import").outputs(workspace)
        if path.is_file() and trained_on.get(path.stem, "") not in {"", sha256_file(path)}
    ]
    if changed:
        shown.log(f"{', '.join(changed)} changed since {run} was trained")
