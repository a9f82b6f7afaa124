"""What changed between two ingests, or between two workspaces: annotations, states, splits, ontology and policy.

The tables are read beside each other as streams: no more than a dialogue of each is in memory.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from annotate.annotations.annotation import Annotation, read_annotations
from pipeline.labelling.ingest_history import find_ingest, kept_ingests
from pipeline.workspace import Workspace
from schemas.errors import UsageError, WorkspaceError
from schemas.files import read_json, taken_apart
from schemas.json_form import json_form
from schemas.tables import STATES, dialogue_rows

Cell = frozenset[str] | None
"""What is known of a slot: ``red``, ``!black`` for what is to be avoided; empty when nothing is asked; None unknown."""

What = Literal["added", "changed", "withdrawn"]
Kind = Literal["changed", "labelled", "unlabelled"]
T = TypeVar("T")

_FIRST = "run `semctl ingest-labels` first"


@dataclass(frozen=True)
class Side:
    """One of the two: its tables (None for the state of things before the first ingest), ontology and policy."""

    name: str
    states: Path | None = None
    annotations: Path | None = None
    slots: Sequence[str] = ()
    ontology_version: int | None = None
    ontology_sha256: str | None = None
    policy: str | None = None

    def as_json(self) -> dict[str, Any]:
        return json_form(self, "states", "annotations", "slots")


@dataclass(frozen=True)
class SlotChange:
    """One slot after one user turn, which two ingests know differently."""

    dialogue_id: str
    turn: int
    slot: str
    before: Cell
    after: Cell

    @property
    def kind(self) -> Kind:
        if self.before is None:
            return "labelled"
        return "unlabelled" if self.after is None else "changed"

    def as_json(self) -> dict[str, Any]:
        before, after = (None if cell is None else sorted(cell) for cell in (self.before, self.after))
        return {**json_form(self), "before": before, "after": after}


class AnnotationChange(NamedTuple):
    """One annotation that only one of two ingests has, or that says something else."""

    what: What
    annotation_id: str
    dialogue_id: str
    annotator: str


@dataclass
class LabelDiff:
    """All that differs."""

    older: Side
    newer: Side
    # who -> what became of how many of their annotations
    annotators: dict[str, Counter[What]] = field(default_factory=dict)
    annotation_examples: list[AnnotationChange] = field(default_factory=list)  # the first ones
    # added, removed: dialogues that only the newer or only the older has
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: int = 0  # how many dialogues have other states
    turns: Counter[Kind] = field(default_factory=Counter)  # how many turns have, by what became of them
    # slot -> how often it was changed, labelled or unlabelled, in turns
    slots: dict[str, Counter[Kind]] = field(default_factory=dict)
    # to_d_f, to_d_p: dialogues that moved into D_F, and out of it
    to_d_f: list[str] = field(default_factory=list)
    to_d_p: list[str] = field(default_factory=list)
    # d_f, d_p: dialogues of the splits, before and after
    d_f: list[int] = field(default_factory=lambda: [0, 0])
    d_p: list[int] = field(default_factory=lambda: [0, 0])
    examples: list[SlotChange] = field(default_factory=list)  # the first changes of states

    @property
    def ontology_changed(self) -> bool:
        return self.older.states is not None and self.older.ontology_sha256 != self.newer.ontology_sha256

    @property
    def policy_changed(self) -> bool:
        return self.older.states is not None and self.older.policy != self.newer.policy

    def __bool__(self) -> bool:
        states = self.added or self.removed or self.changed or self.to_d_f or self.to_d_p
        return bool(self.annotators or states or self.ontology_changed or self.policy_changed)

    def as_json(self) -> dict[str, Any]:
        whats, kinds = get_args(What), get_args(Kind)
        return {
            "older": self.older.as_json(),
            "newer": self.newer.as_json(),
            "differs": bool(self),
            "ontology_changed": self.ontology_changed,
            "policy_changed": self.policy_changed,
            "annotations": {
                **{what: sum(counts[what] for counts in self.annotators.values()) for what in whats},
                "by_annotator": [
                    {"annotator": who, **{what: counts[what] for what in whats}}
                    for who, counts in sorted(self.annotators.items())
                ],
                "examples": [example._asdict() for example in self.annotation_examples],
            },
            "dialogues": {"added": self.added, "removed": self.removed, "changed": self.changed},
            "turns": {kind: self.turns[kind] for kind in kinds},
            "slots": [{"slot": slot, **{kind: counts[kind] for kind in kinds}} for slot, counts in self.slots.items()],
            "splits": {
                "d_f": dict(zip(("before", "after"), self.d_f, strict=True)),
                "d_p": dict(zip(("before", "after"), self.d_p, strict=True)),
                "to_d_f": self.to_d_f,
                "to_d_p": self.to_d_p,
            },
            "examples": [change.as_json() for change in self.examples],
        }


def diff_ingests(
    workspace: Workspace, older: int | None = None, newer: int | None = None, *, examples: int = 10
) -> LabelDiff:
    """Compare two ingests that are kept.

    Args:
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
    ontology = (found.slots, found.ontology_version, found.ontology_sha256)
    return Side(f"ingest {number}", found.states, found.annotations, *ontology, found.policy)


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
    found = LabelDiff(older, newer)
    found.slots = {name: Counter() for name in dict.fromkeys([*newer.slots, *older.slots])}
    for name, before, after in side_by_side(_newest(older.annotations), _newest(newer.annotations)):
        _add_annotation(found, name, before, after, examples)
    for dialogue_id, was, now in side_by_side(_dialogues(older), _dialogues(newer)):
        _add_dialogue(found, dialogue_id, was, now, examples)
    return found


def side_by_side(
    older: Iterable[tuple[str, T]], newer: Iterable[tuple[str, T]]
) -> Iterator[tuple[str, T | None, T | None]]:
    """What two sequences sorted by name say of each name, without holding either."""
    sides = [zip(named, repeat(side)) for side, named in enumerate((older, newer))]
    for name, group in groupby(heapq.merge(*sides, key=lambda entry: entry[0][0]), key=lambda entry: entry[0][0]):
        found = {side: each for (_, each), side in group}
        yield name, found.get(0), found.get(1)


def _newest(annotations: Path | None) -> Iterator[tuple[str, Annotation]]:
    """The newest version of each annotation, in the order of the table."""
    if annotations is not None:
        for name, versions in groupby(read_annotations(annotations), key=lambda each: each.annotation_id):
            yield name, max(versions, key=lambda each: each.updated_at)


def _add_annotation(
    found: LabelDiff, name: str, before: Annotation | None, after: Annotation | None, examples: int
) -> None:
    was = None if before is None or before.is_withdrawn else before
    now = None if after is None or after.is_withdrawn else after
    what: What = "added" if was is None else "withdrawn" if now is None else "changed"
    one = now or was
    if one is None:
        return
    if was and now and (was.marks, was.dialogue_id, was.role) == (now.marks, now.dialogue_id, now.role):
        return
    found.annotators.setdefault(one.annotator, Counter())[what] += 1
    if len(found.annotation_examples) < examples:
        found.annotation_examples.append(AnnotationChange(what, name, one.dialogue_id, one.annotator))


Turns = Mapping[int, Mapping[str, Cell]]


@dataclass(frozen=True)
class _Dialogue:
    """Turn -> slots known after it, and whether these are all slots after every turn: then it is of D_F."""

    turns: Turns
    complete: bool


def _dialogues(side: Side) -> Iterator[tuple[str, _Dialogue]]:
    if side.states is None:
        return
    needed = set(side.slots)
    columns = ["dialogue_id", "turn", "state", "labelled_slots"]
    for dialogue_id, rows in dialogue_rows(side.states, STATES, columns):
        turns = {int(row["turn"]): _cells(row) for row in rows}
        yield dialogue_id, _Dialogue(turns, all(needed <= cells.keys() for cells in turns.values()))


def _cells(row: Mapping[str, Any]) -> dict[str, Cell]:
    """The slots that are known after a turn."""
    if row["state"] is None:
        return {}
    cells: dict[str, set[str]] = {slot: set() for slot in row["labelled_slots"]}
    for item in row["state"]:
        cells.setdefault(item["slot"], set()).add(("!" if item["polarity"] == "dislike" else "") + item["value"])
    return {slot: frozenset(values) for slot, values in cells.items()}


def _add_dialogue(
    found: LabelDiff, dialogue_id: str, before: _Dialogue | None, after: _Dialogue | None, examples: int
) -> None:
    for position, side in enumerate((before, after)):
        if side is not None:
            (found.d_f if side.complete else found.d_p)[position] += 1
    if before is None or after is None:
        (found.added if before is None else found.removed).append(dialogue_id)
    if after is not None and after.complete != bool(before and before.complete):
        (found.to_d_f if after.complete else found.to_d_p).append(dialogue_id)
    was, now = before.turns if before else {}, after.turns if after else {}
    changes = [
        SlotChange(dialogue_id, turn, slot, old, new)
        for turn in sorted({*was, *now})
        for slot in found.slots
        if (old := was.get(turn, {}).get(slot)) != (new := now.get(turn, {}).get(slot))
    ]
    found.changed += bool(changes) and before is not None and after is not None
    found.examples += changes[: examples - len(found.examples)]
    for change in changes:
        found.slots[change.slot][change.kind] += 1
    for _, of_turn in groupby(changes, key=lambda change: change.turn):
        kinds = {change.kind for change in of_turn}
        found.turns["changed" if len(kinds) > 1 else kinds.pop()] += 1
