"""The policy that makes one answer of several people's, fitted to the workspace where it has to be; dialogues by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from annotate.annotations.annotation import Annotation, read_annotations
from annotate.annotations.dialogue_index import IndexedDialogue, read_dialogue_index
from annotate.annotations.migration import Migration
from annotate.exports.annotation_store import AnnotationStore
from annotate.resolution.policies import POLICIES, Adjudicated, Majority, Policy, PolicyName, Weighted
from annotate.resolution.resolve import AnswerCounts, Resolution, ballots_of, resolve
from pipeline.workspace import Workspace
from schemas.errors import WorkspaceError
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.validation import known_name


def policy_name(name: str | None, default: PolicyName) -> PolicyName:
    """The policy asked for, or the default."""
    return default if name is None else known_name("policy", name, POLICIES)


Answered = tuple[str, list[Annotation], Sequence[int]]
"""Id of a dialogue, its annotations in the names that the ontology has now, and its user turns."""


def answered_dialogues(
    store: AnnotationStore, index: Mapping[str, IndexedDialogue], ontology: Ontology
) -> Iterator[Answered]:
    """All annotations, dialogue by dialogue, of those dialogues that are there."""
    for dialogue_id, said in Migration(ontology).dialogues(store.by_dialogue()):
        if dialogue_id in index:
            yield dialogue_id, said, index[dialogue_id].user_turns


def policy_of(name: PolicyName, dialogues: Iterable[Answered], ontology: Ontology, progress: Progress) -> Policy:
    """The policy of this name; ``dialogues`` are read through by ``dawid-skene``, not at all by others."""
    if name == "majority":
        return Majority()
    if name == "adjudicated":
        return Adjudicated()
    counts = AnswerCounts(ontology)
    for _, said, turns in progress.track(dialogues, "reliability of annotators"):
        counts.add(ballots_of(said, turns, ontology))
    return Weighted(counts.fitted())


class ResolvedCounts:
    """How the turns that several people answered were decided."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._turns: Counter[str] = Counter()
        self._disputed_dialogues = 0

    def add(self, resolution: Resolution) -> None:
        """Count one dialogue."""
        for turn in resolution.turns:
            several = len(turn.ballots) > 1
            self._turns["several"] += several
            if turn.decided_by is not None and (several or turn.decided_by in ("verdict", "disputed")):
                self._turns[turn.decided_by] += 1
        self._disputed_dialogues += any(turn.decided_by == "disputed" for turn in resolution.turns)

    def as_json(self) -> dict[str, Any]:
        """Turns answered by several; then those agreed on, decided by the policy, in dispute, decided by verdict."""
        return {
            "policy": self.policy.name,
            "turns_of_several": self._turns["several"],
            "agreed": self._turns["agreement"],
            "by_policy": self._turns["majority"] + self._turns["dawid-skene"],
            "disputed": self._turns["disputed"],
            "by_verdict": self._turns["verdict"],
            "disputed_dialogues": self._disputed_dialogues,
            "annotators": self._reliability(),
        }

    def _reliability(self) -> dict[str, dict[str, float]]:
        if not isinstance(self.policy, Weighted):
            return {}
        found = self.policy.model.reliability
        return {
            who: {"sensitivity": round(rates.sensitivity, 6), "specificity": round(rates.specificity, 6)}
            for who, rates in sorted(found.items())
        }


@contextmanager
def resolved_dialogues(
    workspace: Workspace, ontology: Ontology, policy: PolicyName, progress: Progress
) -> Iterator[Callable[[], Iterator[tuple[str, Resolution]]]]:
    """The block gets a function that goes through the annotations, which stay out of memory, dialogue by dialogue."""
    if not workspace.annotations.is_file():
        raise WorkspaceError(
            "there are no annotations yet", where=workspace.annotations, fix="run `semctl ingest-labels` first"
        )
    index = read_dialogue_index(workspace.turns, with_hashes=False)
    with AnnotationStore() as store:
        store.load(read_annotations(workspace.annotations))
        chosen = policy_of(policy, answered_dialogues(store, index, ontology), ontology, progress)

        def each() -> Iterator[tuple[str, Resolution]]:
            for dialogue_id, said, turns in answered_dialogues(store, index, ontology):
                if turns:
                    yield dialogue_id, resolve(said, turns, ontology, chosen)

        yield each
