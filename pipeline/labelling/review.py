"""What of a workspace a reviewer is to see: the turns in dispute, without those asked for already, as review tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from annotate import label_config as labels
from annotate.adjudication import Dispute, disputes_of, review_tasks
from annotate.resolution.resolve import Resolution
from annotate.simulate import offered_choices
from annotate.tasks import TaskStyle
from pipeline.labelling.selection import read_dialogues
from pipeline.labelling.task_pictures import TaskPictures
from pipeline.labels.resolved import resolved_dialogues
from pipeline.labels.resolving import policy_name
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.ontology import Ontology
from schemas.progress import Progress

__all__ = ["Asked", "Review", "turns_asked"]


@dataclass(frozen=True)
class Asked:
    """A turn that a review task asks for.

    Attributes:
        dialogue_id: the dialogue.
        turn: its user turn.
        uid: the task.
        dispute_sha256: hash of the answers that the task shows.
    """

    dialogue_id: str
    turn: int
    uid: str
    dispute_sha256: str


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
    """What the workspace holds for a reviewer.

    Attributes:
        ontology: its slots.
        config: the screen, the same as for labelling.
        policy: what leaves turns in dispute.
        asked: turns asked for already.
        disputes: dialogue id -> its turns for a reviewer, those asked for among them.
        resolutions: the dialogues with new turns.
        differing: of the turns asked for, those on which answers differ and nobody gave a verdict: the hash of the
            answers as they are now.
        with_verdict: of the turns asked for, those with a verdict.
    """

    ontology: Ontology
    config: labels.LabelConfig
    policy: str
    asked: tuple[Asked, ...]
    disputes: dict[str, list[Dispute]] = field(default_factory=dict)
    resolutions: dict[str, Resolution] = field(default_factory=dict)
    differing: dict[tuple[str, int], str] = field(default_factory=dict)
    with_verdict: set[tuple[str, int]] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        asked: Iterable[Asked],
        min_disagreement: float | None,
        resolve_by: str | None,
        progress: Progress,
    ) -> Review:
        """Look through all annotations of the workspace.

        Args:
            workspace: with annotations.
            asked: turns that earlier review tasks ask for.
            min_disagreement: see :func:`annotate.adjudication.disputes_of`.
            resolve_by: what leaves turns in dispute; None takes the setting ``labelling.resolve``.
            progress: shows how far it is.

        Raises:
            InputError: nothing was ingested yet, no such policy, or a share that is none.
        """
        if min_disagreement is not None and not 0 <= min_disagreement < 1:
            raise UsageError(
                f"--min-disagreement {min_disagreement:g} is no share of the annotators",
                fix="0 is any difference, 0.5 half of them",
            )
        settings = workspace.require().settings().labelling
        ontology = workspace.ontology()
        policy = policy_name(resolve_by, settings.resolve)
        config = labels.build(
            ontology, max_values_per_slot=settings.max_values_per_slot, max_choices=settings.max_choices
        )
        review = cls(ontology, config, policy, tuple(asked))
        known = {(one.dialogue_id, one.turn) for one in review.asked}
        with resolved_dialogues(workspace, ontology, policy, progress) as dialogues:
            for dialogue_id, resolution in progress.track(dialogues(), "looking for disputes"):
                review._take(dialogue_id, resolution, disputes_of(resolution, min_disagreement), known)
        return review

    def _take(
        self, dialogue_id: str, resolution: Resolution, disputes: list[Dispute], known: set[tuple[str, int]]
    ) -> None:
        if disputes:
            self.disputes[dialogue_id] = disputes
        if any((dialogue_id, dispute.turn) not in known for dispute in disputes):
            self.resolutions[dialogue_id] = resolution
        for turn in resolution.turns:
            key = (dialogue_id, turn.turn)
            if key not in known:
                continue
            if turn.decided_by == "verdict":
                self.with_verdict.add(key)
            elif turn.disagreement > 0 or turn.decided_by == "disputed":
                self.differing[key] = Dispute(turn, ()).sha256

    def new_tasks(
        self, workspace: Workspace, taken: Iterable[str], progress: Progress
    ) -> tuple[list[dict[str, Any]], TaskPictures | None]:
        """Tasks for the turns that are not asked for yet, and the pictures they show.

        Args:
            workspace: where the dialogues are from.
            taken: uids of earlier review tasks, which are not used again.
            progress: shows how far it is.
        """
        known = {(one.dialogue_id, one.turn) for one in self.asked}
        if not self.resolutions:
            return [], None
        settings = workspace.settings().labelling
        window = labels.window_size(self.config, max_choices=settings.max_choices, asked=settings.window)
        dialogues = read_dialogues(workspace.turns, list(self.resolutions), progress)
        shown = (image for rows in dialogues.values() for row in rows for image in row["image_ids"])
        pictures = TaskPictures.link(workspace, shown, progress)
        style = TaskStyle(window, self.ontology.version, self.config.sha256, pictures.address, pictures.names)
        offered = offered_choices(self.config.xml)
        first = _next_windows(taken)
        tasks: list[dict[str, Any]] = []
        for dialogue_id, resolution in self.resolutions.items():
            tasks += review_tasks(
                dialogues[dialogue_id],
                [dispute for dispute in self.disputes[dialogue_id] if (dialogue_id, dispute.turn) not in known],
                resolution,
                style,
                self.ontology,
                offered=offered,
                first_window=first.get(dialogue_id, 0),
            )
        return tasks, pictures


def _next_windows(taken: Iterable[str]) -> dict[str, int]:
    """Dialogue id -> the first number that no uid of it has."""
    first: dict[str, int] = {}
    for uid in taken:
        dialogue_id, _, number = uid.rpartition("#")
        if number.isdecimal():
            first[dialogue_id] = max(first.get(dialogue_id, 0), int(number) + 1)
    return first
