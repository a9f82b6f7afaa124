"""What changed between two ingests, or between two workspaces: annotations, states, splits, ontology and policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from annotate.annotations.annotation import Annotation, read_annotations
from pipeline.labelling.ingest_history import find_ingest, kept_ingests
from pipeline.provenance.state_diff import StateDiff, side_by_side, state_diff
from pipeline.workspace import Workspace
from schemas.errors import UsageError, WorkspaceError
from schemas.files import read_json, taken_apart
from schemas.json_form import json_form

__all__ = ["AnnotationDiff", "LabelDiff", "Side", "diff_ingests", "diff_workspaces"]

What = Literal["added", "changed", "withdrawn"]

_FIRST = "run `semctl ingest-labels` first"


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: for people.
        states, annotations: its tables; None for the state of things before the first ingest.
        slots: of its ontology.
        ontology_version, ontology_sha256: of that.
        policy: how several people's answers became one.
    """

    name: str
    states: Path | None = None
    annotations: Path | None = None
    slots: Sequence[str] = ()
    ontology_version: int | None = None
    ontology_sha256: str | None = None
    policy: str | None = None

    def as_json(self) -> dict[str, Any]:
        return json_form(self, "states", "annotations", "slots")


@dataclass
class AnnotationDiff:
    """What became of annotations, by annotator.

    Attributes:
        by_annotator: who -> what -> how many.
        examples: the first ones: what, annotation, dialogue, annotator.
    """

    by_annotator: dict[str, Counter[What]] = field(default_factory=dict)
    examples: list[tuple[What, str, str, str]] = field(default_factory=list)

    def total(self, what: What) -> int:
        """How many in all."""
        return sum(counts[what] for counts in self.by_annotator.values())


@dataclass(frozen=True)
class LabelDiff:
    """All that differs."""

    older: Side
    newer: Side
    annotations: AnnotationDiff
    states: StateDiff

    @property
    def ontology_changed(self) -> bool:
        return self.older.states is not None and self.older.ontology_sha256 != self.newer.ontology_sha256

    @property
    def policy_changed(self) -> bool:
        return self.older.states is not None and self.older.policy != self.newer.policy

    def __bool__(self) -> bool:
        return bool(self.annotations.by_annotator or self.states or self.ontology_changed or self.policy_changed)

    def as_json(self) -> dict[str, Any]:
        """The diff as one JSON object."""
        states = self.states
        whats: tuple[What, ...] = ("added", "changed", "withdrawn")
        return {
            "older": self.older.as_json(),
            "newer": self.newer.as_json(),
            "differs": bool(self),
            "ontology_changed": self.ontology_changed,
            "policy_changed": self.policy_changed,
            "annotations": {
                **{what: self.annotations.total(what) for what in whats},
                "by_annotator": [
                    {"annotator": who, **{what: counts[what] for what in whats}}
                    for who, counts in sorted(self.annotations.by_annotator.items())
                ],
                "examples": [
                    dict(zip(("what", "annotation_id", "dialogue_id", "annotator"), example, strict=True))
                    for example in self.annotations.examples
                ],
            },
            "dialogues": {"added": states.added, "removed": states.removed, "changed": states.changed},
            "turns": {kind: states.turns[kind] for kind in ("changed", "labelled", "unlabelled")},
            "slots": [
                {"slot": slot, **{kind: counts[kind] for kind in ("changed", "labelled", "unlabelled")}}
                for slot, counts in states.slots.items()
            ],
            "splits": {
                "d_f": {"before": states.d_f[0], "after": states.d_f[1]},
                "d_p": {"before": states.d_p[0], "after": states.d_p[1]},
                "to_d_f": states.to_d_f,
                "to_d_p": states.to_d_p,
            },
            "examples": [change.as_json() for change in states.examples],
        }


def diff_ingests(
    workspace: Workspace, older: int | None = None, newer: int | None = None, *, examples: int = 10
) -> LabelDiff:
    """Compare two ingests that are kept.

    Args:
        workspace: with ingests.
        older: number of one; the one before the newer when not given; 0 for before the first one.
        newer: number of the other; the last one when not given.
        examples: how many changes to list.

    Raises:
        UsageError: an ingest is not kept.
    """
    kept = [ingest.number for ingest in kept_ingests(workspace)]
    if not kept:
        raise UsageError("no ingest is kept", where=workspace.ingests, fix=_FIRST)
    last = kept[-1] if newer is None else newer
    if older is None:
        earlier = [number for number in kept if number < last]
        if not earlier and last != 1:
            raise UsageError(f"no ingest before {last} is kept", fix="give both numbers, 0 for before the first")
        older = earlier[-1] if earlier else 0
    return _diff(_kept(workspace, older), _kept(workspace, last), examples)


def diff_workspaces(workspace: Workspace, other: Workspace, *, examples: int = 10) -> LabelDiff:
    """Compare the labels of two workspaces as they are; ``other`` counts as the older one.

    Raises:
        WorkspaceError: one of them is no workspace, or has no labels.
    """
    return _diff(_now(other), _now(workspace), examples)


def _kept(workspace: Workspace, number: int) -> Side:
    if number == 0:
        return Side("before the first ingest")
    found = find_ingest(workspace, number)
    return Side(
        f"ingest {number}",
        found.states,
        found.annotations,
        found.slots,
        found.ontology_version,
        found.ontology_sha256,
        found.policy,
    )


def _now(workspace: Workspace) -> Side:
    manifest = read_json(workspace.require().split_manifest, error=WorkspaceError, fix=_FIRST)
    ledger = read_json(workspace.label_ledger, error=WorkspaceError, fix=_FIRST)
    ontology = workspace.ontology()
    with taken_apart(workspace.split_manifest, error=WorkspaceError, what="not a manifest of splits", fix=_FIRST):
        slots, sha256 = list(manifest["slots"]), str(manifest["inputs"]["ontology"])
        policy = ledger.get("resolved", {}).get("policy")
    version = ontology.version if ontology.sha256() == sha256 else None
    return Side(str(workspace.root), workspace.states, workspace.annotations, slots, version, sha256, policy)


def _diff(older: Side, newer: Side, examples: int) -> LabelDiff:
    return LabelDiff(
        older,
        newer,
        _annotation_diff(older.annotations, newer.annotations, examples),
        state_diff(older.states, newer.states, (older.slots, newer.slots), examples=examples),
    )


def _annotation_diff(older: Path | None, newer: Path | None, examples: int) -> AnnotationDiff:
    found = AnnotationDiff()
    for name, before, after in side_by_side(_newest(older), _newest(newer)):
        was = before if before is not None and not before.is_withdrawn else None
        now = after if after is not None and not after.is_withdrawn else None
        what: What | None = None
        if was is None or now is None:
            what = "added" if now is not None else "withdrawn" if was is not None else None
        elif (was.marks, was.dialogue_id, was.role) != (now.marks, now.dialogue_id, now.role):
            what = "changed"
        if what is not None:
            one = now or was
            assert one is not None
            found.by_annotator.setdefault(one.annotator, Counter())[what] += 1
            if len(found.examples) < examples:
                found.examples.append((what, name, one.dialogue_id, one.annotator))
    return found


def _newest(annotations: Path | None) -> Iterator[tuple[str, Annotation]]:
    """The newest version of each annotation, in the order of the table."""
    if annotations is None:
        return
    for name, versions in groupby(read_annotations(annotations), key=lambda each: each.annotation_id):
        yield name, max(versions, key=lambda each: each.updated_at)
