"""What annotators did in a project, kept beside the workspace so that only changes are asked for.

Kept in ``labelling/activity/``, which may be removed at any time. Two things hold it against the server: when a task
changed last, and how many answers there are in all. A deleted task moves neither its own time nor any other's, but the
number of answers; when that does not add up, everything is read again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from annotate.label_studio.activity_calls import Answered, TaskActivity
from schemas.files import write_atomic
from schemas.progress import Progress

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway, Project

__all__ = ["ActivityCache"]

_RECORD = 1


@dataclass(frozen=True)
class _Known:
    """What is known of a project.

    Attributes:
        project: its address, number and time of making.
        until: the last change that is in it.
        others: answers to tasks that semctl did not make.
        tasks: number -> what became of the task.
    """

    project: tuple[str, int, str]
    until: str
    others: int
    tasks: dict[int, TaskActivity]

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
