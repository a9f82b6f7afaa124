"""Export assigned to several annotators: one project (or file) each, and nobody sees what others answer.

What is assigned is written down first, then pushed, so that a run that was killed is completed by the next one. Later
exports under the same name assign only what is new; see :mod:`annotate.assignment.assignment` for how,
:mod:`pipeline.labelling.assignment_record` for what is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.assignment.assignment import assign, reassign, shares_of, turns_of
from pipeline.batches import dialogue_of, read_batches
from pipeline.chosen_dialogues import Selection, choose_dialogues, read_dialogues
from pipeline.labelling.assignment_record import (
    Assignment,
    AssignmentRequest,
    agreed,
    assignment_file,
    assignment_name,
    learn_annotators,
    part_place,
)
from pipeline.labelling.export_for_labelling import ExportRequest, ExportResult, export_for_labelling
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import locked
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.tables import TURNS, read_table

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway, Project
    from annotate.prelabels.llm_prelabels import LlmReport


@dataclass(frozen=True)
class AssignedPart:
    """What one annotator has after an export."""

    annotator: str
    place: str  # title of the project, or path of the file
    dialogues: int
    user_turns: int
    export: ExportResult | None  # what was pushed; None when nothing is assigned to them, and in a dry run


@dataclass(frozen=True)
class AssignedExport:
    """What an assigned export did."""

    name: str
    is_file: bool
    parts: tuple[AssignedPart, ...]  # one for each annotator who has not left
    dialogues: int  # different dialogues assigned under this name, in all
    dialogues_new: int  # those assigned now
    shared: int  # those of all that several annotators have
    pairs: Mapping[tuple[str, str], int]  # two annotators -> dialogues they share
    reassigned: int = 0  # dialogues that went to others now
    handed_to_nobody: int = 0  # those of them that every other annotator has already
    removed: int = 0  # tasks taken out of the project of who left
    dry_run: bool = False  # nothing of this was done: it is what the same command does without ``--dry-run``
    llm: LlmReport | None = None  # what asking a language model took, for all parts together

    @property
    def exports(self) -> list[ExportResult]:
        return [part.export for part in self.parts if part.export is not None]

    def as_json(self) -> dict[str, Any]:
        kind = "file" if self.is_file else "project"
        return {
            kind: self.name,
            "tasks_new": sum(export.tasks_new for export in self.exports),
            "tasks_present": sum(export.tasks_present for export in self.exports),
            **json_form(self, "name", "is_file", "parts", "pairs", "reassigned", "removed"),
            "annotators": [
                {kind: part.place, **json_form(part, "place", "export"), "export": _without_points(part.export)}
                for part in self.parts
            ],
            "pairs": [{"annotators": list(pair), "dialogues": count} for pair, count in self.pairs.items()],
            "handed_over": self.reassigned,
            "tasks_removed": self.removed,
            "open_points": self.exports[0].as_json()["open_points"] if self.exports else [],
        }


def _without_points(export: ExportResult | None) -> dict[str, Any] | None:
    shown = {} if export is None else export.as_json()
    return {name: value for name, value in shown.items() if name != "open_points"} or None


def is_assigned(workspace: Workspace, request: ExportRequest) -> bool:
    """Whether it assigns dialogues, or something was assigned under its name before."""
    name = assignment_name(request.project, request.to_file)
    return request.assignment is not None or assignment_file(workspace.labelling, name).is_file()


def export_assigned(
    workspace: Workspace, request: ExportRequest, *, progress: Progress = SilentProgress()
) -> AssignedExport:
    """Assign what of the selection was not assigned yet, and push to everybody whatever of theirs is not there.

    What was assigned earlier under this name stays assigned, whether it is in the selection or not.

    Raises:
        UsageError: terms that cannot be, or another name's; see :func:`pipeline.labelling.assignment_record.agreed`.
        InputError, ServiceError: as :func:`pipeline.labelling.export_for_labelling.export_for_labelling`.
    """
    asked, to_file = request.assignment or AssignmentRequest(), request.to_file
    name = assignment_name(request.project, to_file)
    labelling = workspace.labelling
    with locked(labelling / "deals" / ".lock"):
        earlier = Assignment.read(labelling, name)
        people, terms = agreed(workspace, name, earlier, asked, is_file=to_file is not None)
        places = {each: part_place(name, each, to_file) for each in people}
        record = earlier or Assignment(name, to_file is not None, terms.redundancy, terms.seed)
        record = _same_places(record.with_annotators(people, places), places)
        nobody: list[str] = []
        unfinished: list[str] = []
        if asked.leaving is not None:
            unfinished = _unfinished(workspace, record, asked.leaving)
            record, nobody = _leave(record, asked.leaving, unfinished, people)
        # the seed of the assignment orders later selections too: a larger -n adds to a smaller one
        selection = request.selection and replace(request.selection, seed=terms.seed)
        new = _new_dialogues(workspace, record, selection) if selection else {}
        if new:
            record = replace(record, rounds=(*record.rounds, assign(new, people, terms, record.rounds)))
        record = replace(record, pushed=False)
        if not asked.dry_run:
            request = _with_replies(workspace, record, request, progress)
            record.write(labelling)
        removed = 0 if record.is_file else _remove_reassigned(workspace, record, progress, dry_run=asked.dry_run)
        if asked.dry_run:
            parts = _parts(record)
        else:
            parts = _push(workspace, record, request, progress)
            if not record.is_file:
                _learn(workspace, parts)
            replace(record, pushed=True).write(labelling)
    shares = shares_of(record.rounds)
    return AssignedExport(
        name=name,
        is_file=record.is_file,
        parts=parts,
        dialogues=len(record.assigned()),
        dialogues_new=len(new),
        shared=sum(len(who) > 1 for round_ in record.rounds for who in round_.assigned_to.values()),
        pairs={pair: shares[pair] for pair in sorted(shares)},
        llm=None if request.prelabels is None else request.prelabels.asked,
        reassigned=len(unfinished),
        handed_to_nobody=len(nobody),
        removed=removed,
        dry_run=asked.dry_run,
    )


def _same_places(record: Assignment, places: Mapping[str, str]) -> Assignment:
    for part in record.parts:
        if places.get(part.annotator, part.place) != part.place:
            raise UsageError(
                f"'{record.name}' was assigned to other files before", where=part.place, fix="use another file name"
            )
    titles = Counter(part.place for part in record.parts)
    twice = [title for title, count in titles.items() if count > 1]
    if twice:
        raise UsageError(f"two annotators would get the project '{twice[0]}'", fix="use a shorter --project name")
    return record


def _leave(
    record: Assignment, leaving: str, unfinished: Sequence[str], people: Sequence[str]
) -> tuple[Assignment, list[str]]:
    rounds, nobody = reassign(record.rounds, leaving, unfinished, people, record.seed)
    gone = sorted({*record.reassigned.get(leaving, ()), *unfinished})
    parts = tuple(replace(part, has_left=part.has_left or part.annotator == leaving) for part in record.parts)
    changed = replace(record, parts=parts, rounds=tuple(rounds), reassigned={**record.reassigned, leaving: tuple(gone)})
    return changed, nobody


def _new_dialogues(workspace: Workspace, record: Assignment, selection: Selection) -> dict[str, int]:
    """Dialogue -> user turns, of those of the selection that were not assigned; without those where no user speaks."""
    assigned = record.assigned()
    wanted = [dialogue for dialogue in choose_dialogues(workspace.turns, selection) if dialogue not in assigned]
    users = read_table(workspace.turns, TURNS, columns=["dialogue_id"], filters=[("speaker", "==", "user")])
    turns = Counter(users["dialogue_id"].to_pylist())
    return {dialogue: turns[dialogue] for dialogue in wanted if turns[dialogue]}


def _window(workspace: Workspace, record: Assignment) -> int:
    """User turns in one task of the parts exported before; 0 when there are none."""
    places = {part.place for part in record.parts}
    return next((each.window for each in read_batches(workspace.labelling) if str(each.destination) in places), 0)


def _push(
    workspace: Workspace, record: Assignment, request: ExportRequest, progress: Progress
) -> tuple[AssignedPart, ...]:
    parts, window = [], request.window or _window(workspace, record)
    for part in _parts(record):
        export = None
        if part.dialogues:
            progress.log(f"{part.annotator}: {part.dialogues} dialogues, {part.user_turns} user turns")
            chosen = Selection(exactly=tuple(record.dialogues_of(part.annotator)))
            theirs = ExportRequest(
                chosen,
                project=None if record.is_file else part.place,
                to_file=Path(part.place) if record.is_file else None,
                window=window,
                prelabel=request.prelabel,
                llm=request.llm,
                prelabels=request.prelabels,
                annotator=part.annotator,
            )
            export = export_for_labelling(workspace, theirs, progress=progress)
            window = export.window
        parts.append(replace(part, export=export))
    return tuple(parts)


def _with_replies(
    workspace: Workspace, record: Assignment, request: ExportRequest, progress: Progress
) -> ExportRequest:
    """The request, with pre-labels of a language model for all parts at once: one estimate, which the caps hold for.

    Asked about is what is assigned and, in a project, not pushed yet.
    """
    if request.prelabel != "llm":
        return request
    from pipeline.labelling.prelabelling import prelabel_model

    pushed: dict[str, set[str]] = {}
    for batch in () if record.is_file else read_batches(workspace.labelling):
        pushed.setdefault(str(batch.destination), set()).update(map(dialogue_of, batch.uids))
    theirs = {part.place: record.dialogues_of(part.annotator) for part in record.parts if not part.has_left}
    every = sorted({each for dialogues in theirs.values() for each in dialogues})
    wanted = {each for place, dialogues in theirs.items() for each in dialogues if each not in pushed.get(place, set())}
    if not wanted:
        return request
    rows = read_dialogues(workspace.turns, every, progress)
    return replace(
        request, prelabels=prelabel_model(workspace, "llm", rows, progress, options=request.llm, wanted=wanted)
    )


def _parts(record: Assignment) -> tuple[AssignedPart, ...]:
    """What everybody who has not left was assigned, nothing of it pushed yet."""
    loads = turns_of(record.rounds)
    return tuple(
        AssignedPart(part.annotator, part.place, len(record.dialogues_of(part.annotator)), loads[part.annotator], None)
        for part in record.parts
        if not part.has_left
    )


def _learn(workspace: Workspace, parts: Sequence[AssignedPart]) -> None:
    from annotate.label_studio.gateway import connect

    gateway = connect(workspace.root)
    projects = {
        part.export.destination.project_id: part.place
        for part in parts
        if part.export is not None and part.export.destination.project_id is not None
    }
    learn_annotators(workspace, gateway, projects).write(workspace.labelling)


def _unfinished(workspace: Workspace, record: Assignment, annotator: str) -> list[str]:
    """Dialogues of an annotator of which a task has no answer, or only a skipped one, in the order of assignment.

    They are reassigned whole, since an update is relative to the turns before it. Answers given so far stay where they
    are, and are taken in like any others.
    """
    part = record.part(annotator)
    gateway, project = _project(workspace, part.place if part else "")
    assigned = record.dialogues_of(annotator)
    if project is None:
        return assigned
    wanted = Counter(map(dialogue_of, _pushed(workspace, project)))
    answered = Counter(task.dialogue_id for task in gateway.activity(project) if task.is_done)
    return [each for each in assigned if not wanted[each] or answered[each] < wanted[each]]


def _remove_reassigned(workspace: Workspace, record: Assignment, progress: Progress, *, dry_run: bool) -> int:
    """Take tasks that nobody touched out of the projects of those who handed them over; how many there were.

    What was begun, answered or skipped stays. With ``dry_run`` they are only counted.
    """
    removed = 0
    for annotator, dialogues in record.reassigned.items():
        part = record.part(annotator)
        gone = set(dialogues).difference(record.dialogues_of(annotator))
        if part is None or not gone:
            continue
        gateway, project = _project(workspace, part.place)
        if project is None:
            continue
        uids = [uid for uid in _pushed(workspace, project) if dialogue_of(uid) in gone]
        there = {task.id for task in gateway.tasks(project, uids)}
        untouched = sorted(there - {task.id for task in gateway.activity(project)})
        removed += len(untouched)
        if untouched and not dry_run:
            progress.log(f"{annotator} left: {len(untouched)} tasks that nobody touched are taken out")
            gateway.delete_tasks(project, untouched)
    return removed


def _project(workspace: Workspace, title: str) -> tuple[Gateway, Project | None]:
    from annotate.label_studio.gateway import connect

    gateway = connect(workspace.root)
    return gateway, gateway.find_project(title)


def _pushed(workspace: Workspace, project: Project) -> list[str]:
    """The uids of the tasks that were pushed to a project."""
    batches = read_batches(workspace.labelling)
    return [uid for batch in batches if batch.destination.project == project.title for uid in batch.uids]
