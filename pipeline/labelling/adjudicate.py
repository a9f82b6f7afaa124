"""Adjudication: turns that people answer differently go to a reviewer, into a project of their own or a file.

A turn is asked once: run again, only turns that are newly in dispute are added, those that a reviewer left open, and
those on which annotators answered otherwise since the verdict. Verdicts come back like all answers, with
``ingest-labels``, and win in what they decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotate.adjudication.review_tasks import REVIEW_RULES, review_instruction
from annotate.tasks.guidelines import guideline_markdown
from pipeline.batches import (
    Batch,
    Destination,
    ToProjectOrFile,
    finish_batch,
    read_batches,
    removed_on_failure,
    write_batch,
)
from pipeline.labelling.interface_versions import note_interface_version
from pipeline.labelling.review import Asked, Review, turns_asked
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError
from schemas.files import locked, read_json, taken_apart, write_json
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress


@dataclass(frozen=True)
class AdjudicateRequest(ToProjectOrFile):
    """What a reviewer is to be asked, and where."""

    min_disagreement: float | None = None  # see :func:`annotate.adjudication.review_tasks.disputes_of`
    resolve_by: str | None = None  # what leaves turns in dispute; None takes the setting ``labelling.resolve``


@dataclass(frozen=True)
class AdjudicateResult:
    """What an adjudication did."""

    destination: Destination
    policy: str  # what leaves turns in dispute
    disputed: int  # turns for a reviewer by now, those asked for already among them
    dialogues: int
    # tasks_new, turns_new: added by this run
    tasks_new: int
    turns_new: int
    waiting: int  # turns asked for on which answers still differ and no reviewer answered
    decided: int  # turns asked for that have a verdict
    left_open: int  # turns that a reviewer was shown and did not decide: asked again
    outdated: int  # turns with a verdict on which somebody answered otherwise since: asked again
    # turns asked for on which no answers differ any more: an annotator changed or withdrew one
    vanished: tuple[Asked, ...]
    changed: tuple[Asked, ...]  # turns asked for that show older answers than there are now
    batch: int | None  # number of the batch written; None when there was nothing to add
    url: str | None = None
    images_problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of ``semctl adjudicate --json``."""
        named = {
            name: [json_form(one, "dispute_sha256") for one in turns]
            for name, turns in (("vanished", self.vanished), ("changed", self.changed))
        }
        return {**self.destination.as_json(self.url), **json_form(self, "destination", "url"), **named}


def adjudicate(
    workspace: Workspace, request: AdjudicateRequest, *, progress: Progress | None = None
) -> AdjudicateResult:
    """Put the review tasks that are not there yet into a project, or all of them into a file.

    A project is made when there is none of that name. A file gets the tasks of earlier runs, too.

    Raises:
        InputError: no annotations, tables, batches or a file that cannot be used; or the project holds labelling tasks,
            or was edited by hand.
        ServiceError: Label Studio is down or refuses the key; what was pushed stays, and the next run completes it.
    """
    shown = progress or SilentProgress()
    if request.project is not None:
        return _to_project(workspace, request, request.project, shown)
    return _to_file(workspace, request, request.file, shown)


def _to_file(workspace: Workspace, request: AdjudicateRequest, file: Path, progress: Progress) -> AdjudicateResult:
    destination = Destination(file=str(file.resolve()))
    if file.is_dir():
        raise UsageError("this is a folder", where=file, fix="name a file for the tasks")
    with locked(workspace.labelling / ".lock"):
        batches = [batch for batch in read_batches(workspace.labelling) if batch.destination == destination]
        if any(batch.role != "review" for batch in batches):
            raise LabelError("the file holds labelling tasks", where=file, fix="name another file for review tasks")
        earlier = [task for batch in batches for task in _tasks_of(workspace, batch)]
        asked = turns_asked(task["data"] for task in earlier)
        review = Review.of(workspace, asked, request.min_disagreement, request.resolve_by, progress)
        new, _ = review.new_tasks(workspace, [task["data"]["uid"] for task in earlier], progress)
        folder = _write_batch(workspace, review, new)
        if earlier or new:
            try:
                with removed_on_failure(folder):
                    write_json(file, [*earlier, *new])
            except OSError as problem:
                raise UsageError(f"cannot write the tasks: {problem.strerror}", where=file) from None
        number = _finish_batch(folder, review, new, destination)
    return _result(review, destination, new, number)


def _to_project(workspace: Workspace, request: AdjudicateRequest, title: str, progress: Progress) -> AdjudicateResult:
    from annotate.label_studio.gateway import connect

    with locked(workspace.labelling / ".lock"):
        batches = read_batches(workspace.labelling)
        gateway = connect(workspace.root)
        found = gateway.find_project(title)
        there = {} if found is None else {task.uid: dict(task.data) for task in gateway.tasks(found)}
        if any(data.get("role") != "review" for data in there.values()):
            raise LabelError(
                f"the project '{title}' holds labelling tasks", where=gateway.url, fix="name another one for the review"
            )
        review = Review.of(
            workspace,
            turns_asked(there.values()),
            request.min_disagreement,
            request.resolve_by,
            progress,
            destination=("" if found is None else str(found.id), gateway.url),
        )
        earlier = [batch for batch in batches if batch.destination.project == title]
        taken = [*there, *(uid for batch in earlier for uid in batch.uids)]
        new, images = review.new_tasks(workspace, taken, progress)
        destination = Destination(title, None if found is None else found.id, gateway.url)
        if not new and found is None:
            return _result(review, destination, new, None)
        project = gateway.ensure_project(title, review.config, review_instruction(review.ontology))
        destination = Destination(title, project.id, gateway.url)
        note_interface_version(workspace.labelling, project.id, gateway.url, review.ontology.version, batches)
        problem = None
        if images is not None and images.folder.names:
            problem = gateway.serve_images(project.id, images.root)
        # tasks on the server that no manifest names were pushed by a run that was interrupted
        recorded = {uid for batch in earlier if batch.destination.project_id == project.id for uid in batch.uids}
        unrecorded = [{"data": data} for uid, data in there.items() if uid not in recorded]
        folder = _write_batch(workspace, review, [*unrecorded, *new])
        gateway.push(project, new, progress)
        number = _finish_batch(folder, review, [*unrecorded, *new], destination)
    url = f"{gateway.page_url}/projects/{project.id}/data"
    return _result(review, destination, new, number, url=url, images_problem=problem)


def _write_batch(workspace: Workspace, review: Review, tasks: Sequence[Mapping[str, Any]]) -> Path | None:
    rules = "".join(f"- {rule}\n" for rule in REVIEW_RULES)
    guideline = f"# How to review\n\n{rules}\n{guideline_markdown(review.ontology)}"
    return write_batch(workspace.labelling, tasks, config_xml=review.config.xml, guideline=guideline)


def _finish_batch(
    folder: Path | None, review: Review, tasks: Sequence[Mapping[str, Any]], destination: Destination
) -> int | None:
    window = max((len(task["data"]["user_turns"]) for task in tasks), default=0)
    return finish_batch(
        folder, tasks, destination, config=review.config, ontology=review.ontology, window=window, role="review"
    )


def _result(
    review: Review, destination: Destination, new: Sequence[Mapping[str, Any]], number: int | None, **more: Any
) -> AdjudicateResult:
    asked = {(one.dialogue_id, one.turn): one for one in review.asked}  # of several tasks the last
    waiting = [one for key, one in asked.items() if key in review.differing]
    known = review.differing.keys() | review.with_verdict | review.left_open | review.outdated
    return AdjudicateResult(
        destination=destination,
        policy=review.policy,
        disputed=sum(map(len, review.disputes.values())),
        dialogues=len(review.disputes),
        tasks_new=len(new),
        turns_new=sum(len(task["data"]["user_turns"]) for task in new),
        waiting=len(waiting),
        decided=len(review.with_verdict),
        left_open=len(review.left_open),
        outdated=len(review.outdated),
        vanished=tuple(one for key, one in asked.items() if key not in known),
        changed=tuple(one for one in waiting if review.differing[one.dialogue_id, one.turn] != one.dispute_sha256),
        batch=number,
        **more,
    )


def _tasks_of(workspace: Workspace, batch: Batch) -> list[dict[str, Any]]:
    file = workspace.labelling / f"batch-{batch.number:04d}" / "tasks.json"
    fix = "put that file back"
    tasks: list[dict[str, Any]] = read_json(file, error=LabelError, fix=fix, shape=list[dict[str, Any]])
    with taken_apart(file, error=LabelError, what="not a list of review tasks", fix=fix):
        turns_asked(task["data"] for task in tasks)
        return [task for task in tasks if task["data"]["uid"]]
