"""The whole job on the generated corpus: generate, import, label (simulated), ingest, train, evaluate, recommend."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.stages import STAGES
from pipeline.workspace import Workspace
from schemas.belief import BeliefState
from schemas.errors import CheckError, UsageError
from schemas.files import remove_left_over, write_atomic
from schemas.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from pipeline.modelling.evaluate import EvaluationReport
    from pipeline.modelling.recommender import Recommendation

PROJECT = "semctl demo"
"""Name of the Label Studio project of ``semctl demo --with-studio``."""

_MARKER = "demo.json"


@dataclass(frozen=True)
class DemoRequest:
    """What ``semctl demo`` was asked to do."""

    size: str = "demo"  # of the generated corpus: test, demo, medium or mmd-v3
    seed: int = 0  # of the corpus, of what is labelled and of training
    labeled_ratio: float = 0.2  # share of the training dialogues that get labelled, and are used with their labels
    with_studio: bool = False  # label in a real Label Studio instead of a file
    epochs: int | None = None  # instead of the preset's


@dataclass
class DemoReport:
    """Where everything lies and what came out."""

    workspace: Path
    run: str
    with_images: EvaluationReport  # the figures on the test split over the whole catalogue
    without_images: EvaluationReport  # the same run with every image blanked
    labelled: int
    recommendation: Recommendation  # the top products for one test dialogue
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> wall-clock seconds

    def as_json(self) -> dict[str, Any]:
        """The JSON form: ``rows`` as ``semctl evaluate`` gives them, then the row of the run without images."""
        blanked = self.without_images.as_json()["rows"][0]
        rows = [*self.with_images.as_json()["rows"], {**blanked, "name": f"{blanked['name']} --no-images"}]
        return {
            "workspace": str(self.workspace),
            "run": self.run,
            "split": self.with_images.split,
            "candidates": self.with_images.candidates,
            "labelled_dialogues": self.labelled,
            "rows": rows,
            "recommendation": self.recommendation.as_json(),
            "seconds": {stage: round(value, 1) for stage, value in self.seconds.items()},
        }


def run_demo(workspace: Workspace, request: DemoRequest, *, progress: Progress | None = None) -> DemoReport:
    """Run every stage of the work in a workspace of its own, which is replaced when it is an earlier demo's.

    The gold states of the generated dialogues are kept out of the data that is trained on: they are imported into a
    workspace of their own, ``gold/``, where only the simulated annotators look.

    Raises:
        UsageError: the folder holds something that is not a demo.
        ServiceError: with ``with_studio``, Label Studio could not be installed or started.
    """
    from pipeline.chosen_dialogues import Selection
    from pipeline.corpus.import_corpus import ImportRequest, import_corpus
    from pipeline.generator.corpus import GenerateRequest, generate_corpus
    from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
    from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
    from pipeline.labelling.simulated_labels import answer_tasks, gold_states
    from pipeline.modelling.evaluate import EvaluateRequest, evaluate
    from pipeline.modelling.recommend import RecommendRequest, recommend
    from pipeline.modelling.train import TrainRequest, train
    from pipeline.modelling.training_data import dialogues_at

    shown = progress or SilentProgress()
    root = workspace.root
    _claim(root)
    corpus, gold = root / "corpus", Workspace(root / "gold")
    seconds: dict[str, float] = {}
    stage = partial(_stage, workspace, seconds, shown)

    with stage("generate"):
        generate_corpus(corpus, GenerateRequest(size=request.size, seed=request.seed, force=True), progress=shown)
    with stage("import"):
        report = import_corpus(workspace, ImportRequest(corpus, "mmd", ignore_states=True), progress=shown)
        import_corpus(gold, ImportRequest(corpus, "mmd"))
        ingest_labels(gold, IngestRequest())
    answers = gold_states(gold, workspace.ontology())
    wanted = dialogues_at(request.labeled_ratio, report.as_json()["splits"]["train"])
    limit = max(1, wanted)  # at ratio 0 the way through Label Studio is shown all the same
    selection = Selection(named=None, limit=limit, split="train", seed=request.seed)
    with stage("export-for-labelling"):
        asked = ExportRequest(selection, to_file=root / "tasks.json")
        labels = IngestRequest(export=root / "export.json")
        if request.with_studio:
            _start_studio(workspace, shown)
            asked, labels = ExportRequest(selection, project=PROJECT), IngestRequest(projects=(PROJECT,))
        exported = export_for_labelling(workspace, asked, progress=shown)
    with stage("label (simulated)"):
        if request.with_studio:
            _label_in_studio(workspace, answers, request.seed, shown)
        else:
            answer_tasks(workspace, root / "tasks.json", root / "export.json", answers, seed=request.seed)
    with stage("ingest-labels"):
        ingest_labels(workspace, labels, progress=shown)
    with stage("train"):
        training = TrainRequest(labeled_ratio=request.labeled_ratio, seed=request.seed, epochs=request.epochs)
        record = train(workspace, training, progress=shown)
    with stage("evaluate"):
        seeing = evaluate(workspace, EvaluateRequest(record.run, split="test", candidates="all"), progress=shown)
        blind = evaluate(
            workspace, EvaluateRequest(record.run, split="test", candidates="all", images=False), progress=shown
        )
    with stage("recommend"):
        dialogue_id, turn = seeing.rows[0].queries[len(seeing.rows[0].queries) // 2]
        top = recommend(workspace, RecommendRequest(dialogue_id, run=record.run, turn=turn - 1, top=5))
    result = DemoReport(root, record.run, seeing, blind, exported.dialogues, top, seconds)
    write_atomic(root / _MARKER, orjson.dumps(result.as_json(), option=orjson.OPT_INDENT_2))
    return result


def _claim(root: Path) -> None:
    """Take the folder for a demo: an empty one, or an earlier demo's."""
    marker = root / _MARKER
    if root.exists() and not root.is_dir():
        raise UsageError("the demo needs a folder, this is a file", where=root)
    remove_left_over(root)
    if root.is_dir() and any(root.iterdir()) and not marker.is_file():
        raise UsageError(
            "this folder is not empty and no demo made it", where=root, fix="name another one: `semctl -w FOLDER demo`"
        )
    if marker.is_file():
        _clear(root)
    write_atomic(marker, b"{}\n")
    Workspace(root).create()


def _clear(root: Path) -> None:
    import shutil

    from annotate.label_studio.studio import Studio

    Studio.of_workspace(root).stop()
    for entry in root.iterdir():
        if entry.name in (_MARKER, "semctl.toml"):  # one's settings outlive a demo
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def _stage(workspace: Workspace, seconds: dict[str, float], progress: Progress, name: str) -> Iterator[None]:
    """Time one step of the demo; a stage must have written what it says that it writes."""
    progress.log(f"-- {name}")
    begun = time.monotonic()
    yield
    seconds[name] = time.monotonic() - begun
    for each in STAGES:
        missing = next((path for path in each.outputs(workspace) if not path.exists()), None)
        if each.command == name and missing is not None:
            raise CheckError(f"`semctl {name}` ended without writing all it should", where=missing)


def _start_studio(workspace: Workspace, progress: Progress) -> None:
    from annotate.label_studio.studio import Studio

    if os.environ.get("LABEL_STUDIO_URL"):  # one that is running already
        return
    Studio.of_workspace(workspace.root).start(workspace.settings().studio.port, progress)


def _label_in_studio(
    workspace: Workspace, gold: dict[tuple[str, int], BeliefState | None], seed: int, progress: Progress
) -> None:
    from annotate.label_studio.gateway import connect
    from annotate.simulated_annotators import Annotator, offered_choices

    gateway = connect(workspace.root)
    project = gateway.require_project(PROJECT)
    offered = offered_choices(gateway.label_config(project.id))
    annotator = Annotator(workspace.ontology(), gold, offered, 0.0, "1", seed)
    for task in progress.track(list(gateway.tasks(project)), "annotating"):
        result = annotator.result(task.data)
        gateway.create_annotation(task.id, result, lead_time=annotator.lead_time(task.data, result))
