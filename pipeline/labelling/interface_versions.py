"""``labelling/screens.json``: since when the screen of a project offers which version of the ontology."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotate.annotations.migration import InterfaceVersions, Switch
from pipeline.batches import Batch
from schemas.errors import LabelError
from schemas.files import read_json, taken_apart, write_json


def interface_versions_file(labelling: Path) -> Path:
    """Where the changes are noted."""
    return labelling / "screens.json"


def read_interface_versions(labelling: Path) -> InterfaceVersions:
    """All changes of screens; none when no file says so."""
    found: dict[tuple[str, str], list[Switch]] = {}
    for entry in _read(labelling):
        switch = Switch(entry["since"], entry["ontology_version"])
        found.setdefault((str(entry.get("url", "")), str(entry["project_id"])), []).append(switch)
    return InterfaceVersions(found)


def note_interface_version(labelling: Path, project_id: int, url: str, version: int, batches: Sequence[Batch]) -> None:
    """Note that a project's screen offers a version now, when it holds tasks made with an older one."""
    made_with = [
        batch.ontology_version
        for batch in batches
        if batch.destination.project_id == project_id and batch.destination.url in (None, url)
    ]
    entries = _read(labelling)
    known = [
        entry["ontology_version"]
        for entry in entries
        if entry["project_id"] == project_id and entry.get("url", url) == url
    ]
    if not made_with or max([min(made_with), *known]) >= version:
        return
    since = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    entries.append({"project_id": project_id, "url": url, "ontology_version": version, "since": since})
    write_json(interface_versions_file(labelling), {"semctl_schema": 1, "screens": entries})


def move_interface_versions(labelling: Path, project_id: int, url: str, now: str) -> None:
    """Note that a project's server is found at another address by now."""
    entries = _read(labelling)
    moved = [
        {**entry, "url": now} if (entry["project_id"], entry.get("url")) == (project_id, url) else entry
        for entry in entries
    ]
    if moved != entries:
        write_json(interface_versions_file(labelling), {"semctl_schema": 1, "screens": moved})


def _read(labelling: Path) -> list[dict[str, Any]]:
    path = interface_versions_file(labelling)
    if not path.is_file():
        return []
    value = read_json(path, error=LabelError)
    with taken_apart(path, error=LabelError, what="not a record of screens", fix="put it back from a backup"):
        entries: list[dict[str, Any]] = list(value["screens"])
        for entry in entries:
            datetime.fromisoformat(entry["since"])
            if not isinstance(entry["ontology_version"], int) or not isinstance(entry["project_id"], int):
                raise TypeError("a number is no number")
    return entries
