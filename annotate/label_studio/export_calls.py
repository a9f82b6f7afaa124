"""What of a project changed, asked with light questions, and its answers, a few hundred tasks at a time.

What Label Studio 1.23 tells, as tried on a server: a task's ``updated_at`` moves when an annotation is made, edited,
skipped or deleted and when the task itself is edited; not with drafts, nor does a deleted task leave a trace. So drafts
are asked for by themselves, and the project's totals tell whether anything was missed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from annotate.label_studio.project_calls import Project, ProjectCalls
from annotate.label_studio.session import not_label_studio, time_text
from schemas.files import atomic_path
from schemas.progress import Progress, SilentProgress

_LIST_PAGE = 1000
_EXPORT_TASKS = 300
"""Tasks of one request: the server refuses more than 1,000 parameters, and proxies addresses of more than 8 kB."""


class Totals(NamedTuple):
    """How much a project holds."""

    tasks: int  # all tasks
    answers: int  # all annotations, skipped ones too


class TaskHead(NamedTuple):
    """What a listing tells of a task."""

    id: int  # its number
    updated_at: str  # when it or one of its annotations last changed, as the server writes it
    answers: int  # its annotations, skipped ones too


class ExportCalls(ProjectCalls):
    """What semctl asks to fetch answers."""

    def totals(self, project: Project) -> Totals:
        """How much the project holds now, counted by the server; cheap."""
        counts = "task_number,total_annotations_number,skipped_annotations_number"
        with self._asking(f"count the tasks of the project '{project.title}'"):
            (found,) = self._client.projects.list_counts(ids=str(project.id), include=f"id,{counts}").results
            numbers = [int(getattr(found, name) or 0) for name in counts.split(",")]
        return Totals(numbers[0], numbers[1] + numbers[2])

    def task_heads(
        self, project: Project, *, since: str | None = None, progress: Progress | None = None
    ) -> Iterator[TaskHead]:
        """Tasks by ascending number, none twice and none left out while others come and go.

        Args:
            since: only those that changed at this time or later, as ``2026-02-03T10:00:00.000000Z``.
        """
        progress = progress or SilentProgress()
        changed = [_filter("updated_at", "greater_or_equal", "Datetime", since)] if since else []
        newest = 0
        with progress.task("listing tasks", total=None if since else project.tasks) as bar:
            while True:
                query = _query([*changed, _filter("id", "greater", "Number", newest)])
                with self._asking("list tasks"):
                    page = self._tasks.list(
                        project=project.id,
                        include="id,updated_at,total_annotations,cancelled_annotations",
                        query=query,
                        page=1,
                        page_size=_LIST_PAGE,
                    ).items
                    heads = [_head(item) for item in page or ()]
                yield from heads
                bar.advance(len(heads))
                if len(heads) < _LIST_PAGE:
                    return
                newest = heads[-1].id

    def drafts(self, project: Project) -> Counter[str]:
        """Answers begun and not submitted, by the e-mail address of who began them."""
        found: Counter[str] = Counter()
        with self._asking("list drafts"):
            tasks = self._tasks.list(
                project=project.id,
                fields="all",
                include="id,drafts",
                query=_query([_filter("draft_exists", "equal", "Boolean", True)]),
                page_size=_EXPORT_TASKS,
            )
            for task in tasks:
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

    def download_export(self, project: Project, path: Path, progress: Progress | None = None) -> Path:
        """Write the JSON export of all tasks of a project to a file."""
        self.export_tasks(project, [head.id for head in self.task_heads(project)], path, progress)
        return path

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
            found = orjson.loads(body)
            return {int(task["id"]): len(task["annotations"]) for task in found}
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            raise not_label_studio(self.url, "export") from None


def _filter(column: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def _query(filters: Sequence[dict[str, Any]]) -> str:
    return json.dumps({"filters": {"conjunction": "and", "items": list(filters)}}, separators=(",", ":"))


def _head(item: Any) -> TaskHead:
    return TaskHead(
        int(item.id),
        time_text(item.updated_at),
        int(item.total_annotations or 0) + int(item.cancelled_annotations or 0),
    )


def _value(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)
