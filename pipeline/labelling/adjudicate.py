"""Adjudication: turns that people answer differently go to a reviewer, into a project of their own or a file.

A turn is asked once: run again, only turns that are newly in dispute are added, those that a reviewer left open, and
those on which annotators answered otherwise since the verdict. Verdicts come back like all answers, with
``ingest-labels``, and win in what they decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from annotate.adjudication.review_tasks import REVIEW_RULES, Dispute, disputes_of, review_instruction, review_tasks
from annotate.annotations.annotation import Annotation
from annotate.exports.identity import is_address
from annotate.resolution.resolve import Resolution
from annotate.simulated_annotators import offered_choices
from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import TaskStyle
from annotate.tasks.guidelines import guideline_markdown
from pipeline.batches import Batch, Destination, ToProjectOrFile, batch_folder, new_batch, read_batches
from pipeline.chosen_dialogues import read_dialogues
from pipeline.labelling.live_configuration import configuration, note_interface_version
from pipeline.labelling.resolution_policy import policy_name, resolved_dialogues
from pipeline.labelling.task_images import TaskImages
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError
from schemas.files import locked, read_json, taken_apart
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress


@dataclass(frozen=True)
class Asked:
    """A turn that a review task asks for."""

    dialogue_id: str
    turn: int
    uid: str
    dispute_sha256: str  # hash of the answers that the task shows


def turns_asked(tasks: Iterable[Mapping[str, Any]]) -> Iterator[Asked]:
    """The turns that review tasks ask for, by their data; what is no task of semctl asks for nothing."""
    for data in tasks:
        hashes = data.get("disputes")
        for turn in data.get("user_turns", []):
            try:
                number = int(turn["turn"])
                shown = hashes.get(str(number), "") if isinstance(hashes, dict) else ""
                yield Asked(str(data["dialogue_id"]), number, str(data["uid"]), str(shown))
            except (KeyError, TypeError, ValueError):
                continue


Became = Literal["waiting", "decided", "left open", "outdated"]
"""Waiting: answers differ, no reviewer has said anything. Outdated: somebody answered otherwise after the verdict."""


@dataclass
class Review:
    """What the workspace holds for a reviewer."""

    ontology: Ontology
    config: labels.LabelConfig  # the screen: that of labelling, and the answers to take over
    policy: str  # what leaves turns in dispute
    asked: tuple[Asked, ...]  # turns asked for already
    # dialogue id -> its turns for a reviewer, those asked for among them
    disputes: dict[str, list[Dispute]] = field(default_factory=dict)
    new: dict[str, list[Dispute]] = field(default_factory=dict)  # those of them that no task waits for an answer to
    resolutions: dict[str, Resolution] = field(default_factory=dict)  # the dialogues with such turns
    # what became of the turns asked for that are or were in dispute
    became: dict[tuple[str, int], Became] = field(default_factory=dict)
    differing: dict[tuple[str, int], str] = field(default_factory=dict)  # of those waiting: hash of the answers now
    # number of the review project, and address of its server; of a file neither is known
    destination: tuple[str, str] | None = None

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        request: AdjudicateRequest,
        asked: Iterable[Asked],
        progress: Progress,
        destination: tuple[str, str] | None = None,
    ) -> Review:
        """Look through all annotations of the workspace."""
        min_disagreement = request.min_disagreement
        if min_disagreement is not None and not 0 <= min_disagreement < 1:
            raise UsageError(
                f"--min-disagreement {min_disagreement:g} is no share of the annotators",
                fix="0 is any difference, 0.5 half of them",
            )
        settings = workspace.require().settings().labelling
        ontology = workspace.ontology()
        policy = policy_name(request.resolve_by, settings.resolve)
        config = configuration(ontology, settings, review=True)
        review = cls(ontology, config, policy, tuple(asked), destination=destination)
        by_dialogue: dict[str, list[Asked]] = {}
        for one in review.asked:
            by_dialogue.setdefault(one.dialogue_id, []).append(one)
        with resolved_dialogues(workspace, ontology, policy, progress) as dialogues:
            for dialogue_id, resolution in progress.track(dialogues(), "looking for disputes"):
                disputes = disputes_of(resolution, min_disagreement)
                review._take(dialogue_id, resolution, disputes, by_dialogue.get(dialogue_id, ()))
        return review

    def _take(self, dialogue_id: str, resolution: Resolution, disputes: list[Dispute], asked: Sequence[Asked]) -> None:
        sent = {(one.task_uid, turn) for one in resolution.reviews if self._is_from_here(one) for turn in one.turns()}
        waiting = {one.turn for one in asked if (one.uid, one.turn) not in sent}
        once = {one.turn for one in asked}
        new = [
            dispute
            for dispute in disputes
            if dispute.turn not in waiting and (dispute.is_open or dispute.turn not in once)
        ]
        if disputes:
            self.disputes[dialogue_id] = disputes
        if new:
            self.new[dialogue_id] = new
            self.resolutions[dialogue_id] = resolution
        for turn in resolution.turns:
            key = (dialogue_id, turn.turn)
            if turn.turn not in once:
                continue
            if turn.outdated:
                self.became[key] = "outdated"
            elif turn.decided_by == "verdict":
                self.became[key] = "decided"
            elif turn.disagreement > 0 or turn.decided_by == "disputed":
                if turn.turn in waiting:
                    self.became[key], self.differing[key] = "waiting", Dispute(turn, ()).sha256
                else:  # a reviewer left it as it was: decided by the others, or open
                    self.became[key] = "left open" if turn.decided_by == "disputed" else "decided"

    def _is_from_here(self, review: Annotation) -> bool:
        """Whether an answer may be to a task of this destination: review tasks of two have the same uids."""
        if self.destination is None or review.project is None:
            return True
        project, url = self.destination
        return review.project == project and (not is_address(review.server) or review.server == url)

    def new_tasks(
        self, workspace: Workspace, taken: Iterable[str], progress: Progress
    ) -> tuple[list[dict[str, Any]], TaskImages | None]:
        """Tasks for the turns that no task asks for, or that were answered and left open, and the images they show.

        Args:
            taken: uids of earlier review tasks, which are not used again.
        """
        if not self.resolutions:
            return [], None
        settings = workspace.settings().labelling
        window = labels.window_size(self.config, max_choices=settings.max_choices, asked=settings.window)
        dialogues = read_dialogues(workspace.turns, list(self.resolutions), progress)
        images = TaskImages.link(workspace, dialogues, progress)
        style = TaskStyle(window, self.ontology.version, self.config.sha256, images.address, images.names)
        offered = offered_choices(self.config.xml)
        first = _next_windows(taken)
        tasks: list[dict[str, Any]] = []
        for dialogue_id, resolution in self.resolutions.items():
            tasks += review_tasks(
                dialogues[dialogue_id],
                self.new[dialogue_id],
                resolution,
                style,
                self.ontology,
                offered=offered,
                first_window=first.get(dialogue_id, 0),
            )
        return tasks, images


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
        named = {
            name: [json_form(one, "dispute_sha256") for one in turns]
            for name, turns in (("vanished", self.vanished), ("changed", self.changed))
        }
        return {**self.destination.as_json(self.url), **json_form(self, "destination", "url"), **named}


def adjudicate(
    workspace: Workspace, request: AdjudicateRequest, *, progress: Progress = SilentProgress()
) -> AdjudicateResult:
    """Put the review tasks that are not there yet into a project, or all of them into a file.

    A project is made when there is none of that name. A file gets the tasks of earlier runs, too.

    Raises:
        InputError: no annotations, tables, batches or a file that cannot be used; or the project holds labelling tasks,
            or was edited by hand.
        ServiceError: Label Studio is down or refuses the key; what was pushed stays, and the next run completes it.
    """
    if request.project is not None:
        return _to_project(workspace, request, request.project, progress)
    return _to_file(workspace, request, progress)


def _to_file(workspace: Workspace, request: AdjudicateRequest, progress: Progress) -> AdjudicateResult:
    file = request.file
    destination = Destination(file=str(file.resolve()))
    with locked(workspace.labelling / ".lock"):
        batches = [batch for batch in read_batches(workspace.labelling) if batch.destination == destination]
        if any(batch.role != "review" for batch in batches):
            raise LabelError("the file holds labelling tasks", where=file, fix="name another file for review tasks")
        earlier = [task for batch in batches for task in _tasks_of(workspace, batch)]
        asked = turns_asked(task["data"] for task in earlier)
        review = Review.of(workspace, request, asked, progress)
        new, _ = review.new_tasks(workspace, [task["data"]["uid"] for task in earlier], progress)
        with _batch(workspace, review, new, destination) as number:
            if earlier or new:
                request.write([*earlier, *new])
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
        place = ("" if found is None else str(found.id), gateway.url)
        review = Review.of(workspace, request, turns_asked(there.values()), progress, place)
        earlier = [batch for batch in batches if batch.destination.project == title]
        taken = [*there, *(uid for batch in earlier for uid in batch.uids)]
        new, images = review.new_tasks(workspace, taken, progress)
        destination = Destination(title, None if found is None else found.id, gateway.url)
        if not new and found is None:
            return _result(review, destination, new, None)
        project = gateway.ensure_project(title, review.config, review_instruction(review.ontology))
        destination = Destination(title, project.id, gateway.url)
        note_interface_version(workspace.labelling, project.id, gateway.url, review.ontology.version, batches)
        problem = images.serve(gateway, project.id) if images is not None else None
        # tasks on the server that no manifest names were pushed by a run that was interrupted
        recorded = {uid for batch in earlier if batch.destination.project_id == project.id for uid in batch.uids}
        unrecorded = [{"data": data} for uid, data in there.items() if uid not in recorded]
        with _batch(workspace, review, [*unrecorded, *new], destination) as number:
            gateway.push(project, new, progress)
    url = f"{gateway.page_url}/projects/{project.id}/data"
    return _result(review, destination, new, number, url=url, images_problem=problem)


def _batch(
    workspace: Workspace, review: Review, tasks: Sequence[Mapping[str, Any]], destination: Destination
) -> AbstractContextManager[int | None]:
    rules = "".join(f"- {rule}\n" for rule in REVIEW_RULES)
    return new_batch(
        workspace.labelling,
        tasks,
        destination,
        config=review.config,
        ontology=review.ontology,
        guideline=f"# How to review\n\n{rules}\n{guideline_markdown(review.ontology)}",
        window=max((len(task["data"]["user_turns"]) for task in tasks), default=0),
        role="review",
    )


def _result(
    review: Review, destination: Destination, new: Sequence[Mapping[str, Any]], number: int | None, **more: Any
) -> AdjudicateResult:
    asked = {(one.dialogue_id, one.turn): one for one in review.asked}  # of several tasks the last
    waiting = [one for key, one in asked.items() if key in review.differing]
    became = Counter(review.became.values())
    return AdjudicateResult(
        destination=destination,
        policy=review.policy,
        disputed=sum(map(len, review.disputes.values())),
        dialogues=len(review.disputes),
        tasks_new=len(new),
        turns_new=sum(len(task["data"]["user_turns"]) for task in new),
        waiting=len(waiting),
        decided=became["decided"],
        left_open=became["left open"],
        outdated=became["outdated"],
        vanished=tuple(one for key, one in asked.items() if key not in review.became),
        changed=tuple(one for one in waiting if review.differing[one.dialogue_id, one.turn] != one.dispute_sha256),
        batch=number,
        **more,
    )


def _tasks_of(workspace: Workspace, batch: Batch) -> list[dict[str, Any]]:
    file = batch_folder(workspace.labelling, batch.number) / "tasks.json"
    fix = "put that file back"
    tasks: list[dict[str, Any]] = read_json(file, error=LabelError, fix=fix, shape=list[dict[str, Any]])
    with taken_apart(file, error=LabelError, what="not a list of review tasks", fix=fix):
        turns_asked(task["data"] for task in tasks)
        return [task for task in tasks if task["data"]["uid"]]


def _next_windows(taken: Iterable[str]) -> dict[str, int]:
    """Dialogue id -> the first number that no uid of it has."""
    first: dict[str, int] = {}
    for uid in taken:
        dialogue_id, _, number = uid.rpartition("#")
        if number.isdecimal():
            first[dialogue_id] = max(first.get(dialogue_id, 0), int(number) + 1)
    return first
