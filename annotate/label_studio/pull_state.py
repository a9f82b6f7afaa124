"""What the last pull of a project saw: enough to fetch only what changed since, and to notice what is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import orjson

from annotate.label_studio.project_calls import Project
from schemas.errors import LabelError
from schemas.files import read_json, sha256_bytes, taken_apart, write_atomic

__all__ = ["AnsweredTask", "PullState", "project_key"]

_SCHEMA = 1
_OVERLAP = timedelta(minutes=10)
"""Changes may become visible later than their time says: a transaction lasts, clocks are set back."""
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_FIX = "remove it; everything is pulled anew then"


class AnsweredTask(NamedTuple):
    """A task that had answers when it was last fetched.

    Attributes:
        updated_at: of the task, as listed before it was fetched.
        annotations: names of its annotations, whatever they hold; see :func:`annotate.exports.task.annotation_id`.
    """

    updated_at: str
    annotations: tuple[str, ...]


@dataclass(frozen=True)
class PullState:
    """One project as the last pull left it.

    Attributes:
        project_id, title, created_at, url: the project and where it was.
        tasks: how many tasks it held.
        newest_task: the highest task number seen.
        newest_update: the latest time at which a task had changed; empty when there was no task.
        reading: hash of what the answers were read with, see :class:`~annotate.label_studio.pull.PulledProject`.
        answered: task number -> what was fetched of it.
    """

    project_id: int
    title: str
    created_at: str
    url: str
    tasks: int = 0
    newest_task: int = 0
    newest_update: str = ""
    reading: str = ""
    answered: Mapping[int, AnsweredTask] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        """Annotations of the project, skipped ones too."""
        return sum(len(task.annotations) for task in self.answered.values())

    @property
    def since(self) -> str | None:
        """What changed at this time or later has to be looked at; None for everything.

        A server whose clock ran ahead for a while must not hide what is done after it was set right.
        """
        if not self.newest_update:
            return None
        newest = min(datetime.strptime(self.newest_update, _TIME), datetime.now(UTC).replace(tzinfo=None))
        return (newest - _OVERLAP).strftime(_TIME)

    @classmethod
    def read(cls, path: Path) -> PullState | None:
        """The state in a file; None when there is none.

        Raises:
            LabelError: the file is something else.
        """
        if not path.exists():
            return None
        found = read_json(path, error=LabelError, fix=_FIX)
        with taken_apart(path, error=LabelError, what="not a pull state", fix=_FIX):
            if found["semctl_schema"] != _SCHEMA:
                raise LabelError("this pull state is of another version of semctl", where=path, fix=_FIX)
            answered = {
                int(task): AnsweredTask(str(updated_at), tuple(names))
                for task, (updated_at, names) in found["answered"].items()
            }
            state = cls(
                int(found["project_id"]),
                str(found["title"]),
                str(found["created_at"]),
                str(found["url"]),
                int(found["tasks"]),
                int(found["newest_task"]),
                str(found["newest_update"]),
                str(found["reading"]),
                answered,
            )
            _ = state.since
        return state

    def write(self, path: Path) -> None:
        """Write it, atomically: the same state gives the same bytes."""
        content = {
            "semctl_schema": _SCHEMA,
            "project_id": self.project_id,
            "title": self.title,
            "created_at": self.created_at,
            "url": self.url,
            "tasks": self.tasks,
            "newest_task": self.newest_task,
            "newest_update": self.newest_update,
            "reading": self.reading,
            "answered": {str(task): list(self.answered[task]) for task in sorted(self.answered)},
        }
        write_atomic(path, orjson.dumps(content) + b"\n")


def project_key(project: Project) -> str:
    """What tells a project from every other: projects of two servers, or of one set up anew, share numbers.

    The moment at which it was made, to the microsecond, is its own, and stays when a server moves to another address.
    """
    return sha256_bytes(f"{project.id} {project.created_at}".encode())[:16]
