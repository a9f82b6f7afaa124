"""Tasks of a project: looked up by their uid, pushed, answered and exported, and what became of them.

What Label Studio 1.23 tells, as tried on a server: a task's ``updated_at`` moves when an annotation is made, edited,
skipped or deleted and when the task itself is edited; not with drafts, nor does a deleted task leave a trace. So drafts
are asked for by themselves, and the project's totals tell whether anything was missed.

Of a listing the server works out only the columns that a view shows, so :meth:`TaskCalls.activity` hides all others:
half a millisecond a task instead of two to four. Times of tasks with several answers are asked for one by one, since a
listing tells their mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from annotate.label_studio.project_calls import (
    UNUSED_COLUMNS,
    Project,
    ProjectCalls,
    task_filter,
    task_query,
    uid_queries,
)
from annotate.label_studio.session import ONCE, not_label_studio, time_text
from schemas.errors import ServiceError
from schemas.files import atomic_path
from schemas.progress import Progress, SilentProgress

_BATCH_TASKS = 2000
_DELETE_TASKS = 500
_LIST_PAGE = 500
_HEADS_PAGE = 1000
_EXPORT_TASKS = 300
"""Tasks of one request: the server refuses more than 1,000 parameters, and proxies addresses of more than 8 kB."""

_COUNTS = "total_annotations,cancelled_annotations"
_ACTIVITY = f"id,data,{_COUNTS},updated_at,completed_at,annotators,avg_lead_time,draft_exists"
_HIDDEN = [
    f"tasks:{name}"
    for name in ("id", "data", "total_annotations", "cancelled_annotations", *UNUSED_COLUMNS)
    if name != "draft_exists"
]
_ACTIVITY_VIEW = {"ordering": ["tasks:id"], "hiddenColumns": {"explore": _HIDDEN, "labeling": _HIDDEN}}
_ANSWERED = [task_filter(column, "greater_or_equal", "Number", 1) for column in _COUNTS.split(",")]
_DRAFTED = task_filter("draft_exists", "equal", "Boolean", True)


@dataclass(frozen=True)
class PushedTask:
    """A task that is on the server."""

    id: int  # its number on the server
    data: Mapping[str, Any]  # what was pushed; ``uid`` names it
    annotations: int  # how many annotations it has

    @property
    def uid(self) -> str:
        return str(self.data["uid"])


class TaskHead(NamedTuple):
    """What a listing tells of a task."""

    id: int  # its number
    updated_at: str  # when it or one of its annotations last changed, as the server writes it
    answers: int  # its annotations, skipped ones too


class Answered(NamedTuple):
    """One answer to a task."""

    by: int | None  # Label Studio's number of who gave it
    seconds: float | None  # how long the page was open for it (``lead_time``), None where nobody measured it
    at: str  # when it was last sent, UTC in ISO 8601
    skipped: bool  # whether the task was skipped


class TaskActivity(NamedTuple):
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


class TaskCalls(ProjectCalls):
    """What semctl asks of tasks."""

    def tasks(self, project: Project, uids: Sequence[str] | None = None) -> Iterator[PushedTask]:
        """Tasks of a project, oldest first: all, or those with these uids; tasks without a uid are passed over."""
        wanted = None if uids is None else frozenset(uids)
        queries: Iterator[dict[str, str]] = iter([{}])
        if wanted is not None and 2 * len(wanted) <= project.tasks:
            queries = ({"query": query} for query in uid_queries(sorted(wanted)))
        for query in queries:
            with self._asking("look up tasks"):
                include = "id,data,total_annotations"
                for item in self._tasks.list(project=project.id, include=include, page_size=_LIST_PAGE, **query):
                    data = item.data or {}
                    if "uid" in data and (wanted is None or data["uid"] in wanted):
                        yield PushedTask(item.id, data, item.total_annotations or 0)

    def push(self, project: Project, tasks: Sequence[Mapping[str, Any]], progress: Progress | None = None) -> None:
        """Import tasks, two thousand at a time; each request holds all of its tasks or none.

        Raises:
            ServiceError: a request failed, or the server took in another number of tasks than it was sent.
        """
        progress = progress or SilentProgress()
        with progress.task("pushing tasks", total=len(tasks)) as bar:
            for start in range(0, len(tasks), _BATCH_TASKS):
                batch = list(tasks[start : start + _BATCH_TASKS])
                with self._asking("import tasks"):
                    answer = self._post(f"/api/projects/{project.id}/import", orjson.dumps(batch))
                taken = answer.get("task_count") if isinstance(answer, Mapping) else None
                if taken != len(batch):
                    what = f"Label Studio took in {taken} of {len(batch)} tasks"
                    raise ServiceError(what, where=self.url, fix="see its log, then run this again")
                bar.advance(len(batch))

    def remove_doubles(self, project: Project, uids: Sequence[str]) -> int:
        """Delete unlabelled tasks whose uid an older task has: what an interrupted push may leave behind.

        Returns:
            How many were deleted.
        """
        seen: set[str] = set()
        removed = 0
        for task in sorted(self.tasks(self.project(project.id), uids), key=lambda task: (-task.annotations, task.id)):
            if task.uid in seen and task.annotations == 0:
                with self._asking("delete a doubled task"):
                    self._tasks.delete(str(task.id), request_options=ONCE)
                removed += 1
            seen.add(task.uid)
        return removed

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

    def create_annotation(
        self,
        task_id: int,
        result: Sequence[Mapping[str, Any]],
        *,
        lead_time: float | None = None,
        completed_by: int | None = None,
    ) -> int:
        """Store one annotation and return its number; the server checks nothing of ``result``."""
        named = {"lead_time": lead_time, "completed_by": completed_by}
        with self._asking(f"annotate task {task_id}"):
            made = self._client.annotations.create(
                id=task_id,
                result=list(result),
                **{name: value for name, value in named.items() if value is not None},
                request_options=ONCE,
            )
        return int(made.id)

    def task_heads(
        self, project: Project, *, since: str | None = None, progress: Progress | None = None
    ) -> Iterator[TaskHead]:
        """Tasks by ascending number, none twice and none left out while others come and go.

        Args:
            since: only those that changed at this time or later, as ``2026-02-03T10:00:00.000000Z``.
        """
        progress = progress or SilentProgress()
        changed = [task_filter("updated_at", "greater_or_equal", "Datetime", since)] if since else []
        include = f"id,updated_at,{_COUNTS}"
        total = None if since else project.tasks
        with self._asking("list tasks"), progress.task("listing tasks", total=total) as bar:
            for page in self._by_number(project, changed, {}, include=include, page_size=_HEADS_PAGE):
                for item in page:
                    yield TaskHead(int(item.id), time_text(item.updated_at), _count(item))
                bar.advance(len(page))

    def drafts(self, project: Project) -> Counter[str]:
        """Answers begun and not submitted, by the e-mail address of who began them."""
        found: Counter[str] = Counter()
        with self._asking("list drafts"):
            query = task_query([_DRAFTED])
            for task in self._tasks.list(
                project=project.id, fields="all", include="id,drafts", query=query, page_size=_EXPORT_TASKS
            ):
                drafts = task.drafts if isinstance(task.drafts, list) else []
                found.update(str(_value(draft, "user") or "unknown") for draft in drafts)
        return found

    def export_tasks(
        self, project: Project, tasks: Sequence[int], path: Path, progress: Progress | None = None
    ) -> dict[int, int]:
        """Write the JSON export of these tasks to a file, as one list in the order of ``tasks``' hundreds.

        Args:
            tasks: their numbers; those that are no longer there are left out.

        Returns:
            Task number -> how many annotations of it came.
        """
        progress = progress or SilentProgress()
        answers: dict[int, int] = {}
        with (
            progress.task("fetching answers", total=len(tasks)) as bar,
            atomic_path(path) as temporary,
            temporary.open("wb") as file,
        ):
            file.write(b"[")
            for start in range(0, len(tasks), _EXPORT_TASKS):
                wanted = tasks[start : start + _EXPORT_TASKS]
                body = self._export(project, wanted)
                found = self._answers(body)
                if found:
                    file.write(b",\n" if answers else b"\n")
                    file.write(body.strip().removeprefix(b"[").removesuffix(b"]").strip())
                answers |= found
                bar.advance(len(wanted))
            file.write(b"\n]\n")
        return answers

    def _export(self, project: Project, tasks: Sequence[int]) -> bytes:
        with self._asking(f"export the project '{project.title}'"):
            chunks: Iterator[bytes] = self._client.projects.exports.download_sync(
                project.id,
                export_type="JSON",
                download_all_tasks=True,
                # the SDK's own parameter has a name that the server does not know
                request_options={"additional_query_parameters": {"ids[]": [str(task) for task in tasks]}},
            )
            return b"".join(chunks)

    def _answers(self, body: bytes) -> dict[int, int]:
        """Task -> annotations of a part of an export; an HTML page or half a list is not Label Studio's answer."""
        try:
            return {int(task["id"]): len(task["annotations"]) for task in orjson.loads(body)}
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            raise not_label_studio(self.url, "export") from None

    def last_change(self, project: Project) -> str:
        """When a task of the project changed last, as the server says; empty for a project without tasks."""
        with self._asking(f"ask what was done in the project '{project.title}'"):
            newest_first = task_query([], ordering=["-tasks:updated_at"])
            listed = self._page(project, newest_first, include="id,updated_at", page_size=1)
            return max((time_text(item.updated_at) for item in listed), default="")

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
        conditions = [*_ANSWERED, _DRAFTED]
        if since is not None:
            conditions = [task_filter("updated_at", "greater_or_equal", "Datetime", since), _DRAFTED]
        listing = {"include": _ACTIVITY, "page_size": _LIST_PAGE}
        with self._asking(f"ask what was done in the project '{project.title}'"):
            page = self._page(project, task_query(conditions, "or", **_ACTIVITY_VIEW), **listing)
            if len(page) < _LIST_PAGE:
                yield from self._read(project, page)
                return
            seen: set[int] = set()
            with progress.task("asking who did what") as bar:
                for condition in conditions:
                    for page in self._by_number(project, [condition], _ACTIVITY_VIEW, **listing):
                        yield from self._read(project, [item for item in page if item.id not in seen])
                        seen.update(item.id for item in page)
                        bar.advance(len(page))

    def _read(self, project: Project, page: Sequence[Any]) -> Iterator[TaskActivity]:
        ours = [item for item in page if "uid" in (item.data or {})]
        several = [item.id for item in ours if _count(item) > 1]
        exact = self._several_answers(project, several) if several else {}
        for item in ours:
            answers = exact.get(item.id)
            if answers is None:
                # one answer: the task's columns are those of the answer
                who = [_number(each) for each in item.annotators or ()]
                at = time_text(getattr(item, "completed_at", None)) or time_text(item.updated_at)
                only = Answered(who[0] if who else None, item.avg_lead_time, at, not item.total_annotations)
                answers = (only,) if _count(item) else ()
            yield TaskActivity(
                id=int(item.id),
                uid=str(item.data["uid"]),
                dialogue_id=str(item.data.get("dialogue_id")),
                updated_at=time_text(item.updated_at),
                answers=answers,
                has_draft=bool(item.draft_exists),
            )

    def _several_answers(self, project: Project, tasks: Sequence[int]) -> dict[int, tuple[Answered, ...]]:
        """The answers of some tasks one by one, without what they say."""
        these = task_query([task_filter("id", "in_list", "List", list(tasks))])
        fields = "id,annotations,completed_by,lead_time,was_cancelled,created_at,updated_at"
        listed = self._page(project, these, fields="all", include=fields, page_size=len(tasks))
        return {item.id: tuple(map(_answered, item.annotations or ())) for item in listed}

    def _by_number(
        self, project: Project, filters: Sequence[Mapping[str, Any]], view: Mapping[str, Any], **listing: Any
    ) -> Iterator[list[Any]]:
        """Pages of tasks by number rather than by page, so that none is passed over while others come and go."""
        newest = 0
        while True:
            query = task_query([*filters, task_filter("id", "greater", "Number", newest)], **view)
            page = self._page(project, query, **listing)
            yield page
            if len(page) < listing["page_size"]:
                return
            newest = int(page[-1].id)

    def _page(self, project: Project, query: str, **listing: Any) -> list[Any]:
        return list(self._tasks.list(project=project.id, query=query, page=1, **listing).items or ())


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
