"""``semctl trace``: one cell of the splits, followed back to projects, tasks, annotations, screens and exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from annotate.annotations.annotation import Annotation
from annotate.exports.identity import is_address
from annotate.label_studio.studio import Studio
from annotate.states.tracing import Origin, Spoken, origins, spoken
from pipeline.batches import Batch, batch_folder, read_batches
from pipeline.labelling.sources import pull_states
from pipeline.workspace import Workspace
from schemas.errors import UsageError, WorkspaceError
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.tables import ANNOTATIONS, D_F, STATES, TURNS, Table, read_table
from schemas.validation import did_you_mean

_TOLD = (
    *("annotator", "role", "prelabel", "prelabel_score", "untouched", "lead_time", "created_at", "server", "project"),
    *("task_id", "task_uid", "annotation_id", "completed_by", "config_sha256", "export_sha256", "ontology_version"),
)
"""What a trace tells of an annotation."""

_FIRST = "run `semctl ingest-labels` first"


@dataclass(frozen=True)
class Witness:
    """What one version of one annotation says, and where it is from."""

    spoken: Spoken
    project_title: str | None
    task_url: str | None
    batch: Path | None  # folder of the batch with the label configuration that the task was made with
    raw_export: Path | None  # the export that brought this version, as it arrived

    def as_json(self) -> dict[str, Any]:
        one = self.spoken.annotation
        return {
            **json_form(self, "spoken"),
            **{name: getattr(one, name) for name in _TOLD},
            "updated_at": one.updated_at or None,
            "standing": self.spoken.standing,
            "marks": [json_form(mark, "turn") for mark in self.spoken.marks],
        }


@dataclass(frozen=True)
class Step:
    """A turn that set something of the cell, with what the user said and the annotations of it, what counts first."""

    origin: Origin
    text: str
    witnesses: tuple[Witness, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "turn": self.origin.turn,
            "text": self.text,
            "why": self.origin.why,
            "values": [{"value": value.value, "polarity": value.polarity} for value in self.origin.values],
            "annotations": [witness.as_json() for witness in self.witnesses],
        }


@dataclass(frozen=True)
class Trace:
    """One cell."""

    dialogue_id: str
    turn: int
    slot: str
    split: str
    file: Path  # ``D_F.parquet`` or ``D_P.parquet``, which holds its row
    row: dict[str, Any]  # the turn's row of ``states.parquet``
    text: str
    known: bool  # whether the slot is labelled there
    steps: tuple[Step, ...]  # the turns that made it so, latest first
    ontology_version: int

    def as_json(self) -> dict[str, Any]:
        return {**json_form(self, "row"), "values": self.values(), "decided_by": self.row.get("decided_by")}

    def values(self) -> list[dict[str, Any]] | None:
        """What the cell holds; None where the slot is unknown."""
        if not self.known:
            return None
        return [dict(item) for item in self.row["state"] or () if item["slot"] == self.slot]


def trace_cell(workspace: Workspace, dialogue_id: str, *, turn: int, slot: str) -> Trace:
    """Follow one cell back.

    Args:
        slot: by name or attribute.

    Raises:
        UsageError: there is no such dialogue, user turn or slot; names the nearest.
        WorkspaceError: nothing was ingested yet.
    """
    ontology = workspace.require().ontology()
    name = _slot(slot, ontology)
    rows = _rows(workspace.states, STATES, dialogue_id).to_pylist()
    if not rows:
        raise _no_dialogue(workspace, dialogue_id)
    here = next((row for row in rows if row["turn"] == turn), None)
    if here is None:
        close = min((int(row["turn"]) for row in rows), key=lambda there: (abs(there - turn), there))
        raise UsageError(f"turn {turn} of dialogue '{dialogue_id}' is no user turn", fix=f"the nearest one is {close}")
    if not workspace.annotations.is_file():
        raise WorkspaceError("there are no annotations", where=workspace.annotations, fix=_FIRST)
    stored = _rows(workspace.annotations, ANNOTATIONS, dialogue_id).to_pylist()
    versions = groupby(stored, key=lambda row: (row["annotation_id"], row["updated_at"]))
    annotations = [Annotation.from_rows(list(part)) for _, part in versions]
    texts = {int(row["turn"]): str(row["text"]) for row in _rows(workspace.turns, TURNS, dialogue_id).to_pylist()}
    places = _Places(workspace)
    by_turn = {int(row["turn"]): row for row in rows}
    steps = tuple(
        Step(
            origin,
            texts.get(origin.turn, ""),
            tuple(places.witness(one) for one in spoken(annotations, by_turn[origin.turn], name, ontology)),
        )
        for origin in origins(rows, annotations, turn, name, ontology)
    )
    return Trace(
        dialogue_id=dialogue_id,
        turn=turn,
        slot=name,
        split=str(here["split"]),
        file=workspace.d_f if _rows(workspace.d_f, D_F, dialogue_id).num_rows else workspace.d_p,
        row=here,
        text=texts.get(turn, ""),
        known=here["state"] is not None and name in here["labelled_slots"],
        steps=steps,
        ontology_version=ontology.version,
    )


class _Places:
    """Where annotations come from, as far as batches and pulls tell."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._batches = read_batches(workspace.labelling)
        self._pulls = pull_states(workspace)
        own = Studio.of_workspace(workspace.root).address()
        self._pages = {} if own is None else {own.url: own.page_url}

    def witness(self, said: Spoken) -> Witness:
        one = said.annotation
        exported = [batch for batch in self._batches if one.task_uid in batch.uids]
        to_project = [
            batch
            for batch in exported
            if str(batch.destination.project_id) == one.project
            and (not is_address(one.server) or batch.destination.url == one.server)
        ]
        made_with = [batch for batch in to_project or exported if batch.config_sha256 == one.config_sha256]
        title, url = self._project(one, to_project)
        page = f"{self._pages.get(url, url)}/projects/{one.project}/data?task={one.task_id}" if url else None
        batch = batch_folder(self._workspace.labelling, made_with[-1].number) if made_with else None
        raw = self._workspace.raw_exports / f"{one.export_sha256}.json.gz"
        came_with = raw if one.export_sha256 and raw.is_file() else None
        return Witness(said, title, page if one.task_id else None, batch, came_with)

    def _project(self, one: Annotation, batches: Sequence[Batch]) -> tuple[str | None, str | None]:
        """Its title and server. Projects of two servers share numbers: a pull names the answers it saw."""
        pulled = [
            state for state in self._pulls if str(state.project_id) == one.project and one.server in (None, state.url)
        ]
        seen = [
            state for state in pulled if any(one.annotation_id in task.annotations for task in state.answered.values())
        ] or pulled
        if seen:
            return seen[-1].title, seen[-1].url
        return (batches[-1].destination.project, batches[-1].destination.url) if batches else (None, None)


def _rows(path: Path, table: Table, dialogue_id: str) -> pa.Table:
    return read_table(path, table, filters=[("dialogue_id", "==", dialogue_id)])


def _slot(asked: str, ontology: Ontology) -> str:
    found = ontology.find(asked)
    if found is not None:
        return found.name
    names = [slot.name for slot in ontology.slots]
    raise UsageError(f"unknown slot '{asked}'", fix=did_you_mean(asked, names, f"one of {', '.join(names)}"))


def _no_dialogue(workspace: Workspace, asked: str) -> UsageError:
    names = set(read_table(workspace.states, STATES, columns=["dialogue_id"])["dialogue_id"].to_pylist())
    fix = did_you_mean(asked, sorted(names), f"the workspace has {len(names):,} dialogues")
    return UsageError(f"unknown dialogue '{asked}'", where=workspace.root, fix=fix)
