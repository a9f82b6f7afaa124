"""What annotators did in projects, by what changed since it was asked for last."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from annotate.label_studio.gateway import Gateway
from annotate.label_studio.project_calls import Project
from annotate.label_studio.task_calls import Answered, TaskActivity
from schemas.files import write_atomic
from schemas.progress import Progress

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

    @property
    def touched(self) -> list[TaskActivity]:
        return [task for task in self.tasks.values() if task.answers or task.has_draft]


class ActivityCache:
    """Activity of projects.

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
            tasks = [[*task[:4], [list(answer) for answer in task.answers], task.has_draft] for task in found.touched]
            content = {"semctl_activity": _RECORD, **vars(found), "tasks": tasks}
            # the next command asks for everything then
            with contextlib.suppress(OSError):
                write_atomic(self._file(number), orjson.dumps(content))
        return found.touched

    def _file(self, number: int) -> Path:
        return self._folder / f"project-{number}.json"

    def _load(self, number: int) -> _Known | None:
        try:
            value: Any = orjson.loads(self._file(number).read_bytes())
            url, project_id, created_at = value["project"]
            tasks = {
                int(task): TaskActivity(
                    int(task), uid, name, at, tuple(Answered(*each) for each in answers), bool(draft)
                )
                for task, uid, name, at, answers, draft in value["tasks"]
            }
            found = _Known((url, int(project_id), created_at), str(value["until"]), int(value["others"]), tasks)
            return found if value["semctl_activity"] == _RECORD else None
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None  # a cache: whatever cannot be read is asked for again


def _merged(known: dict[int, TaskActivity], changed: Iterable[TaskActivity]) -> dict[int, TaskActivity]:
    """What is known with what changed; drafts are told anew each time."""
    return {number: task._replace(has_draft=False) for number, task in known.items()} | {
        task.id: task for task in changed
    }
