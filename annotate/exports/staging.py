"""Takes an export into the annotation store, and accounts for every annotation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from annotate.annotations.annotation import Annotation
from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.annotations.migration import InterfaceVersions, Migration
from annotate.exports.annotation_store import AnnotationStore, Standing
from annotate.exports.reader import ExportedTask, ExportReader
from annotate.exports.refusals import Refusal, Refused, raw_json
from annotate.exports.results import decided_marks, read_result
from annotate.exports.taken import with_taken_answers
from annotate.exports.task import (
    TaskKeys,
    annotation_head,
    annotation_id,
    assigned_to,
    check_task,
    fits_workspace,
    is_skipped,
    prelabel_fields,
)
from schemas.errors import LabelError
from schemas.ontology import Ontology
from schemas.progress import Progress


@dataclass
class StagedExport:
    """What an export held, counted in annotations where nothing else is said."""

    path: Path  # where it is
    sha256: str = ""  # hash of its JSON
    tasks: int = 0  # tasks in it
    received: int = 0  # all annotations
    usable: int = 0  # those of which something can be used
    skipped: int = 0  # those that their annotator skipped
    quarantined: Counter[str] = field(default_factory=Counter)  # reason -> those of which nothing can be used
    refused_turns: Counter[str] = field(default_factory=Counter)  # reason -> turns refused within usable annotations
    # reason -> lines and choices refused within turns that count
    refused_lines: Counter[str] = field(default_factory=Counter)
    drafts: int = 0  # answers begun and not submitted
    projects: set[str] = field(default_factory=set)  # numbers of the Label Studio projects


def stage_export(
    reader: ExportReader,
    store: AnnotationStore,
    index: Mapping[str, IndexedDialogue],
    ontology: Ontology,
    progress: Progress,
    *,
    of_this_workspace: bool = True,
    screens: InterfaceVersions | None = None,
    server: str | None = None,
) -> StagedExport:
    """Read a whole export into the store.

    Args:
        reader: the export.
        store: takes every annotation that can be told from others, and every refusal.
        index: the dialogues of the workspace, with hashes.
        ontology: the slots there are.
        progress: shows how far it is.
        of_this_workspace: refuse an export without any task of this workspace.
        screens: since when the screens of projects offer a newer ontology than their tasks were made with.
        server: address of the Label Studio that the export is from; None where it is not known.

    Raises:
        LabelError: not an export, cut off, or of another project: no task in it is of this workspace.
    """
    staged = StagedExport(reader.path)
    migration, screens = Migration(ontology), screens or InterfaceVersions()
    fitting = 0
    for task in reader.tasks(progress):
        fitting += fits_workspace(task, index)
        staged.drafts += task.drafts
        staged.projects.add(task.project)
        _stage_task(task, staged, store, index, migration, screens, server)
    if reader.tasks_read and not fitting and of_this_workspace:
        raise LabelError(
            f"none of the {reader.tasks_read} tasks in this export is of this workspace",
            where=reader.shown,
            fix="export the project that `semctl export-for-labelling` filled, or name its workspace with -w",
        )
    staged.sha256, staged.tasks = reader.sha256, reader.tasks_read
    store.name_export(staged.sha256)
    return staged


def _stage_task(
    task: ExportedTask,
    staged: StagedExport,
    store: AnnotationStore,
    index: Mapping[str, IndexedDialogue],
    migration: Migration,
    screens: InterfaceVersions,
    server: str | None,
) -> None:
    try:
        keys: TaskKeys | Refusal = check_task(task, index)
    except Refused as problem:
        keys = problem.refusal
    owner = assigned_to(task)
    for position, raw in enumerate(task.annotations):
        name = annotation_id(raw, task, position)
        staged.received += 1
        store.mark_seen(name, task.project, task.task_id)
        head = None
        try:
            head = replace(annotation_head(raw, task, name), server=server)
            if is_skipped(raw):
                staged.skipped += 1
                store.add(head, "void", assigned_to=owner)
                continue
            if isinstance(keys, Refusal):
                raise Refused(keys.reason, keys.detail)
            version = screens.version(
                head.project, keys.ontology_version, head.updated_at, head.lead_time, server=server
            )
            result = raw.get("result")
            if keys.role == "review":
                result = with_taken_answers(raw, task.data, migration.ontology)
            read = read_result(result, keys.turns, migration.ontology, version=version, migration=migration)
        except Refused as problem:
            staged.quarantined[problem.refusal.reason] += 1
            if head is not None:
                standing: Standing = "void" if problem.refusal.reason == "dialogue_changed" else "unreadable"
                store.add(head, standing, assigned_to=owner)
            whole = replace(problem.refusal, turn=None, raw=problem.refusal.raw or raw_json(raw))
            store.refuse(_row(whole, name, task, head))
            continue
        staged.usable += 1
        head = replace(
            head,
            dialogue_id=keys.dialogue_id,
            task_uid=keys.uid,
            ontology_version=version,
            config_sha256=keys.config_sha256,
            role=keys.role,
            **prelabel_fields(raw),
        )
        marks = list(read.marks)
        if keys.role == "review":
            marks += decided_marks(raw, task.data, read.marks, migration, version)
        store.add(head.with_marks(marks), "usable", assigned_to=owner)
        staged.refused_turns.update(read.refused_turns.values())
        for refusal in read.refused:
            if refusal.turn not in read.refused_turns:
                staged.refused_lines[refusal.reason] += 1
            store.refuse(_row(refusal, name, task, head))


def _row(refusal: Refusal, name: str, task: ExportedTask, head: Annotation | None) -> dict[str, Any]:
    """A row of ``quarantine.parquet``; the export's hash is known only once all of it is read."""
    uid, dialogue_id = task.data.get("uid"), task.data.get("dialogue_id")
    return {
        "reason": refusal.reason,
        "annotation_id": name,
        "task_uid": uid if isinstance(uid, str) else None,
        "dialogue_id": dialogue_id if isinstance(dialogue_id, str) else None,
        "turn": refusal.turn,
        "annotator": None if head is None else head.annotator,
        "detail": refusal.detail,
        "raw": refusal.raw,
        "export_sha256": None,
    }
