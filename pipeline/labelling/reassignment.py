"""An annotator leaves: which of their dialogues others must do, and what is taken out of their project.

A dialogue is unfinished as long as one of its tasks has no answer, or only a skipped one; it is reassigned whole,
since an update is relative to the turns before it. Answers given so far stay where they are, and are taken in like any
others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pipeline.batches import read_batches
from pipeline.labelling.assignment_record import Assignment
from pipeline.workspace import Workspace
from schemas.progress import Progress

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway, Project


def unfinished_dialogues(workspace: Workspace, assignment: Assignment, annotator: str) -> list[str]:
    """Dialogues assigned to an annotator and not finished, in the order in which they were assigned."""
    part = assignment.part(annotator)
    gateway, project = _project(workspace, part.place if part else "")
    assigned = assignment.dialogues_of(annotator)
    if project is None:
        return assigned
    wanted: Counter[str] = Counter()
    for batch in read_batches(workspace.labelling):
        if batch.destination.project == project.title:
            wanted.update(uid.rpartition("#")[0] for uid in batch.uids)
    answered = Counter(task.dialogue_id for task in gateway.activity(project) if task.is_done)
    return [each for each in assigned if not wanted[each] or answered[each] < wanted[each]]


def remove_reassigned(
    workspace: Workspace, assignment: Assignment, progress: Progress, *, dry_run: bool = False
) -> int:
    """Take tasks that nobody touched out of the projects of those who handed them over; how many there were.

    What was begun, answered or skipped stays. With ``dry_run`` they are only counted.
    """
    removed = 0
    for annotator, dialogues in assignment.reassigned.items():
        part = assignment.part(annotator)
        gone = set(dialogues).difference(assignment.dialogues_of(annotator))
        if part is None or not gone:
            continue
        gateway, project = _project(workspace, part.place)
        if project is None:
            continue
        uids = [
            uid
            for batch in read_batches(workspace.labelling)
            if batch.destination.project == project.title
            for uid in batch.uids
            if uid.rpartition("#")[0] in gone
        ]
        there = {task.id for task in gateway.tasks(project, uids)}
        untouched = sorted(there - {task.id for task in gateway.activity(project)})
        removed += len(untouched)
        if untouched and not dry_run:
            progress.log(f"{annotator} left: {len(untouched)} tasks that nobody touched are taken out")
            gateway.delete_tasks(project, untouched)
    return removed


def _project(workspace: Workspace, title: str) -> tuple[Gateway, Project | None]:
    from annotate.label_studio.gateway import connect

    gateway = connect(workspace.root)
    return gateway, gateway.find_project(title)
