"""``labelling/batch-NNNN/``: what was exported, and where to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotate.tasks.dialogue_tasks import TASK_SCHEMA
from annotate.tasks.label_config import LabelConfig
from schemas.errors import LabelError, UsageError
from schemas.files import read_json, taken_apart, write_atomic, write_json
from schemas.ontology import Ontology


@dataclass(frozen=True)
class Destination:
    """A project of a Label Studio, or a file."""

    project: str | None = None
    project_id: int | None = None
    url: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return self.project or self.file or "?"

    def as_json(self, page: str | None) -> dict[str, Any]:
        """What results say of it; ``page`` is where people open the project."""
        if self.project:
            return {"project": self.project, "project_id": self.project_id, "url": page}
        return {"file": self.file}


@dataclass(frozen=True, kw_only=True)
class ToProjectOrFile:
    """Where tasks are to go: into a project, or into a file."""

    project: str | None = None  # its name; made when there is none of that name
    to_file: Path | None = None  # a JSON file, as Label Studio imports it; replaced

    def __post_init__(self) -> None:
        if (self.project is None) == (self.to_file is None):
            raise UsageError("say where to: --project NAME or --to-file FILE", fix="one of the two")

    @property
    def file(self) -> Path:
        """The file, where no project is named."""
        assert self.to_file is not None
        return self.to_file


@dataclass(frozen=True)
class Batch:
    """A complete batch, as its manifest tells."""

    number: int
    destination: Destination
    config_sha256: str
    window: int  # user turns in one task, at most
    uids: tuple[str, ...]
    annotator: str | None = None
    role: str = "label"  # ``label``, or ``review`` for tasks that ask for verdicts
    ontology_version: int = 1


def read_batches(labelling: Path) -> list[Batch]:
    """All complete batches, in order."""
    return [_read(folder / "manifest.json") for folder in _folders(labelling) if _is_complete(folder)]


def next_batch_folder(labelling: Path) -> Path:
    """Where the next batch goes: the first folder without a complete manifest, which a killed run may have left."""
    for folder in _folders(labelling):
        if not _is_complete(folder):
            return folder
    numbers = [_number(folder) for folder in _folders(labelling)]
    return labelling / f"batch-{max(numbers, default=0) + 1:04d}"


def write_batch(labelling: Path, tasks: Sequence[Mapping[str, Any]], *, config_xml: str, guideline: str) -> Path | None:
    """Write everything of the next batch but its manifest; its folder, or None when there are no tasks.

    Raises:
        OSError: the disk refuses it; no folder is left then.
    """
    if not tasks:
        return None
    folder = next_batch_folder(labelling)
    if folder.exists():
        shutil.rmtree(folder)
    with removed_on_failure(folder):
        write_json(folder / "tasks.json", list(tasks))
        write_atomic(folder / "label_config.xml", config_xml)
        write_atomic(folder / "guidelines.md", guideline)
    return folder


def finish_batch(
    folder: Path | None,
    tasks: Sequence[Mapping[str, Any]],
    destination: Destination,
    *,
    config: LabelConfig,
    ontology: Ontology,
    window: int,
    **more: str | None,
) -> int | None:
    """Write the manifest, which makes a batch of :func:`write_batch` complete; its number, or None without a folder.

    Args:
        folder: of the batch.
        tasks: what it holds.
        destination: where they went.
        config, ontology: what they were made with.
        window: user turns in one task, at most.
        more: further entries (``role``, ``annotator``, ``prelabel``); those that are None are left out.
    """
    if folder is None:
        return None
    manifest = {
        "batch": _number(folder),
        "semctl_schema": TASK_SCHEMA,
        "project": destination.project,
        "project_id": destination.project_id,
        "url": destination.url,
        "file": destination.file,
        "config_sha256": config.sha256,
        "ontology_version": ontology.version,
        "ontology_sha256": ontology.sha256(),
        "uids": [task["data"]["uid"] for task in tasks],
        "dialogues": list(dict.fromkeys(task["data"]["dialogue_id"] for task in tasks)),
        "window": window,
        "complete": True,
        **{name: value for name, value in more.items() if value is not None},
    }
    write_json(folder / "manifest.json", manifest)
    return _number(folder)


@contextmanager
def removed_on_failure(folder: Path | None) -> Iterator[None]:
    """Leave no folder of a batch behind when the disk refuses something: on a full one it would be in the way."""
    try:
        yield
    except OSError:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _folders(labelling: Path) -> list[Path]:
    found = [folder for folder in labelling.glob("batch-*") if folder.name.removeprefix("batch-").isdigit()]
    return sorted(found, key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("batch-"))


def _is_complete(folder: Path) -> bool:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    value: dict[str, Any] = read_json(manifest, error=LabelError, fix="remove that batch folder", shape=dict[str, Any])
    return value.get("complete") is True


def _read(path: Path) -> Batch:
    fix = "remove that batch folder"
    value: Any = read_json(path, error=LabelError, fix=fix)
    with taken_apart(path, error=LabelError, what="not a manifest of semctl", fix=fix):
        project, number = _text(value["project"]), value["project_id"]
        destination = Destination(
            project, None if number is None else int(number), _text(value["url"]), _text(value.get("file"))
        )
        return Batch(
            number=int(value["batch"]),
            destination=destination,
            config_sha256=str(value["config_sha256"]),
            window=int(value["window"]),
            uids=tuple(map(str, value["uids"])),
            annotator=_text(value.get("annotator")),
            role=_text(value.get("role")) or "label",
            ontology_version=int(value.get("ontology_version", 1)),
        )


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
