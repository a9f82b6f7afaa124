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
from schemas.json_form import json_form
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
        if self.to_file.is_dir():
            raise UsageError("this is a folder", where=self.to_file, fix="name a file for the tasks")
        return self.to_file

    def write(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Put tasks into the file."""
        try:
            write_json(self.file, tasks)
        except OSError as problem:
            raise UsageError(f"cannot write the tasks: {problem.strerror}", where=self.to_file) from None


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
    asks: str = "update"  # what each turn changes, or ``state``: the whole state after single turns
    ontology_version: int = 1


def read_batches(labelling: Path) -> list[Batch]:
    """All complete batches, in order."""
    return [_read(folder / "manifest.json") for folder in _folders(labelling) if is_complete(folder)]


def batch_folder(labelling: Path, number: int) -> Path:
    """Where a batch is."""
    return labelling / f"batch-{number:04d}"


def dialogue_of(uid: str) -> str:
    """The dialogue that a task is of."""
    return uid.rpartition("#")[0]


def next_batch_folder(labelling: Path) -> Path:
    """Where the next batch goes: the first folder without a complete manifest, which a killed run may have left."""
    folders = _folders(labelling)
    last = _number(folders[-1]) if folders else 0
    return next((folder for folder in folders if not is_complete(folder)), batch_folder(labelling, last + 1))


@contextmanager
def new_batch(
    labelling: Path,
    tasks: Sequence[Mapping[str, Any]],
    destination: Destination,
    *,
    config: LabelConfig,
    ontology: Ontology,
    guideline: str,
    window: int,
    **more: str | None,
) -> Iterator[int | None]:
    """Around what brings tasks to where they go: their batch, complete when the block ends well.

    Yields its number; None, and no batch is written, when there are no tasks.

    Args:
        labelling: the folder of all batches.
        config, ontology, guideline: what the tasks were made with.
        window: user turns in one task, at most.
        more: further entries of the manifest (``role``, ``asks``, ``annotator``, ``prelabel``); those that are None are
            left out.

    Raises:
        OSError: the disk refuses it; no folder is left then, which on a full one would be in the way.
    """
    if not tasks:
        yield None
        return
    folder = next_batch_folder(labelling)
    if folder.exists():
        shutil.rmtree(folder)
    try:
        write_json(folder / "tasks.json", list(tasks))
        write_atomic(folder / "label_config.xml", config.xml)
        write_atomic(folder / "guidelines.md", guideline)
        yield _number(folder)
    except (OSError, UsageError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    manifest = {
        "batch": _number(folder),
        "semctl_schema": TASK_SCHEMA,
        **json_form(destination),
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


def _folders(labelling: Path) -> list[Path]:
    found = [folder for folder in labelling.glob("batch-*") if folder.name.removeprefix("batch-").isdigit()]
    return sorted(found, key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("batch-"))


def is_complete(folder: Path) -> bool:
    """Whether a folder of a batch has its manifest."""
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
            asks=_text(value.get("asks")) or "update",
            ontology_version=int(value.get("ontology_version", 1)),
        )


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
