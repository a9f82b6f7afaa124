"""Fetches what changed in a project since the last pull, and proves by the project's totals that nothing was missed.

1. Tasks whose ``updated_at`` is not older than the newest one seen, less an overlap: new, edited, skipped and deleted
   annotations all move it.
2. When the totals of tasks or annotations are then not as expected, say because tasks were deleted, which leaves no
   trace: a listing of all tasks against what was seen.
3. When they still are not: every task.

A project never pulled begins with the second step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from annotate.label_studio.gateway import Gateway
from annotate.label_studio.project_calls import Project, Totals
from annotate.label_studio.task_calls import TaskHead
from schemas.errors import LabelError
from schemas.files import read_json, sha256_bytes, taken_apart, write_atomic
from schemas.progress import Progress, SilentProgress

_SCHEMA = 1
_OVERLAP = timedelta(minutes=10)
"""Changes may become visible later than their time says: a transaction lasts, clocks are set back."""
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_FIX = "remove it; everything is pulled anew then"


class AnsweredTask(NamedTuple):
    """A task that had answers when it was last fetched."""

    updated_at: str  # of the task, as listed before it was fetched
    # names of its annotations, whatever they hold; see :func:`annotate.exports.staging.annotation_id`
    annotations: tuple[str, ...]


@dataclass(frozen=True)
class PullState:
    """One project as the last pull left it."""

    project_id: int  # with title, created_at and url: the project and where it was
    title: str
    created_at: str
    url: str
    tasks: int = 0  # how many tasks it held
    newest_task: int = 0  # the highest task number seen
    newest_update: str = ""  # the latest time at which a task had changed; empty when there was no task
    # hash of what answers were read with: dialogues, ontology and screens. Answers are read once, when they are
    # fetched; when any of these is another one, all of them have to be fetched and read anew.
    reading: str = ""
    answered: Mapping[int, AnsweredTask] = field(default_factory=dict)  # task number -> what was fetched of it

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
            numbers = {name: int(found[name]) for name in ("project_id", "tasks", "newest_task")}
            texts = {name: str(found[name]) for name in ("title", "created_at", "url", "newest_update", "reading")}
            state = cls(**numbers, **texts, answered=answered)  # type: ignore[arg-type]
            _ = state.since
        return state

    def write(self, path: Path) -> None:
        """Write it, atomically: the same state gives the same bytes."""
        answered = {str(task): list(self.answered[task]) for task in sorted(self.answered)}
        content = {"semctl_schema": _SCHEMA, **vars(self), "answered": answered}
        write_atomic(path, orjson.dumps(content) + b"\n")


def project_key(project: Project) -> str:
    """What tells a project from every other: projects of two servers, or of one set up anew, share numbers.

    The moment at which it was made, to the microsecond, is its own, and stays when a server moves to another address.
    """
    return sha256_bytes(f"{project.id} {project.created_at}".encode())[:16]


Look = Literal["changes", "listing", "everything"]
"""How much of a project a pull had to look at."""

_NEXT: Mapping[Look, tuple[Look, ...]] = {
    "changes": ("changes", "listing", "everything"),
    "listing": ("listing", "everything"),
}


@dataclass(frozen=True)
class PulledProject:
    """What a pull brought of one project."""

    project: Project  # the project
    look: Look  # how much of it had to be looked at
    whole: bool  # whether all answered tasks were fetched, as when it is pulled for the first time
    export: Path | None  # the JSON export of the tasks fetched; None when there were none
    # task number -> when it had last changed; its annotations are those of the export and no others
    fetched: Mapping[int, str]
    deleted: Sequence[int]  # tasks with answers that are no longer there
    before: PullState | None  # what the last pull saw; None for the first one
    seen: PullState  # what there is now, but for the answers to the tasks fetched
    drafts: Counter[str]  # who has begun answers and not submitted them, and how many

    def vanished(self, heard: Mapping[int, Sequence[str]]) -> list[str]:
        """Annotations that an earlier pull saw and that are no longer there, sorted.

        Args:
            heard: task number -> names of its annotations in the export.
        """
        known = {} if self.before is None else self.before.answered
        found = {name for task in self.deleted for name in known[task].annotations}
        for task in self.fetched:
            if task in known:
                found |= {*known[task].annotations} - {*heard.get(task, ())}
        return sorted(found)

    def state(self, heard: Mapping[int, Sequence[str]]) -> PullState:
        """What the next pull starts from; ``heard`` as for :meth:`vanished`."""
        answered = {
            task: AnsweredTask(updated_at, tuple(sorted(heard[task])))
            for task, updated_at in self.fetched.items()
            if heard.get(task)
        }
        return replace(self.seen, answered={**self.seen.answered, **answered})


def pull_project(
    gateway: Gateway,
    project: Project,
    before: PullState | None,
    export: Path,
    *,
    reading: str = "",
    whole: bool = False,
    progress: Progress | None = None,
) -> PulledProject:
    """Fetch what changed.

    Args:
        gateway: the server.
        project: the project, as it is now.
        before: what the last pull of it saw.
        export: where the answers go.
        reading: hash of what the answers will be read with.
        whole: fetch every answered task anew.
        progress: shows how far it is.

    Raises:
        ServiceError: the server failed, or answered with something else than an export.
    """
    progress = progress or SilentProgress()
    if before is not None and before.reading != reading:
        progress.log("dialogues, ontology or screens are others than at the last pull: all answers are read anew")
        whole = True
    for look in _NEXT["listing" if whole or before is None or before.since is None else "changes"]:
        totals = gateway.totals(project)
        pulled, expected = _look(gateway, project, before, export, look, reading, whole or before is None, progress)
        if _adds_up(expected, totals, gateway.totals(project)):
            break
        if look != "everything":
            progress.log(f"the project '{project.title}' has other counts than expected; fetching it task by task")
    else:
        progress.log(f"the project '{project.title}' is being changed while it is read; the next pull looks again")
    return pulled


def _look(
    gateway: Gateway,
    project: Project,
    before: PullState | None,
    export: Path,
    look: Look,
    reading: str,
    whole: bool,
    progress: Progress,
) -> tuple[PulledProject, Totals]:
    last = before or PullState(project.id, project.title, project.created_at, gateway.url)
    known = last.answered
    since = last.since if look == "changes" else None
    heads = {head.id: head for head in gateway.task_heads(project, since=since, progress=progress)}
    wanted = [
        task
        for task, head in heads.items()
        if look == "everything" or ((head.answers or task in known) and (whole or _changed(head, known.get(task))))
    ]
    answers = gateway.export_tasks(project, wanted, export, progress) if wanted else {}
    missing = {task for task in wanted if task not in answers}  # deleted since they were listed
    tasks = last.tasks + sum(1 for task in heads if task > last.newest_task)
    if look != "changes":
        missing |= known.keys() - heads.keys()
        tasks = len(heads)
    seen = PullState(
        project.id,
        project.title,
        project.created_at,
        gateway.url,
        tasks=tasks - len(missing & heads.keys()),
        newest_task=max(last.newest_task, *heads, 0),
        newest_update=max(last.newest_update, *(head.updated_at for head in heads.values()), ""),
        reading=reading,
        answered={task: its for task, its in known.items() if task not in answers and task not in missing},
    )
    pulled = PulledProject(
        project,
        look,
        whole or look == "everything",
        export if answers else None,
        {task: heads[task].updated_at for task in answers},
        sorted(missing & known.keys()),
        before,
        seen,
        gateway.drafts(project),
    )
    return pulled, Totals(seen.tasks, seen.answers + sum(answers.values()))


def _changed(head: TaskHead, known: AnsweredTask | None) -> bool:
    return known is None or known.updated_at != head.updated_at or len(known.annotations) != head.answers


def _adds_up(expected: Totals, before: Totals, after: Totals) -> bool:
    """Whether the totals are as expected; people may have gone on working in between."""
    sides = zip(expected, before, after, strict=True)
    return all(min(low, high) <= count <= max(low, high) for count, low, high in sides)
