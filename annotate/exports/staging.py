"""Takes an export into the annotation store, and accounts for every annotation.

The task and the head of an annotation are checked against the workspace before what was marked is read.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotate.annotations.annotation import Annotation, Role, moment
from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.annotations.migration import InterfaceVersions, Migration
from annotate.assignment.annotators import NOBODY, NUMBERED
from annotate.exports.annotation_store import AnnotationStore, Standing
from annotate.exports.offers import with_taken_offers
from annotate.exports.reader import UNKNOWN, ExportedTask, ExportReader, name_of_number
from annotate.exports.refusals import Refusal, Refused, raw_json
from annotate.exports.results import decided_marks, read_result, whole_state
from annotate.exports.taken import with_taken_answers
from annotate.tasks.dialogue_tasks import ASKS, TASK_SCHEMA, Asks, task_uid
from schemas.errors import LabelError
from schemas.ontology import Ontology
from schemas.progress import Progress

_BESIDE = re.compile(r"(\S+@\S+), (\d+)$")
_ROLES: Mapping[str | None, Role] = {None: "label", "label": "label", "review": "review"}


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
        made_of = task.data.get("dialogue_id")
        fitting += "semctl_schema" in task.data and isinstance(made_of, str) and made_of in index
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
    named = task.data.get("annotator")
    owner = named if isinstance(named, str) and named else None
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
            else:
                result = with_taken_offers(raw, task.data, migration.ontology)
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
        marks = list(read.marks if keys.asks == "update" else whole_state(read.marks))
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
    return refusal.row(
        name,
        task_uid=uid if isinstance(uid, str) else None,
        dialogue_id=dialogue_id if isinstance(dialogue_id, str) else None,
        annotator=None if head is None else head.annotator,
        export_sha256=None,
    )


@dataclass(frozen=True)
class TaskKeys:
    """What says which turns of which dialogue a task shows."""

    uid: str  # semctl's name of the task
    dialogue_id: str  # the dialogue
    turns: tuple[int, ...]  # its user turns on the screen, in the order of the controls
    ontology_version: int  # of the ontology that the screen offers
    config_sha256: str | None = None  # hash of the label configuration that the task was made with
    role: Role = "label"  # what answers to this task are: labels, or verdicts on labels
    asks: Asks = "update"  # what is marked: what turns change, or the whole state after one


def check_task(task: ExportedTask, index: Mapping[str, IndexedDialogue]) -> TaskKeys:
    """The keys of a task, when it shows a dialogue of this workspace as it is now.

    Raises:
        Refused: no annotation of this task can be used.
    """
    data = task.data
    try:
        uid, dialogue_id = _text(data, "uid"), _text(data, "dialogue_id")
        window, schema, version = (_count(data, name) for name in ("window", "semctl_schema", "ontology_version"))
        fingerprint = _text(data, "dialogue_sha256")
        turns = tuple(_count(turn, "turn") for turn in data["user_turns"])
    except (KeyError, TypeError) as problem:
        raise Refused("task_without_keys", f"task {task.task_id} is not one that semctl made: {problem}") from None
    asks = next((each for each in ASKS if each == data.get("asks", "update")), None)
    if asks is None:
        raise Refused("task_without_keys", f"task {task.task_id}: it asks for {data['asks']!r}, not update or state")
    if uid != task_uid(dialogue_id, window, asks) or not turns or len(set(turns)) != len(turns):
        raise Refused("task_without_keys", f"task {task.task_id}: its uid, window and turns do not go together")
    if schema != TASK_SCHEMA:
        raise Refused("unsupported_schema", f"made with task schema {schema}, this semctl reads {TASK_SCHEMA}")
    dialogue = index.get(dialogue_id)
    if dialogue is None:
        raise Refused("unknown_dialogue", f"no dialogue '{dialogue_id}' in this workspace")
    if dialogue.sha256.hex() != fingerprint:
        raise Refused("dialogue_changed", f"dialogue '{dialogue_id}' says something else now than when it was exported")
    strange = sorted(set(turns) - set(dialogue.user_turns))
    if strange:
        raise Refused("unknown_turn", f"turn {strange[0]} of dialogue '{dialogue_id}' is no user turn")
    config = data.get("config_sha256")
    given = data.get("role")
    role = _ROLES.get(given) if given is None or isinstance(given, str) else None
    if role is None:
        raise Refused("task_without_keys", f"task {task.task_id}: its role is {given!r}, not label or review")
    return TaskKeys(uid, dialogue_id, turns, version, config if isinstance(config, str) else None, role, asks)


def annotation_id(raw: Any, task: ExportedTask, position: int) -> str:
    """The name of an annotation: the same in every export of its project.

    Args:
        raw: the annotation as exported.
        task: the task it is of.
        position: its place among the task's annotations, for one without a number.
    """
    number = name_of_number(raw.get("unique_id") or raw.get("id")) if isinstance(raw, dict) else None
    if number is None:
        uid = task.data.get("uid")
        of = f"task{task.task_id}" if task.task_id != UNKNOWN or not isinstance(uid, str) else uid
        number = f"{of}/{position}"
    return f"ls:{task.project}:{number}"


def annotation_head(raw: Any, task: ExportedTask, name: str) -> Annotation:
    """Who made an annotation and when; without marks, and without the keys of its task.

    Args:
        raw: the annotation as exported.
        task: the task it is of.
        name: its :func:`annotation_id`.

    Raises:
        Refused: its versions cannot be ordered.
    """
    if not isinstance(raw, dict):
        raise Refused("malformed_annotation", f"an annotation of task {task.task_id} is no object")
    is_skipped(raw)
    sent = raw.get("created_at") if raw.get("updated_at") in (None, "") else raw["updated_at"]
    updated_at = _time(sent)
    if updated_at is None and sent not in (None, ""):
        raise Refused("malformed_annotation", "no time in 'updated_at'")
    number, email = _sender(raw)
    return Annotation(
        annotation_id=name,
        dialogue_id="",
        annotator=email or (f"{NOBODY}{name}" if number is None else f"{NUMBERED}{number}"),
        updated_at=updated_at or "",
        created_at=_time(raw.get("created_at")),
        lead_time=_seconds(raw.get("lead_time")),
        project=task.project,
        task_id=task.task_id,
        completed_by=number or email,
    )


def is_skipped(raw: Mapping[str, Any]) -> bool:
    """Whether the task was skipped; "skipped" is an early name for it.

    Raises:
        Refused: it is neither true nor false.
    """
    for name in ("was_cancelled", "skipped"):
        said = raw.get(name)
        if said not in (None, True, False):  # 0 and 1 are among them
            raise Refused("malformed_annotation", f"'{name}' is neither true nor false")
        if said is not None:
            return bool(said)
    return False


def _sender(raw: dict[str, Any]) -> tuple[str | None, str | None]:
    """Number and e-mail address of who sent an annotation, where they are told.

    Versions of Label Studio name people by number, or by an object that holds it, and some write beside it
    ``created_username``: "Ann Lee ann@shop.example, 7".
    """
    who = raw.get("completed_by")
    email = who.get("email") if isinstance(who, dict) else who
    number = name_of_number(who.get("id") if isinstance(who, dict) else who)
    if number is not None and ("@" in number or not number.strip()):
        number = None
    if not isinstance(email, str) or "@" not in email:
        beside = _BESIDE.search(str(raw.get("created_username") or ""))
        same = beside is not None and beside.group(2) == number
        email = beside.group(1) if beside is not None and same else None
    return None if number is None else number.strip(), None if email is None else email.strip().lower()


def _time(value: Any) -> str | None:
    """UTC in ISO 8601 with microseconds, so that text order is time order; numbers are seconds since 1970."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number and not isinstance(value, str):
        return None
    try:
        time = datetime.fromtimestamp(value, UTC) if is_number else datetime.fromisoformat(value)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment(time)


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _text(data: Any, name: str) -> str:
    value = data[name]
    if not isinstance(value, str) or not value:
        raise TypeError(f"'{name}' is no text")
    return value


def _count(data: Any, name: str) -> int:
    value = data[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise TypeError(f"'{name}' is no count")
    return value


def prelabel_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Which pre-label an exported annotation started from, as fields of an annotation.

    Label Studio keeps a copy of the prediction in the annotation that was made of it, so that nothing but the
    annotation is needed, and a value taken away is seen as well as one added.

    Args:
        raw: the annotation as exported.

    Returns:
        ``prelabel``, ``prelabel_score`` and ``untouched``; nothing for an answer that started from nothing.
    """
    shown = raw.get("prediction")
    if not isinstance(shown, Mapping) or not isinstance(shown.get("model_version"), str):
        return {}
    score = shown.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        score = None
    filled_in = _filled_in(shown.get("result"))
    return {
        "prelabel": shown["model_version"],
        "prelabel_score": None if score is None else float(score),
        "untouched": filled_in is not None and filled_in == _filled_in(raw.get("result")),
    }


def _filled_in(result: object) -> frozenset[tuple[str, str]] | None:
    """Every control with every entry in it, in whatever order; None for what is no list of results."""
    if not isinstance(result, list):
        return None
    found: set[tuple[str, str]] = set()
    for entry in result:
        value = entry.get("value") if isinstance(entry, Mapping) else None
        if not isinstance(value, Mapping):
            return None
        for texts in value.values():
            for text in texts if isinstance(texts, list) else [texts]:
                said = text[0] if isinstance(text, list) and len(text) == 1 else text
                found.add((str(entry.get("from_name")), said.strip() if isinstance(said, str) else repr(said)))
    return frozenset(found)
