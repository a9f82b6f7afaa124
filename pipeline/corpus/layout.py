"""Where the parts of a corpus lie below its folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.corpus.ledger import LedgerLine
from pipeline.corpus.parsing import NotJsonError, parse_json
from schemas.errors import CorpusError


@dataclass(frozen=True)
class Folders:
    """A corpus's folder and, where they lie elsewhere, its parts."""

    root: Path
    dialogues: Path | None = None
    products: Path | None = None
    images: Path | None = None
    # what lies there and is not read, each with the reason; readers add to it, and the import tells it
    left_out: list[str] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise CorpusError("no such folder", where=self.root, fix="give the folder that holds the corpus")
        for option in ("dialogues", "products", "images"):
            path: Path | None = getattr(self, option)
            if path is not None and not path.exists():
                raise CorpusError(f"no such file or folder for --{option}", where=path)

    def find(self, *names: str) -> Path | None:
        """The first of these files or folders that exists below the root; others that exist, too, are told."""
        found = [self.root / name for name in names if (self.root / name).exists()]
        for other in found[1:]:
            if not other.samefile(found[0]) and found[0] not in other.parents and other not in found[0].parents:
                self.leave_out(other, f"{found[0].relative_to(self.root)} is read instead")
        return found[0] if found else None

    def leave_out(self, path: Path, reason: str) -> None:
        shown = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        told = f"{shown}: {reason}"
        if told not in self.left_out:
            self.left_out.append(told)

    @property
    def image_folder(self) -> Path | None:
        found = self.images or self.find("images", "image")
        return found if found is not None and found.is_dir() else None


def files_below(folder: Path, *suffixes: str) -> Iterator[Path]:
    """All files with one of the suffixes, in any case, at any depth, sorted by path; hidden ones are left out."""
    return map(Path, names_below(str(folder), *suffixes))


def names_below(folder: str, *suffixes: str, within: frozenset[str] = frozenset()) -> Iterator[str]:
    """The same as plain strings, for folders with more files than there should be Path objects; of a file, itself.

    Args:
        folder: where they lie.
        suffixes: in lower case; files may have them in any case.
        within: the folders on the way here, by their real paths: a link back to one of them is not followed.
    """
    if os.path.isfile(folder):
        yield folder
        return
    within |= {os.path.realpath(folder)}
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not entry.is_symlink() or os.path.realpath(entry.path) not in within:
                yield from names_below(entry.path, *suffixes, within=within)
        elif entry.name.lower().endswith(suffixes):
            yield entry.path


def read_file(path: str | Path) -> bytes:
    """The content of a file, in fewer calls than a file object takes."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        content = os.read(handle, size + 1)
        # it gives less than is asked for at the end of a file, of one that grows, and of 2 GiB
        while len(content) != size and (more := os.read(handle, 1 << 30)):
            content += more
        return content
    finally:
        os.close(handle)


UNREADABLE = object()
"""What :meth:`HashedFiles.read_json` gives for a file that it dropped; None is valid JSON."""


class HashedFiles:
    """Reads files and hashes what it read.

    The hash is that of what ``sha256sum`` prints for the files in reading order, named from ``root``.
    """

    def __init__(self, root: Path | str) -> None:
        self._root = f"{root}{os.sep}"
        self._hash = hashlib.sha256()
        self._sums: list[str] = []

    def read(self, path: str | Path) -> bytes:
        """The content of a file. Raises OSError as :meth:`pathlib.Path.read_bytes` does."""
        content = read_file(path)
        name = str(path)
        name = name.removeprefix(self._root) if name.startswith(self._root) else os.path.basename(name)
        self._sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
        return content

    def take_sums(self) -> str:
        """A line for each file read since the last call; they count no longer."""
        taken = "".join(self._sums)
        self._sums.clear()
        return taken

    def add_sums(self, sums: str) -> None:
        self._hash.update(sums.encode(errors="surrogateescape"))

    def read_json(
        self,
        path: str | Path,
        line: LedgerLine,
        *,
        long_numbers: bool = False,
        on_doubled: Callable[[str], None] | None = None,
    ) -> Any:
        """The JSON in a file, or :data:`UNREADABLE` after counting in the ledger's line why it was dropped."""
        try:
            return parse_json(self.read(path), long_numbers=long_numbers, on_doubled=on_doubled)
        except OSError:
            line.drop("file_not_readable")
        except NotJsonError as problem:
            line.drop(problem.reason)
        return UNREADABLE

    def hexdigest(self) -> str:
        self.add_sums(self.take_sums())
        return self._hash.hexdigest()
