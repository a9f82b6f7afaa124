"""``labels/ingests/NNNN/``: what each ingest that changed something left, for ``semctl diff``.

The files are hard links where the disk has them, so that a version takes room only once it is no longer the newest.
Nothing in them tells the time: the same ingests give the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.labelling.ingest_report import IngestReport
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError
from schemas.files import read_json, remove_folder, remove_left_over, temporary_folder, write_json
from schemas.ontology import Ontology

_RECORD = "record.json"


@dataclass(frozen=True)
class KeptIngest:
    """One ingest, as its record tells."""

    semctl_schema: Literal[1]
    ontology_version: int
    ontology_sha256: str
    slots: tuple[str, ...]
    policy: str  # how several people's answers became one
    annotations_sha256: str
    states_sha256: str
    report: Mapping[str, Any]
    folder: Path = Path()  # where it is kept; not in the record

    @property
    def number(self) -> int:
        """From 1; numbers of ingests that were removed are not given again."""
        return int(self.folder.name)

    @property
    def annotations(self) -> Path:
        return self.folder / "annotations.parquet"

    @property
    def states(self) -> Path:
        return self.folder / "states.parquet"


def keep_ingest(workspace: Workspace, report: IngestReport, ontology: Ontology) -> None:
    """Keep what an ingest left, when it differs from the one before; remove the oldest beyond the limit."""
    limit = workspace.settings().labelling.keep_ingests
    manifest = read_json(workspace.split_manifest, error=LabelError)
    record = {
        "semctl_schema": 1,
        "annotations_sha256": manifest["inputs"]["annotations"],
        "states_sha256": manifest["files"]["states"]["sha256"],
        "ontology_version": ontology.version,
        "ontology_sha256": ontology.sha256(),
        "slots": [slot.name for slot in ontology.slots],
        "policy": report.resolved["policy"],
    }
    remove_left_over(workspace.ingests)
    before = kept_ingests(workspace)
    if limit and (not before or any(getattr(before[-1], name) != record[name] for name in _TELLING)):
        number = before[-1].number + 1 if before else 1
        folder = workspace.ingests / f"{number:04d}"
        with temporary_folder(folder) as part:
            for table in (workspace.annotations, workspace.states):
                _link(table, part / table.name)
            write_json(part / _RECORD, {**record, "ingest": number, "report": report.as_json()})
            part.replace(folder)
        before.append(_read(folder))
    for kept in before[: max(len(before) - max(limit, 1), 0)]:
        remove_folder(kept.folder)


_TELLING = ("annotations_sha256", "states_sha256", "ontology_sha256", "policy")


def kept_ingests(workspace: Workspace) -> list[KeptIngest]:
    """All ingests that are kept, oldest first."""
    folders = [path for path in workspace.ingests.glob("[0-9]*") if path.name.isdecimal()]
    return [_read(folder) for folder in sorted(folders, key=lambda path: int(path.name))]


def find_ingest(workspace: Workspace, number: int) -> KeptIngest:
    """The ingest of this number."""
    kept = {ingest.number: ingest for ingest in kept_ingests(workspace)}
    if number not in kept:
        there = f"there are {min(kept)} to {max(kept)}" if kept else "run `semctl ingest-labels` first"
        raise UsageError(f"ingest {number} is not kept", where=workspace.ingests, fix=there)
    return kept[number]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the disk has no hard links
        shutil.copyfile(source, target)


def _read(folder: Path) -> KeptIngest:
    found = read_json(folder / _RECORD, error=LabelError, fix="remove that folder", shape=KeptIngest)
    return replace(found, folder=folder)
