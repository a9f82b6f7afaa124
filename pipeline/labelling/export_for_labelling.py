"""Export: dialogues of the workspace as labelling tasks, into a Label Studio project or a file.

Which dialogues: those named in a file, in its order, else the first N of a seeded hash order, so that a larger N always
holds a smaller one. Of a list that names single turns, each is a task that asks for the whole state after it, with the
state predicted for it filled in.

What was exported before, to the same place, is not exported again; every export that adds something writes
``labelling/batch-NNNN/``, its manifest last, and a batch without a complete manifest is done over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import Asks, TaskStyle, dialogue_tasks, state_tasks
from annotate.tasks.guidelines import guideline_html, guideline_markdown
from annotate.tasks.open_points import OpenPoint, open_points
from pipeline.batches import Batch, Destination, ToProjectOrFile, new_batch, next_batch_folder, read_batches
from pipeline.chosen_dialogues import Selection, choose_dialogues, named_turns, read_dialogues
from pipeline.labelling.assignment_record import AssignmentRequest
from pipeline.labelling.live_configuration import configuration, note_interface_version
from pipeline.labelling.task_images import TaskImages
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError
from schemas.files import locked
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from annotate.prelabels.llm_prelabels import LlmReport
    from annotate.prelabels.prelabels import PrelabelModel
    from pipeline.labelling.prelabelling import LlmOptions


@dataclass(frozen=True)
class ExportRequest(ToProjectOrFile):
    """What is to be exported, and where to: into a project or into a file.

    Attributes:
        selection: which dialogues, or turns; None: none that is new, when what was assigned is exported again.
        project, to_file: of assigned work, what the project or file of each one begins with.
        window: user turns in one task; 0 takes the setting, which may leave the choice to semctl.
        prelabel: what labels new tasks before people do, see :mod:`pipeline.labelling.prelabelling`; None: nothing, and
            the lexicon where whole states are asked for.
        llm: which language model that may be, and what it may cost.
        prelabels: what ``prelabel`` names, where it was made already; None: it is made here.
        annotator: whom the tasks are assigned to, see :mod:`pipeline.labelling.assigned_export`.
        assignment: among whom the dialogues are shared out; None: nobody.
    """

    selection: Selection | None = field(default_factory=Selection)
    window: int = 0
    prelabel: str | None = None
    llm: LlmOptions | None = None
    prelabels: PrelabelModel | None = None
    annotator: str | None = None
    assignment: AssignmentRequest | None = None


@dataclass(frozen=True)
class ExportResult:
    """What an export did."""

    destination: Destination
    tasks_new: int  # tasks added by this run
    tasks_present: int  # tasks of the selection that were there already
    dialogues: int
    user_turns: int
    window: int
    batch: int | None  # number of the batch written, or None when there was nothing to add
    values_typed: int  # ontology values too rare to be offered, which annotators type
    images: Mapping[str, int]  # how many images are shown, and how many are not there
    url: str | None = None
    doubles_removed: int = 0  # doubled tasks of an interrupted run that were deleted
    images_problem: str | None = None  # why the server cannot show the images, or None
    outdated: int = 0  # tasks in the project that were made from another wording of their dialogue
    prelabel: str | None = None  # version of the model that labelled the new tasks before people do
    llm: LlmReport | None = None  # what asking a language model took, where one was asked for this export
    # what the guideline decides by default, until the owner of the ontology does
    open_points: tuple[OpenPoint, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**self.destination.as_json(self.url), **json_form(self, "destination", "url")}


@dataclass
class _Prepared:
    ontology: Ontology
    config: labels.LabelConfig
    window: int
    annotator: str | None
    dialogues: Mapping[str, Sequence[Mapping[str, Any]]]
    images: TaskImages
    tasks: list[dict[str, Any]]
    asks: Asks
    prelabel: str | None = None
    llm: LlmReport | None = None

    @property
    def uids(self) -> list[str]:
        return [task["data"]["uid"] for task in self.tasks]


def export_for_labelling(
    workspace: Workspace, request: ExportRequest, *, progress: Progress = SilentProgress()
) -> ExportResult:
    """Put the tasks of the selection into a project, which gets those that it lacks, or all of them into a file.

    A project is made when there is none of that name. Images are linked below ``labelling/files`` and addressed as
    Label Studio serves local files. Imported by hand, a file's tasks need a project with
    ``labelling/batch-NNNN/label_config.xml``, and for the images a server whose
    ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`` is ``labelling/files`` (that of ``semctl studio start`` is) and a Local
    storage of ``labelling/files/pictures`` in that project; with a project all of this is done here.

    Raises:
        InputError: nothing to export, unknown dialogues, a window that does not fit, tables that cannot be read; or the
            project is not one of semctl, or was edited by hand.
        ServiceError: Label Studio is down or refuses the key; what was pushed stays, and the next run completes it.
    """
    if request.project is not None:
        return _to_project(workspace, request, request.project, progress)
    return _to_file(workspace, request, progress)


def _to_file(workspace: Workspace, request: ExportRequest, progress: Progress) -> ExportResult:
    destination = Destination(file=str(request.file.resolve()))
    with locked(workspace.labelling / ".lock"):
        batches = read_batches(workspace.labelling)
        earlier = [batch for batch in batches if batch.destination == destination]
        prepared = _prepare(workspace, request, earlier, progress)
        recorded = {uid for batch in earlier if batch.config_sha256 == prepared.config.sha256 for uid in batch.uids}
        new = [task for task in prepared.tasks if task["data"]["uid"] not in recorded]
        _prelabel(workspace, prepared, prepared.tasks, request, progress)
        with _batch(workspace, prepared, new, destination) as number:
            request.write(prepared.tasks)
    return _result(prepared, destination, len(new), number)


def _to_project(workspace: Workspace, request: ExportRequest, title: str, progress: Progress) -> ExportResult:
    from annotate.label_studio.gateway import connect

    with locked(workspace.labelling / ".lock"):
        batches = read_batches(workspace.labelling)
        gateway = connect(workspace.root)
        earlier = [batch for batch in batches if batch.destination.project == title]
        prepared = _prepare(workspace, request, earlier, progress)
        is_new = request.prelabel is not None and gateway.find_project(title) is None
        if is_new:  # before it is made: pre-labels that cannot be had leave no empty project
            _prelabel(workspace, prepared, prepared.tasks, request, progress)
        project = gateway.ensure_project(title, prepared.config, guideline_html(prepared.ontology))
        destination = Destination(project=title, project_id=project.id, url=gateway.url)
        note_interface_version(workspace.labelling, project.id, gateway.url, prepared.ontology.version, batches)
        problem = prepared.images.serve(gateway, project.id)
        there = {task.uid: task.data for task in gateway.tasks(project, prepared.uids)} if project.tasks else {}
        _same_windows(prepared, there, title)
        recorded = {
            uid for batch in earlier if batch.destination.project_id == project.id for uid in batch.uids if uid in there
        }
        # tasks on the server that no manifest names were pushed by a run that was interrupted
        unrecorded = [task for task in prepared.tasks if task["data"]["uid"] not in recorded]
        new = [task for task in unrecorded if task["data"]["uid"] not in there]
        was_interrupted = len(new) < len(unrecorded) or next_batch_folder(workspace.labelling).exists()
        if not is_new:
            _prelabel(workspace, prepared, unrecorded, request, progress)
        with _batch(workspace, prepared, unrecorded, destination) as number:
            gateway.push(project, new, progress)
            doubles = gateway.remove_doubles(project, prepared.uids) if was_interrupted else 0
    here = [task["data"] for task in prepared.tasks if task["data"]["uid"] in there]
    outdated = sum(there[data["uid"]].get("dialogue_sha256") != data["dialogue_sha256"] for data in here)
    return _result(
        prepared,
        destination,
        len(new),
        number,
        url=f"{gateway.page_url}/projects/{project.id}/data",
        doubles_removed=doubles,
        images_problem=problem,
        outdated=outdated,
    )


def _prepare(workspace: Workspace, request: ExportRequest, earlier: Sequence[Batch], progress: Progress) -> _Prepared:
    settings = workspace.settings().labelling
    ontology = workspace.ontology()
    config = configuration(ontology, settings)
    selection = request.selection or Selection()
    single = {} if selection.named is None or selection.exactly else named_turns(selection.named, workspace.turns)
    asks: Asks = "state" if single else "update"
    if earlier and earlier[-1].asks != asks:
        kinds = {"state": "single turns", "update": "whole dialogues"}
        raise LabelError(
            f"'{earlier[-1].destination}' holds {kinds[earlier[-1].asks]}, {kinds[asks]} are to be added",
            fix="export them to another place",
        )
    if single and request.window > 1:
        raise UsageError(f"--window {request.window}: a single turn is a task by itself", fix="leave --window out")
    used = earlier[-1].window if earlier else 0
    asked = 1 if single else request.window or used or settings.window
    if used and asked != used:
        raise LabelError(
            f"'{earlier[-1].destination}' holds windows of {used} user turns, {asked} were asked for",
            fix=f"use --window {used}, or export to another place",
        )
    size = labels.window_size(config, max_choices=settings.max_choices, asked=0 if used else asked)
    window = used or size
    chosen = list(single)[: selection.limit] if single else choose_dialogues(workspace.turns, selection)
    dialogues = read_dialogues(workspace.turns, chosen, progress)
    images = TaskImages.link(workspace, dialogues, progress)
    style = TaskStyle(window, ontology.version, config.sha256, images.address, images.names)
    tasks = [
        task
        for dialogue_id in chosen
        for task in (
            state_tasks(dialogues[dialogue_id], single[dialogue_id], style)
            if single
            else dialogue_tasks(dialogues[dialogue_id], style)
        )
    ]
    if request.annotator is not None:
        for task in tasks:
            task["data"]["annotator"] = request.annotator
    if not tasks:
        raise LabelError("no user turn to label in the dialogues chosen", where=workspace.turns)
    return _Prepared(ontology, config, window, request.annotator, dialogues, images, tasks, asks)


def _prelabel(
    workspace: Workspace, prepared: _Prepared, tasks: list[dict[str, Any]], request: ExportRequest, progress: Progress
) -> None:
    prelabel = request.prelabel or ("lexicon" if prepared.asks == "state" else None)
    if prelabel is None or not tasks:
        return
    from pipeline.labelling.prelabelling import add_predictions, prelabel_model

    model = request.prelabels
    if model is None:
        wanted = {task["data"]["dialogue_id"] for task in tasks}
        model = prelabel_model(workspace, prelabel, prepared.dialogues, progress, options=request.llm, wanted=wanted)
        prepared.llm = model.asked
    add_predictions(model, prelabel, tasks, prepared.dialogues, prepared.config, prepared.ontology, progress)
    prepared.prelabel = model.version


def _same_windows(prepared: _Prepared, there: Mapping[str, Mapping[str, Any]], title: str) -> None:
    for task in prepared.tasks:
        data = task["data"]
        found = there.get(data["uid"])
        if found is None or found.get("dialogue_sha256") != data["dialogue_sha256"]:
            continue
        if [turn["turn"] for turn in found.get("user_turns", [])] != [turn["turn"] for turn in data["user_turns"]]:
            raise LabelError(
                f"the project '{title}' already has this dialogue, split into tasks of another size",
                where=data["uid"],
                fix="use the --window of the earlier export, or another project name",
            )


def _batch(
    workspace: Workspace, prepared: _Prepared, tasks: Sequence[Mapping[str, Any]], destination: Destination
) -> AbstractContextManager[int | None]:
    return new_batch(
        workspace.labelling,
        tasks,
        destination,
        config=prepared.config,
        ontology=prepared.ontology,
        guideline=guideline_markdown(prepared.ontology),
        window=prepared.window,
        annotator=prepared.annotator,
        prelabel=prepared.prelabel,
        asks=None if prepared.asks == "update" else prepared.asks,
    )


def _result(
    prepared: _Prepared, destination: Destination, tasks_new: int, batch: int | None, **more: Any
) -> ExportResult:
    return ExportResult(
        destination=destination,
        tasks_new=tasks_new,
        tasks_present=len(prepared.tasks) - tasks_new,
        dialogues=len({task["data"]["dialogue_id"] for task in prepared.tasks}),
        user_turns=sum(len(task["data"]["user_turns"]) for task in prepared.tasks),
        window=prepared.window,
        batch=batch,
        values_typed=prepared.config.values_typed,
        images=prepared.images.counts(),
        prelabel=prepared.prelabel,
        llm=prepared.llm,
        open_points=tuple(open_points(prepared.ontology)),
        **more,
    )
