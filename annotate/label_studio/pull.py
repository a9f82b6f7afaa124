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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from annotate.label_studio.export_calls import TaskHead, Totals
from annotate.label_studio.gateway import Gateway
from annotate.label_studio.project_calls import Project
from annotate.label_studio.pull_state import AnsweredTask, PullState
from schemas.progress import Progress, SilentProgress

__all__ = ["Look", "PulledProject", "pull_project"]

Look = Literal["changes", "listing", "everything"]
"""How much of a project a pull had to look at."""

_NEXT: Mapping[Look, tuple[Look, ...]] = {
    "changes": ("changes", "listing", "everything"),
    "listing": ("listing", "everything"),
}


@dataclass(frozen=True)
class PulledProject:
    """What a pull brought of one project.

    Attributes:
        project: the project.
        url: of its server.
        look: how much of it had to be looked at.
        whole: whether all answered tasks were fetched, as when it is pulled for the first time.
        export: the JSON export of the tasks fetched; None when there were none.
        fetched: task number -> when it had last changed; its annotations are those of the export and no others.
        deleted: tasks with answers that are no longer there.
        before: what the last pull saw; None for the first one.
        tasks: how many tasks the project holds.
        newest_task, newest_update: see :class:`~annotate.label_studio.pull_state.PullState`.
        reading: hash of what answers are read with: dialogues, ontology and screens. Answers are read once, when they
            are fetched; when any of these is another one, all of them have to be fetched and read anew.
        drafts: who has begun answers and not submitted them, and how many.
    """

    project: Project
    url: str
    look: Look
    whole: bool
    export: Path | None
    fetched: Mapping[int, str]
    deleted: Sequence[int]
    before: PullState | None
    tasks: int
    newest_task: int
    newest_update: str
    reading: str = ""
    drafts: Counter[str] = field(default_factory=Counter)

    def kept(self) -> dict[int, AnsweredTask]:
        """The answered tasks that are as the last pull saw them."""
        known = {} if self.before is None else self.before.answered
        gone = {*self.fetched, *self.deleted}
        return {task: seen for task, seen in known.items() if task not in gone}

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
        answered = self.kept()
        for task, updated_at in self.fetched.items():
            if heard.get(task):
                answered[task] = AnsweredTask(updated_at, tuple(sorted(heard[task])))
        return PullState(
            self.project.id,
            self.project.title,
            self.project.created_at,
            self.url,
            self.tasks,
            self.newest_task,
            self.newest_update,
            self.reading,
            answered,
        )


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
    known = {} if before is None else before.answered
    since = before.since if before is not None and look == "changes" else None
    heads = {head.id: head for head in gateway.task_heads(project, since=since, progress=progress)}
    wanted = [
        task
        for task, head in heads.items()
        if look == "everything" or ((head.answers or task in known) and (whole or _changed(head, known.get(task))))
    ]
    answers = gateway.export_tasks(project, wanted, export, progress) if wanted else {}
    missing = {task for task in wanted if task not in answers}  # deleted since they were listed
    if look != "changes":
        missing |= known.keys() - heads.keys()
    newest_before = 0 if before is None else before.newest_task
    tasks = len(heads)
    if look == "changes" and before is not None:
        tasks = before.tasks + sum(1 for task in heads if task > newest_before)
    tasks -= len(missing & heads.keys())
    pulled = PulledProject(
        project,
        gateway.url,
        look,
        whole or look == "everything",
        export if answers else None,
        {task: heads[task].updated_at for task in answers},
        sorted(missing & known.keys()),
        before,
        tasks,
        max(newest_before, *heads, 0),
        max("" if before is None else before.newest_update, *(head.updated_at for head in heads.values()), ""),
        reading,
        gateway.drafts(project),
    )
    held = sum(len(seen.annotations) for seen in pulled.kept().values())
    return pulled, Totals(tasks, held + sum(answers.values()))


def _changed(head: TaskHead, known: AnsweredTask | None) -> bool:
    return known is None or known.updated_at != head.updated_at or len(known.annotations) != head.answers


def _adds_up(expected: Totals, before: Totals, after: Totals) -> bool:
    """Whether the totals are as expected; people may have gone on working in between."""
    sides = zip(expected, before, after, strict=True)
    return all(min(low, high) <= count <= max(low, high) for count, low, high in sides)
