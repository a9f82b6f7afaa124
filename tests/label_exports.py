"""Exports of a small workspace, answered by hand: the shape that Label Studio gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from annotate.simulated_annotators import fill_tasks
from annotate.tasks.dialogue_tasks import TaskStyle, dialogue_tasks
from pipeline.workspace import Workspace
from schemas.belief import BeliefState, state_from_rows
from schemas.files import sha256_file
from schemas.ontology import Ontology
from schemas.tables import STATES, read_table
from tests.labelling_corpus import ONTOLOGY

Rows = Sequence[Mapping[str, Any]]


def tasks_of(dialogues: Sequence[Rows], *, window: int = 2) -> list[dict[str, Any]]:
    style = TaskStyle(window=window, ontology_version=3, config_sha256="c" * 64)
    return [task for rows in dialogues for task in dialogue_tasks(rows, style)]


def pick(control: str, *entries: str, **more: Any) -> dict[str, Any]:
    """A result of a taxonomy."""
    value = {"taxonomy": [[entry] for entry in entries]}
    shared = {"from_name": control, "to_name": _target(control), "type": "taxonomy", "origin": "manual"}
    return {"id": "x", "value": value, **shared, **more}


def typed(control: str, *lines: str, **more: Any) -> dict[str, Any]:
    """A result of a text field."""
    shared = {"from_name": control, "to_name": _target(control), "type": "textarea", "origin": "manual"}
    return {"id": "x", "value": {"text": list(lines)}, **shared, **more}


def _target(control: str) -> str:
    index = control.rpartition("_")[2]
    return f"u{index}" if index.isdigit() else "tail"


def answer(number: int, result: Any, *, at: str = "2026-02-03T10:00:00Z", by: Any = 1, **more: Any) -> dict[str, Any]:
    """An annotation."""
    return {
        "id": number,
        "unique_id": f"a{number}",
        "completed_by": by,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": at,
        "updated_at": at,
        "lead_time": 9.5,
        **more,
    }


def answered(task: Mapping[str, Any], *annotations: Any, project: int = 7, **more: Any) -> dict[str, Any]:
    """An exported task."""
    return {"id": 35, "project": project, "annotations": list(annotations), "drafts": [], **task, **more}


def gold_of(states: Sequence[BeliefState | None], dialogue: str) -> dict[tuple[str, int], BeliefState | None]:
    """Gold of a dialogue whose user turns are 0, 2, 4, ..."""
    return {(dialogue, 2 * index): state for index, state in enumerate(states)}


def simulated(
    dialogues: Sequence[Rows], gold: Mapping[tuple[str, int], BeliefState | None], *, window: int = 2, **options: Any
) -> list[dict[str, Any]]:
    ontology: Ontology = options.pop("ontology", ONTOLOGY)
    return fill_tasks(tasks_of(dialogues, window=window), gold, ontology, **options)


def save(path: Path, export: Any) -> Path:
    path.write_text(json.dumps(export, ensure_ascii=False))
    return path


def states_in(workspace: Workspace) -> dict[tuple[str, int], BeliefState | None]:
    rows = read_table(workspace.states, STATES).to_pylist()
    return {(row["dialogue_id"], row["turn"]): state_from_rows(row["state"]) for row in rows}


def marked(state: BeliefState | None) -> set[str] | None:
    """A state as people write it: ``color=red``, ``!color=black``."""
    if state is None:
        return None
    return {f"{'!' if item.polarity == 'dislike' else ''}{item.slot}={item.value}" for item in state}


def hashes(root: Path) -> dict[str, str]:
    """Every file below a folder by its hash, but for locks, which hold nothing."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(root)): sha256_file(path) for path in files}
