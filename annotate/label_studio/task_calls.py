"""Tasks of a project: looked up by their uid, pushed, and answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from annotate.label_studio.project_calls import Project, ProjectCalls, uid_queries
from annotate.label_studio.session import ONCE
from schemas.errors import ServiceError
from schemas.progress import Progress, SilentProgress

_BATCH_TASKS = 2000
_LIST_PAGE = 500


@dataclass(frozen=True)
class PushedTask:
    """A task that is on the server."""

    id: int  # its number on the server
    data: Mapping[str, Any]  # what was pushed; ``uid`` names it
    annotations: int  # how many annotations it has

    @property
    def uid(self) -> str:
        return str(self.data["uid"])


class TaskCalls(ProjectCalls):
    """What semctl asks of tasks."""

    def tasks(self, project: Project, uids: Sequence[str] | None = None) -> Iterator[PushedTask]:
        """Tasks of a project, oldest first: all, or those with these uids; tasks without a uid are passed over."""
        if uids is None or 2 * len(uids) > project.tasks:
            wanted = None if uids is None else frozenset(uids)
            queries: Iterator[str | None] = iter([None])
        else:
            wanted = frozenset(uids)
            queries = uid_queries(sorted(wanted))
        for query in queries:
            with self._asking("look up tasks"):
                found = self._tasks.list(
                    project=project.id,
                    include="id,data,total_annotations",
                    page_size=_LIST_PAGE,
                    **({} if query is None else {"query": query}),
                )
                for item in found:
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
