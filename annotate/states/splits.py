"""Belief states of every user turn, and the splits: D_F (dialogues labelled throughout) and D_P (all others)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.resolution.resolve import Resolution, TurnResolution
from schemas.accumulate import accumulate
from schemas.belief import state_to_rows
from schemas.errors import WorkspaceError
from schemas.files import read_json, sha256_file, taken_apart
from schemas.ontology import Ontology
from schemas.tables import D_F, D_P, read_table

SPLIT_SCHEMA = 1

_AGAIN = "run `semctl ingest-labels` again"


@dataclass(frozen=True)
class LabelledDialogue:
    """One dialogue with its labels."""

    rows: list[dict[str, Any]]  # one row of ``states.parquet`` per user turn
    complete: bool  # whether every user turn is labelled in every slot, which puts it into D_F


@dataclass
class SplitCounts:
    """Dialogues and user turns of one split."""

    dialogues: int = 0
    turns: int = 0
    by_split: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, split: str, turns: int) -> None:
        """Count one dialogue of the corpus' split ``split``."""
        self.dialogues += 1
        self.turns += turns
        part = self.by_split.setdefault(split, {"dialogues": 0, "turns": 0})
        part["dialogues"] += 1
        part["turns"] += turns

    def as_json(self) -> dict[str, int]:
        return {"dialogues": self.dialogues, "turns": self.turns}


def label_dialogue(
    dialogue_id: str, dialogue: IndexedDialogue, resolution: Resolution, ontology: Ontology
) -> LabelledDialogue:
    """The states of one dialogue that has at least one user turn.

    A row's ``annotators`` and ``source_annotations`` are those of the turn's own update, several where several agree;
    what its state carries over from earlier turns is sourced there. ``decided_by`` and ``disputed_slots`` are those of
    :class:`~annotate.resolution.resolve.TurnResolution`.

    Raises:
        OntologyError: a label names a slot that the ontology lacks; says where.
    """
    where = [
        f"dialogue {dialogue_id}, turn {one.turn}, annotation {', '.join(_names(one)) or '-'}"
        for one in resolution.turns
    ]
    states = accumulate(resolution.updates, ontology, where=where)
    every_slot = frozenset(slot.name for slot in ontology.slots)
    rows = []
    for one, known in zip(resolution.turns, states, strict=True):
        rows.append(
            {
                "dialogue_id": dialogue_id,
                "turn": one.turn,
                "split": dialogue.split,
                "state": state_to_rows(known.state),
                "labelled_slots": sorted(known.known_slots),
                "annotators": [source.annotator for source in one.sources],
                "source_annotations": _names(one),
                "decided_by": one.decided_by,
                "disputed_slots": sorted(one.disputed_slots),
            }
        )
    complete = all(known.state is not None and known.known_slots == every_slot for known in states)
    return LabelledDialogue(rows, complete)


def _names(turn: TurnResolution) -> list[str]:
    return [source.annotation_id for source in turn.sources]


def split_manifest(
    d_f: Path, d_p: Path, states: Path, counts: Mapping[str, SplitCounts], inputs: Mapping[str, str], ontology: Ontology
) -> dict[str, Any]:
    """What ``splits/manifest.json`` says: hashes and sizes of the files of one complete set, and of what they were
    made of.
    """
    files: dict[str, dict[str, Any]] = {
        name: {"sha256": sha256_file(path), **counts[name].as_json()} for name, path in (("D_F", d_f), ("D_P", d_p))
    }
    files["states"] = {"sha256": sha256_file(states)}
    return {
        "semctl_schema": SPLIT_SCHEMA,
        "files": files,
        "inputs": dict(inputs),
        "slots": [slot.name for slot in ontology.slots],
        "ontology_version": ontology.version,
        "by_split": {name: dict(sorted(part.by_split.items())) for name, part in counts.items()},
        "complete": True,
    }


def read_splits(d_f: Path, d_p: Path, manifest: Path) -> tuple[pa.Table, pa.Table]:
    """D_F and D_P, when they are one complete set.

    Raises:
        WorkspaceError: a file or the manifest is missing, or a file is not the one the manifest names: the last
            ingest was interrupted, or somebody changed it.
        SchemaError: a file of another schema version.
    """
    said = read_json(manifest, error=WorkspaceError, fix="run `semctl ingest-labels`")
    for name, path in (("D_F", d_f), ("D_P", d_p)):
        if not path.is_file():
            raise WorkspaceError(f"the split {name} is missing", where=path, fix=_AGAIN)
        with taken_apart(manifest, error=WorkspaceError, what="not a manifest of splits", fix=_AGAIN):
            named = said["files"][name]["sha256"]
        if named != sha256_file(path):
            raise WorkspaceError(f"the split {name} is not the one its manifest names", where=path, fix=_AGAIN)
    return read_table(d_f, D_F), read_table(d_p, D_P)
