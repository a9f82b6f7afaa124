"""How far the labelling is: from the server while it answers, else from what was ingested last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.annotations.annotation import read_annotations
from annotate.assignment.annotators import NOBODY, Annotators
from annotate.assignment.progress_report import (
    Answer,
    ProgressReport,
    TouchedTask,
    WantedTask,
    WorkPart,
    answers_of,
    report_progress,
)
from annotate.exports.identity import is_address, numbered_name
from annotate.label_studio.activity_cache import ActivityCache
from annotate.resolution.answers import newest_versions
from pipeline.batches import Batch, batch_folder, read_batches
from pipeline.labelling.assignment_record import Assignment, learn_annotators, read_assignments
from pipeline.workspace import Workspace
from schemas.errors import LabelError
from schemas.files import read_json, taken_apart
from schemas.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway, Project

Touched = Mapping[str, TouchedTask]


class LabellingProgress:
    """Asks how far the labelling is, as often as one likes; each time only for what changed.

    Args:
        project: only the work of this name, assigned or not.
    """

    def __init__(self, workspace: Workspace, project: str | None = None, progress: Progress | None = None) -> None:
        self._workspace = workspace
        self._project = project
        self._progress = progress or SilentProgress()
        self._cache = ActivityCache(workspace.labelling / "activity")
        self._known_annotators: Annotators | None = None
        self._found: dict[str, Project | None] = {}
        self._wanted: dict[int, dict[str, WantedTask]] = {}

    def now(self) -> ProgressReport:
        """The report, from the server."""
        batches = self._batches()
        notes: list[str] = []
        touched: dict[int, Touched] = {}
        if any(batch.destination.project for batch in batches):
            gateway = self._gateway
            known_annotators = self._learned(gateway, batches)
            projects = self._projects(gateway, batches)
            answers = gateway.answer_counts([project.id for project in projects.values() if project])
            by_title: dict[str, Touched] = {}
            for title, project in projects.items():
                if project is None or project.id not in answers:
                    notes.append(f"the project '{title}' is not on {gateway.url}")
                    by_title[title] = {}
                else:
                    by_title[title] = self._ask(gateway, project, answers[project.id], known_annotators)
            touched = {each.number: by_title[each.destination.project] for each in batches if each.destination.project}
        in_files = [batch for batch in batches if not batch.destination.project]
        if in_files:
            touched |= self._ingested(in_files)
            notes.append("tasks exported as files are counted as ingested: nobody asks the servers they went to")
        source = self._gateway.url if len(in_files) < len(batches) else "ingested"
        return report_progress(self._parts(batches, touched), now=datetime.now(UTC), source=source, notes=notes)

    def as_ingested(self, why: str) -> ProgressReport:
        """The report from what was ingested last, which knows of neither drafts nor skipped tasks."""
        batches = self._batches()
        ledger = self._workspace.label_ledger
        when = datetime.fromtimestamp(ledger.stat().st_mtime, UTC) if ledger.is_file() else None
        known = f"ingested at {when:%Y-%m-%d %H:%M} UTC" if when else "nothing was ingested yet"
        notes = [f"{why}; {known}: drafts and skipped tasks are not known"]
        parts = self._parts(batches, self._ingested(batches))
        return report_progress(parts, now=datetime.now(UTC), source="ingested", notes=notes)

    def label_times(self) -> list[tuple[float | None, int]]:
        """Seconds and user turns of every answer ingested, to tasks that ask what each turn of a dialogue changes."""
        batches = [
            each for each in read_batches(self._workspace.labelling) if (each.role, each.asks) == ("label", "update")
        ]
        parts = self._parts(batches, self._ingested(batches))
        return [(answer.seconds, turns) for part in parts for answer, turns in answers_of(part)]

    def _batches(self) -> list[Batch]:
        batches = read_batches(self._workspace.labelling)
        first = f"run `semctl export-for-labelling --project {self._project or 'NAME'}` first"
        if not batches:
            raise LabelError("nothing was exported for labelling yet", where=self._workspace.labelling, fix=first)
        if self._project is None:
            return batches
        assignment = Assignment.read(self._workspace.labelling, self._project)
        titles = {self._project, *(part.place for part in (assignment.parts if assignment else ()))}
        chosen = [batch for batch in batches if str(batch.destination) in titles]
        if not chosen:
            raise LabelError(f"nothing was exported as '{self._project}'", fix=first)
        return chosen

    @cached_property
    def _gateway(self) -> Gateway:
        from annotate.label_studio.gateway import connect

        return connect(self._workspace.root)

    def _learned(self, gateway: Gateway, batches: list[Batch]) -> Annotators:
        if self._known_annotators is None:
            found = {project.id: project.title for project in self._projects(gateway, batches).values() if project}
            self._known_annotators = learn_annotators(self._workspace, gateway, found)
        return self._known_annotators

    def _projects(self, gateway: Gateway, batches: list[Batch]) -> Mapping[str, Project | None]:
        """Title -> project; looked up once, by number where it still has that title."""
        if not self._found:
            places = [batch.destination for batch in batches]
            numbers = {place.project_id for place in places if place.project_id and place.url == gateway.url}
            there = {project.title: project for project in gateway.projects_numbered(sorted(numbers)).values()}
            for title in dict.fromkeys(place.project for place in places if place.project):
                self._found[title] = there.get(title) or gateway.find_project(title)
        return self._found

    def _ask(self, gateway: Gateway, project: Project, answers: int, known_annotators: Annotators) -> Touched:
        named: dict[int | None, str | None] = {}
        touched = {}
        for task in self._cache.read(gateway, project, answers, self._progress):
            for answer in task.answers:
                if answer.by not in named:
                    number = None if answer.by is None else str(answer.by)
                    known = known_annotators.annotator(gateway.url, str(project.id), number)
                    named[answer.by] = known or (number and numbered_name(gateway.url, number))
            given = tuple(
                # of nobody known: of nobody else either
                Answer(named[each.by] or f"{NOBODY}{task.id}/{n}", each.seconds, _time(each.at), each.skipped)
                for n, each in enumerate(task.answers)
            )
            touched[task.uid] = TouchedTask(given, task.has_draft)
        return touched

    def _ingested(self, batches: list[Batch]) -> dict[int, Touched]:
        """Batch -> uid -> what the annotations of the workspace say."""
        known_annotators = Annotators.read(self._workspace.labelling)
        people = (each for each in read_annotations(self._workspace.annotations) if not each.is_corpus)
        answers: dict[tuple[str | None, str], list[tuple[str | None, str, Answer]]] = defaultdict(list)
        for annotation in map(known_annotators.named, newest_versions(people)):
            if annotation.task_uid is not None:
                said = Answer(annotation.annotator, annotation.lead_time, _time(annotation.updated_at))
                answers[annotation.role, annotation.task_uid].append(
                    (annotation.server, annotation.project or "", said)
                )
        known = read_batches(self._workspace.labelling)
        ours = {(each.destination.url, str(each.destination.project_id)) for each in known if each.destination.project}
        in_files = {(each.role, uid) for each in known if not each.destination.project for uid in each.uids}

        def is_of(batch: Batch, uid: str, server: str | None, project: str, answer: Answer) -> bool:
            if batch.destination.project_id is None:
                elsewhere = is_address(server) and not ours.isdisjoint({(server, project), (None, project)})
                return not elsewhere and batch.annotator in (None, answer.annotator)
            if project != str(batch.destination.project_id):
                return False
            # from who knows which server: an answer to the tasks that went out as a file, if they did
            return server == batch.destination.url if is_address(server) else (batch.role, uid) not in in_files

        found: dict[int, Touched] = {}
        for batch in batches:
            touched = {}
            for uid in batch.uids:
                given = answers.get((batch.role, uid), ())
                if theirs := tuple(each[-1] for each in given if is_of(batch, uid, *each)):
                    touched[uid] = TouchedTask(theirs)
            found[batch.number] = touched
        return found

    def _parts(self, batches: list[Batch], touched: Mapping[int, Touched]) -> list[WorkPart]:
        deals = {
            part.place: (assignment, part)
            for assignment in read_assignments(self._workspace.labelling)
            for part in assignment.parts
        }
        parts = []
        for batch in batches:
            wanted, done = self._tasks(batch), touched.get(batch.number, {})
            place = str(batch.destination)
            assignment, part = deals.get(place, (None, None))
            if assignment is not None and part is not None:
                theirs = set(assignment.dialogues_of(part.annotator))
                # what was reassigned is theirs only as far as they had done it
                answered = {uid for uid, task in done.items() if task.answers}
                wanted = {uid: task for uid, task in wanted.items() if task.dialogue_id in theirs or uid in answered}
            annotator = part.annotator if part else batch.annotator
            left = part is not None and part.has_left
            parts.append(WorkPart(batch.number, place, wanted, done, batch.role, annotator, has_left=left))
        return parts

    def _tasks(self, batch: Batch) -> dict[str, WantedTask]:
        if batch.number not in self._wanted:
            file = batch_folder(self._workspace.labelling, batch.number) / "tasks.json"
            self._wanted[batch.number] = _read_tasks(file)
        return self._wanted[batch.number]


def _read_tasks(file: Path) -> dict[str, WantedTask]:
    tasks: Any = read_json(file, error=LabelError)
    with taken_apart(file, error=LabelError, what="not a list of tasks", fix="put that file back"):
        data = [task["data"] for task in tasks]
        return {str(each["uid"]): WantedTask(str(each["dialogue_id"]), len(each["user_turns"])) for each in data}


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
