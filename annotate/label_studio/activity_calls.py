"""What annotators did in a project, asked with light questions: who answered which task, when, and in what time.

The server works out only the columns that a view shows, so the question hides all others: half a millisecond a task
instead of two to four. Times of tasks with several answers are asked for one by one, since a listing tells their mean.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from annotate.label_studio.project_calls import Project, ProjectCalls
from annotate.label_studio.session import ONCE, time_text
from schemas.files import write_atomic
from schemas.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway


_LIST_PAGE = 500
_DELETE_TASKS = 500
_PROJECTS = 100
_SHOWN = ("completed_at", "annotators", "avg_lead_time", "draft_exists")
_HIDDEN = tuple(
    f"tasks:{name}"
    for name in (
        "id",
        "inner_id",
        "total_annotations",
        "cancelled_annotations",
        "total_predictions",
        "annotations_results",
        "annotations_ids",
        "predictions_score",
        "predictions_model_versions",
        "predictions_results",
        "file_upload",
        "storage_filename",
        "created_at",
        "updated_at",
        "updated_by",
        "data",
    )
)
_COLUMNS = ("id", "data", "total_annotations", "cancelled_annotations", "updated_at", *_SHOWN)


def _filter(column: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


_ANSWERED = [
    _filter(column, "greater_or_equal", "Number", 1) for column in ("total_annotations", "cancelled_annotations")
]
_DRAFTED = _filter("draft_exists", "equal", "Boolean", True)


@dataclass(frozen=True)
class Answered:
    """One answer to a task."""

    by: int | None  # Label Studio's number of who gave it
    seconds: float | None  # how long the page was open for it (``lead_time``), None where nobody measured it
    at: str  # when it was last sent, UTC in ISO 8601
    skipped: bool  # whether the task was skipped


@dataclass(frozen=True)
class TaskActivity:
    """What became of a task."""

    id: int  # its number on the server
    uid: str  # semctl's name of it
    dialogue_id: str  # its dialogue
    updated_at: str  # when the server says that it changed last
    answers: tuple[Answered, ...]  # all answers, skipped ones too
    has_draft: bool  # whether somebody began an answer and did not send it

    @property
    def is_done(self) -> bool:
        """Whether it has an answer that was not skipped."""
        return any(not answer.skipped for answer in self.answers)

    @property
    def is_skipped(self) -> bool:
        """Whether everybody who saw it skipped it."""
        return bool(self.answers) and not self.is_done


class ActivityCalls(ProjectCalls):
    """What semctl asks about the work of annotators."""

    def projects_numbered(self, numbers: Sequence[int]) -> dict[int, Project]:
        """The projects that have these numbers, without their configurations, in one question a hundred."""
        found = {}
        for start in range(0, len(numbers), _PROJECTS):
            ids = ",".join(str(number) for number in numbers[start : start + _PROJECTS])
            with self._asking("look for projects"):
                page = self._client.projects.list(
                    ids=ids, include="id,title,created_at,task_number", page=1, page_size=_PROJECTS
                )
                for item in page.items or ():
                    made = time_text(getattr(item, "created_at", None))
                    found[item.id] = Project(item.id, item.title, "", item.task_number or 0, created_at=made)
        return found

    def answer_counts(self, numbers: Sequence[int]) -> dict[int, int]:
        """Project number -> its answers, skipped ones too, as the server counts them; cheap."""
        counts = {}
        for start in range(0, len(numbers), _PROJECTS):
            ids = ",".join(str(number) for number in numbers[start : start + _PROJECTS])
            with self._asking("count answers"):
                page = self._client.projects.list_counts(
                    ids=ids, include="id,total_annotations_number,skipped_annotations_number", page_size=_PROJECTS
                )
                for item in page.results:
                    counts[item.id] = (item.total_annotations_number or 0) + (item.skipped_annotations_number or 0)
        return counts

    def last_change(self, project: Project) -> str:
        """When a task of the project changed last, as the server says; empty for a project without tasks."""
        with self._asking(f"ask what was done in the project '{project.title}'"):
            query = _query([], ordering=["-tasks:updated_at"])
            listed = self._tasks.list(project=project.id, include="id,updated_at", query=query, page=1, page_size=1)
            return max((time_text(item.updated_at) for item in listed.items or ()), default="")

    def activity(
        self, project: Project, *, since: str | None = None, progress: Progress | None = None
    ) -> Iterator[TaskActivity]:
        """Tasks that somebody touched, each once; tasks that semctl did not make are passed over.

        Args:
            project: where.
            since: instead, all tasks that changed at this time or later, touched or not, and all with drafts.
            progress: shows how far it is.
        """
        progress = progress or SilentProgress()
        if since is None:
            conditions = [*_ANSWERED, _DRAFTED]
        else:
            conditions = [_filter("updated_at", "greater_or_equal", "Datetime", since), _DRAFTED]
        page = self._page(project, conditions, "or")
        if len(page) < _LIST_PAGE:
            yield from self._read(project, page)
            return
        seen: set[int] = set()
        with progress.task("asking who did what") as bar:
            for condition in conditions:
                newest = 0
                while True:
                    # by number rather than by page, so that none is passed over while tasks come and go
                    page = self._page(project, [condition, _filter("id", "greater", "Number", newest)], "and")
                    yield from self._read(project, [item for item in page if item.id not in seen])
                    seen.update(item.id for item in page)
                    bar.advance(len(page))
                    if len(page) < _LIST_PAGE:
                        break
                    newest = page[-1].id

    def delete_tasks(self, project: Project, tasks: Sequence[int]) -> None:
        """Delete tasks, with everything in them."""
        for start in range(0, len(tasks), _DELETE_TASKS):
            included = list(tasks[start : start + _DELETE_TASKS])
            with self._asking(f"delete tasks of the project '{project.title}'"):
                self._client.actions.create(
                    id="delete_tasks",
                    project=project.id,
                    selected_items={"all": False, "included": included},
                    request_options=ONCE,
                )

    def _read(self, project: Project, page: Sequence[Any]) -> Iterator[TaskActivity]:
        ours = [item for item in page if "uid" in (item.data or {})]
        several = [item.id for item in ours if _count(item) > 1]
        exact = self._several_answers(project, several) if several else {}
        for item in ours:
            yield _activity(item, exact.get(item.id))

    def _page(self, project: Project, conditions: Sequence[dict[str, Any]], conjunction: str) -> list[Any]:
        with self._asking(f"ask what was done in the project '{project.title}'"):
            hidden = {"explore": list(_HIDDEN), "labeling": list(_HIDDEN)}
            query = _query(conditions, conjunction, ordering=["tasks:id"], hiddenColumns=hidden)
            listed = self._tasks.list(
                project=project.id, include=",".join(_COLUMNS), query=query, page=1, page_size=_LIST_PAGE
            )
            return list(listed.items or ())

    def _several_answers(self, project: Project, tasks: Sequence[int]) -> dict[int, tuple[Answered, ...]]:
        """The answers of some tasks one by one, without what they say."""
        fields = "id,annotations,completed_by,lead_time,was_cancelled,created_at,updated_at"
        with self._asking(f"ask what was done in the project '{project.title}'"):
            listed = self._tasks.list(
                project=project.id,
                fields="all",
                include=fields,
                query=_query([_filter("id", "in_list", "List", list(tasks))]),
                page=1,
                page_size=len(tasks),
            )
            return {item.id: tuple(_answered(each) for each in item.annotations or ()) for item in listed.items or ()}


def _activity(item: Any, exact: tuple[Answered, ...] | None) -> TaskActivity:
    skipped = not item.total_annotations
    answers = exact
    if answers is None:
        # one answer: the task's columns are those of the answer
        who = [_number(each) for each in item.annotators or ()]
        at = time_text(getattr(item, "completed_at", None)) or time_text(item.updated_at)
        answers = (Answered(who[0] if who else None, item.avg_lead_time, at, skipped),) if _count(item) else ()
    return TaskActivity(
        id=int(item.id),
        uid=str(item.data["uid"]),
        dialogue_id=str(item.data.get("dialogue_id")),
        updated_at=time_text(item.updated_at),
        answers=answers,
        has_draft=bool(item.draft_exists),
    )


def _answered(item: Any) -> Answered:
    lead_time = _value(item, "lead_time")
    return Answered(
        _number(_value(item, "completed_by")),
        None if lead_time is None else float(lead_time),
        time_text(_value(item, "updated_at")),
        bool(_value(item, "was_cancelled")),
    )


def _count(item: Any) -> int:
    return int(item.total_annotations or 0) + int(item.cancelled_annotations or 0)


def _number(who: Any) -> int | None:
    """A user as a listing names them: a number, or an object that holds it."""
    found = who if isinstance(who, int | str) else _value(who, "id") or _value(who, "user_id")
    return int(found) if isinstance(found, int) or (isinstance(found, str) and found.isdigit()) else None


def _value(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)


def _query(conditions: Sequence[dict[str, Any]], conjunction: str = "and", **more: Any) -> str:
    filters = {"conjunction": conjunction, "items": list(conditions)}
    return json.dumps({"filters": filters, **more}, separators=(",", ":"))


_RECORD = 1


@dataclass(frozen=True)
class _Known:
    """What is known of a project."""

    project: tuple[str, int, str]  # its address, number and time of making
    until: str  # the last change that is in it
    others: int  # answers to tasks that semctl did not make
    tasks: dict[int, TaskActivity]  # number -> what became of the task

    @property
    def answers(self) -> int:
        return self.others + sum(len(task.answers) for task in self.tasks.values())


class ActivityCache:
    """Activity of projects, by what changed since it was asked for last.

    Args:
        folder: where it is kept from one command to the next.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, _Known] = {}

    def read(self, gateway: Gateway, project: Project, answers: int, progress: Progress) -> list[TaskActivity]:
        """Every task of the project that somebody touched.

        Args:
            gateway: the server.
            project: which.
            answers: how many answers the server counts in it.
            progress: shows how far it is.

        Raises:
            ServiceError: Label Studio is down, failed, or refuses the key; what is kept stays as it was.
        """
        identity = (gateway.url, project.id, project.created_at)
        known = self._known.get(project.id) or self._load(project.id)
        if known is not None and known.project == identity and known.until:
            changed = list(gateway.activity(project, since=known.until))
            until = max((task.updated_at for task in changed), default=known.until)
            found = replace(known, until=max(until, known.until), tasks=_merged(known.tasks, changed))
            if found.answers == answers:
                return self._keep(found, known)
        until = gateway.last_change(project)
        tasks = {task.id: task for task in gateway.activity(project, progress=progress)}
        found = _Known(identity, until, 0, tasks)
        # answers to tasks that are not semctl's; or given meanwhile, and then it does not add up the next time
        return self._keep(replace(found, others=max(answers - found.answers, 0)), known)

    def _keep(self, found: _Known, before: _Known | None) -> list[TaskActivity]:
        number = found.project[1]
        self._known[number] = found
        if found != before:
            # the next command asks for everything then
            with contextlib.suppress(OSError):
                write_atomic(self._file(number), orjson.dumps({"semctl_activity": _RECORD, **_as_json(found)}))
        return [task for task in found.tasks.values() if task.answers or task.has_draft]

    def _file(self, number: int) -> Path:
        return self._folder / f"project-{number}.json"

    def _load(self, number: int) -> _Known | None:
        try:
            value = orjson.loads(self._file(number).read_bytes())
            return _from_json(value) if value["semctl_activity"] == _RECORD else None
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None  # a cache: whatever cannot be read is asked for again


def _merged(known: dict[int, TaskActivity], changed: Iterable[TaskActivity]) -> dict[int, TaskActivity]:
    """What is known with what changed; drafts are told anew each time."""
    tasks = {number: replace(task, has_draft=False) if task.has_draft else task for number, task in known.items()}
    return tasks | {task.id: task for task in changed}


def _as_json(known: _Known) -> dict[str, Any]:
    return {
        "project": list(known.project),
        "until": known.until,
        "others": known.others,
        "tasks": [
            [
                task.id,
                task.uid,
                task.dialogue_id,
                task.updated_at,
                [[answer.by, answer.seconds, answer.at, answer.skipped] for answer in task.answers],
                task.has_draft,
            ]
            for task in known.tasks.values()
            if task.answers or task.has_draft
        ],
    }


def _from_json(value: Any) -> _Known:
    url, number, created_at = value["project"]
    tasks = [
        TaskActivity(int(number), uid, dialogue, at, tuple(Answered(*answer) for answer in answers), bool(draft))
        for number, uid, dialogue, at, answers, draft in value["tasks"]
    ]
    return _Known(
        (url, int(number), created_at), str(value["until"]), int(value["others"]), {task.id: task for task in tasks}
    )
