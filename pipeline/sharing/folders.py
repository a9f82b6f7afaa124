"""Folders that are given away: written beside and renamed, replaced only where the same command wrote them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from schemas.errors import UsageError
from schemas.files import exchange, read_json, sha256_file, temporary_folder, write_json

MANIFEST = "export.json"
"""Written last: what the folder is, and the SHA-256 of every other file in it."""

Kind = Literal["model", "dataset"]


@dataclass(frozen=True)
class Export:
    """A folder that was written."""

    kind: Kind
    folder: Path
    files: int
    size: int  # bytes
    facts: dict[str, Any] = field(default_factory=dict)  # what was exported
    url: str | None = None  # where it was pushed to

    def as_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        sizes = {"files": self.files, "bytes": self.size}
        return {"kind": self.kind, "folder": str(self.folder), **sizes, **self.facts, "url": self.url}


@contextmanager
def export_folder(folder: Path, kind: Kind) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` when the block ends well; its manifest is added.

    Raises:
        UsageError: there is something else than an earlier export of this kind.
    """
    folder = folder.expanduser().absolute()
    check_folder(folder, kind)
    with temporary_folder(folder) as aside:
        made, before = aside / "made", aside / "before"
        made.mkdir()
        yield made
        hashes = {name: sha256_file(made / name) for name in _files(made)}
        write_json(
            made / MANIFEST, {"semctl_export": kind, "semctl": importlib.metadata.version("semctl"), "files": hashes}
        )
        if folder.exists():
            if exchange(made, folder):
                return
            folder.replace(before)
        try:
            made.replace(folder)
        except OSError:
            if before.exists():
                before.replace(folder)
            raise


def check_folder(folder: Path, kind: Kind) -> None:
    """See that a folder may be written, before any work.

    Raises:
        UsageError: it is a file, or holds something else than an earlier export of this kind.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError("this is no folder", where=folder, fix="name a new one")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    elsewhere = "name a new folder"
    if not (folder / MANIFEST).is_file():
        raise UsageError("the folder is not empty", where=folder, fix=elsewhere)
    manifest = read_json(folder / MANIFEST, error=UsageError, fix=elsewhere)
    told = manifest if isinstance(manifest, dict) else {}
    files = told.get("files")
    if told.get("semctl_export") != kind or not isinstance(files, dict):
        raise UsageError(f"the folder does not hold an exported {kind}", where=folder, fix=elsewhere)
    strange = sorted(set(_files(folder)) - {MANIFEST, *files})
    if strange:
        raise UsageError(
            f"the folder also holds a file that no export wrote: {strange[0]}",
            where=folder,
            fix=f"move it, or {elsewhere}",
        )


def written(kind: Kind, folder: Path, facts: dict[str, Any]) -> Export:
    """What was written there."""
    names = _files(folder)
    return Export(kind, folder, len(names), sum((folder / name).stat().st_size for name in names), facts)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
