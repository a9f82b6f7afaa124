"""Whether a workspace is whole: settings, tables, manifests, images, and work that was broken off."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from pipeline.batches import is_complete
from pipeline.doctor.machine import Finding
from pipeline.modelling.run_record import RECORD
from pipeline.stages import STAGES
from pipeline.workspace import Workspace
from schemas.errors import SemctlError, WorkspaceError
from schemas.files import read_json, remove_left_over, sha256_file
from schemas.tables import (
    ANNOTATIONS,
    D_F,
    D_P,
    FINDINGS,
    IMAGES,
    PRODUCTS,
    QUARANTINE,
    RECOMMENDATIONS,
    STATES,
    TURNS,
    Table,
    open_table,
)

_AREA = "workspace"
_TABLES = {
    "products": PRODUCTS,
    "images": IMAGES,
    "turns": TURNS,
    "recommendations": RECOMMENDATIONS,
    "annotations": ANNOTATIONS,
    "quarantine": QUARANTINE,
    "findings": FINDINGS,
    "states": STATES,
    "d_f": D_F,
    "d_p": D_P,
}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def examine_workspace(workspace: Workspace) -> list[Finding]:
    """Look at a workspace; a folder that is none gets one line that says so."""
    try:
        workspace.require()
    except WorkspaceError as problem:
        return [Finding(_AREA, "folder", "ok", f"{workspace.root} is no workspace; nothing to look at", problem.fix)]
    findings = [_readable("settings", workspace.settings_file, lambda: _settings(workspace))]
    if not (workspace.root / "data").is_dir():
        return [*findings, Finding(_AREA, "corpus", "warning", "nothing has been imported", "semctl import FOLDER")]
    ontology = workspace.ontology_file
    findings.append(_readable("ontology", ontology, lambda: f"{len(workspace.ontology().slots)} slots"))
    hashes: dict[str, str] = {}
    for table, path, needed in _tables(workspace):
        if path.is_file() or needed:
            findings.append(_table(path, table))
        if path.is_file():
            hashes[table.name] = sha256_file(path)
    if ontology.is_file():
        hashes["ontology"] = sha256_file(ontology)
    findings += _manifests(workspace, hashes)
    findings += _outdated(workspace, hashes)
    findings += _images(workspace)
    findings += _unfinished(workspace)
    return findings


def _tables(workspace: Workspace) -> list[tuple[Table, Path, bool]]:
    """Each table, where it lies, and whether it has to be there."""
    done = {"import": True, "ingest-labels": workspace.split_manifest.is_file()}
    return [
        (_TABLES[name], getattr(workspace, name), done[stage.command] and name not in ("quarantine", "findings"))
        for stage in STAGES
        for name in stage.writes
        if name in _TABLES
    ]


def _settings(workspace: Workspace) -> str:
    workspace.settings()
    return f"{workspace.settings_file.name} is readable"


def _readable(check: str, path: Path, read: Callable[[], str]) -> Finding:
    try:
        found = read()
    except SemctlError as problem:
        return Finding(
            _AREA, check, "problem", f"{problem.what} ({problem.where or path})", problem.fix or "correct that file"
        )
    return Finding(_AREA, check, "ok", found)


def _table(path: Path, table: Table) -> Finding:
    def read() -> str:
        with open_table(path, table) as file:
            rows = sum(batch.num_rows for batch in file.iter_batches())  # reading it checks it
            return f"{rows:,} rows, schema version {table.version}"

    return _readable(table.name, path, read)


def _manifests(workspace: Workspace, hashes: Mapping[str, str]) -> Iterator[Finding]:
    """Whether each manifest is there and names the files as they are now."""
    for stage in STAGES:
        if stage.manifest is None:
            continue
        again, path = f"semctl {stage.command}", getattr(workspace, stage.manifest)
        names = [each.stem for each in stage.outputs(workspace) if each.parent == path.parent and each != path]
        check = f"{path.parent.name}/{path.name}"
        here = [name for name in names if name in hashes]
        if not path.is_file():
            if here:
                yield Finding(_AREA, check, "problem", f"missing: {again} did not end", f"run `{again}` again")
            continue
        try:
            named = _named_hashes(read_json(path, error=WorkspaceError))
        except SemctlError as problem:
            yield Finding(_AREA, check, "problem", problem.what, f"run `{again}` again")
            continue
        other = [name for name in here if name in named and named[name] != hashes[name]]
        gone = [name for name in names if name not in hashes]
        if other or gone:
            what = "; ".join(
                [f"{name} is not the file it names" for name in other] + [f"{name} is missing" for name in gone]
            )
            yield Finding(_AREA, check, "problem", what, f"run `{again}` again")
        else:
            yield Finding(_AREA, check, "ok", "complete")


def _named_hashes(value: Any, key: str = "") -> dict[str, str]:
    """File names (without folder and ending) and the hash that a manifest gives for each, however it nests them."""
    found: dict[str, str] = {}
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in {"inputs", "sources"}:
                found |= _named_hashes(inner, key if name == "sha256" else str(name))
    elif isinstance(value, list):
        for inner in value:
            found |= _named_hashes(inner, key)
    elif isinstance(value, str) and _SHA256.fullmatch(value):
        found[_stem(key)] = value
    return found


def _stem(name: str) -> str:
    return Path(name).name.removesuffix(".parquet").removesuffix(".json").removesuffix("_sha256")


def _outdated(workspace: Workspace, hashes: Mapping[str, str]) -> Iterator[Finding]:
    """Tables made from an earlier version of another table, or of the ontology (known by its file or its content)."""
    try:
        content = workspace.ontology().sha256()
    except SemctlError:
        content = None  # said already
    for table, path, _ in _tables(workspace):
        if table.name not in hashes:
            continue
        try:
            with open_table(path, table) as file:
                inputs = orjson.loads((file.schema_arrow.metadata or {}).get(b"semctl.inputs", b"{}"))
        except (SemctlError, orjson.JSONDecodeError):
            continue  # said already
        old = [name for name, digest in inputs.items() if digest not in {hashes.get(_stem(name), digest), content}]
        if old and table.made_by.startswith("semctl ingest"):
            found = f"made before {', '.join(old)} changed"
            yield Finding(_AREA, table.name, "warning", found, f"run `{table.made_by}` again")


def _images(workspace: Workspace) -> Iterator[Finding]:
    try:
        with open_table(workspace.images, IMAGES) as file:
            rows = file.read(columns=["file", "status"]).to_pylist()
    except SemctlError:
        return  # said already
    counts = Counter(row["status"] for row in rows)
    gone = [
        row["file"] for row in rows if row["status"] == "ok" and not (workspace.root / (row["file"] or "")).is_file()
    ]
    found = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items())) or "none"
    if gone:
        what = f"{found}; {len(gone):,} of the ok ones are not where they were, first {gone[0]}"
        ours = any((workspace.root / (file or "")).is_relative_to(workspace.fetched_images) for file in gone)
        again = "run `semctl fetch-images` again" if ours else "put them back, or run `semctl import` again"
        yield Finding(_AREA, "images", "problem", what, again)
    elif len(rows) > counts["ok"]:
        linked = ", or fetch those that have a link with `semctl fetch-images`" if counts["dead"] else ""
        without = "products without an image are ranked by text alone"
        fix = f"give the import their folder with --images{linked}; {without}"
        yield Finding(_AREA, "images", "warning", found, fix)
    else:
        yield Finding(_AREA, "images", "ok", found)


def _unfinished(workspace: Workspace) -> Iterator[Finding]:
    """Batches, runs and files that a killed command left half-done."""
    batches = sorted(path for path in workspace.labelling.glob("batch-*") if path.is_dir())
    for folder in batches:
        try:
            complete = is_complete(folder)
        except SemctlError:
            complete = False
        if not complete:
            fix = "run the same `semctl export-for-labelling` again: it completes the batch"
            yield Finding(_AREA, folder.name, "warning", "the export did not end", fix)
    if batches:
        yield Finding(_AREA, "batches", "ok", f"{len(batches)}")
    runs = sorted(path for path in workspace.runs.glob("*") if path.is_dir())
    for folder in runs:
        if not (folder / RECORD).is_file():
            fix = f"semctl train --resume {folder.name}, or delete the folder"
            yield Finding(_AREA, f"run {folder.name}", "warning", "training did not end", fix)
        elif lost := [name for name in ("model.safetensors", "config.json") if not (folder / "model" / name).is_file()]:
            found = f"model/{lost[0]} is missing"
            yield Finding(_AREA, f"run {folder.name}", "problem", found, "delete the folder and train again")
    if runs:
        yield Finding(_AREA, "runs", "ok", f"{len(runs)}")
    yield from _temporary(workspace.root)


_PARTS = ("data", "labels", "splits", "labelling", "runs", "features", ".studio")


def _temporary(root: Path) -> Iterator[Finding]:
    """Remove what killed commands left over, and name what is in the way of that."""
    folders = [root, *(below for part in _PARTS for below in _folders(root / part))]
    removed = [path for folder in folders for path in remove_left_over(folder)]
    if removed:
        found = f"removed {len(removed)} that killed commands left, first {removed[0].relative_to(root)}"
        yield Finding(_AREA, "temporary files", "ok", found)
    # of versions of semctl that did not lock theirs
    names = (".semctl-import-*", "labels/.incoming", "labels/.pulled", "labels/ingests/.*.part")
    old = [path for name in names for path in root.glob(name)]
    old += [path for folder in folders for path in folder.glob(".*.tmp") if not path.name.endswith(".semctl.tmp")]
    if old:
        found = f"{len(old)} of an earlier semctl, first {old[0].relative_to(root)}"
        yield Finding(_AREA, "temporary files", "warning", found, "delete them when no semctl is running")


def _folders(root: Path) -> Iterator[Path]:
    for folder, below, _ in os.walk(root):
        if Path(folder).name == "data" and Path(folder).parent.name == ".studio":
            below.clear()  # Label Studio's own
            continue
        yield Path(folder)
