"""What of a workspace a reviewer is to see: the turns in dispute, without those asked for already, as review tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from annotate.adjudication.review_tasks import Dispute, disputes_of, review_tasks
from annotate.annotations.annotation import Annotation
from annotate.exports.identity import is_address
from annotate.resolution.resolve import Resolution
from annotate.simulated_annotators import offered_choices
from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import TaskStyle
from pipeline.chosen_dialogues import read_dialogues
from pipeline.labelling.live_configuration import configuration
from pipeline.labelling.resolution_policy import policy_name
from pipeline.labelling.resolved_dialogues import resolved_dialogues
from pipeline.labelling.task_images import TaskImages
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.ontology import Ontology
from schemas.progress import Progress


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
    # of the turns asked for, those on which answers differ and nothing is decided: the hash of the answers as they are
    # now
    differing: dict[tuple[str, int], str] = field(default_factory=dict)
    # of the turns asked for, those with a verdict that is not outdated
    with_verdict: set[tuple[str, int]] = field(default_factory=set)
    # of the turns asked for, those on which somebody answered otherwise after the verdict
    outdated: set[tuple[str, int]] = field(default_factory=set)
    # of the turns asked for, those that every reviewer asked has left open
    left_open: set[tuple[str, int]] = field(default_factory=set)
    # number of the review project, and address of its server; of a file neither is known
    destination: tuple[str, str] | None = None

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        asked: Iterable[Asked],
        min_disagreement: float | None,
        resolve_by: str | None,
        progress: Progress,
        *,
        destination: tuple[str, str] | None = None,
    ) -> Review:
        """Look through all annotations of the workspace."""
        if min_disagreement is not None and not 0 <= min_disagreement < 1:
            raise UsageError(
                f"--min-disagreement {min_disagreement:g} is no share of the annotators",
                fix="0 is any difference, 0.5 half of them",
            )
        settings = workspace.require().settings().labelling
        ontology = workspace.ontology()
        policy = policy_name(resolve_by, settings.resolve)
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
                self.outdated.add(key)
            elif turn.decided_by == "verdict":
                self.with_verdict.add(key)
            elif turn.disagreement > 0 or turn.decided_by == "disputed":
                if turn.turn in waiting:
                    self.differing[key] = Dispute(turn, ()).sha256
                elif turn.decided_by == "disputed":
                    self.left_open.add(key)
                else:
                    self.with_verdict.add(key)  # the reviewer left it as the others decided it

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
        shown = (image for rows in dialogues.values() for row in rows for image in row["image_ids"])
        images = TaskImages.link(workspace, shown, progress)
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


def _next_windows(taken: Iterable[str]) -> dict[str, int]:
    """Dialogue id -> the first number that no uid of it has."""
    first: dict[str, int] = {}
    for uid in taken:
        dialogue_id, _, number = uid.rpartition("#")
        if number.isdecimal():
            first[dialogue_id] = max(first.get(dialogue_id, 0), int(number) + 1)
    return first
