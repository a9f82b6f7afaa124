"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import CorpusError, InputError, WorkspaceError

__all__ = [
    "atomic_path",
    "disk_problem",
    "locked",
    "read_json",
    "sha256_bytes",
    "sha256_file",
    "write_atomic",
    "write_json",
]

_ROOM = ("cannot write", "make room there")
_RIGHTS = ("cannot read or write", "change its permissions, or those of its folder")
_DISK_PROBLEMS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EROFS: ("cannot write", "make the disk writable"),
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EIO: ("cannot read or write", "look at the disk"),
    errno.ENOTDIR: ("cannot read or write", "move the file that is where a folder should be"),
    errno.EISDIR: ("cannot read or write", "move the folder that is where a file should be"),
    errno.ENAMETOOLONG: ("cannot write", "take a shorter name"),
}
"""What the disk refuses: what cannot be done, and the mend."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it, synced to disk, when the block ends well.

    When the block raises, ``path`` is as it was and nothing is left beside it.

    Raises:
        OSError: ``path`` cannot be written; its ``filename`` is ``path``.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
    temporary = Path(name)
    try:
        with _named(path, only_for=temporary):
            yield temporary
        with _named(path):
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
            temporary.chmod(mode)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _named(path: Path, *, only_for: Path | None = None) -> Iterator[None]:
    """Let an error name the file that was asked for: a full disk names none, a temporary file means nothing to people.

    Args:
        path: the file that was asked for.
        only_for: leave errors alone that name another file than this one.
    """
    try:
        yield
    except OSError as problem:
        if only_for is None or problem.filename is None or str(problem.filename) == str(only_for):
            problem.filename, problem.filename2 = str(path), None
        raise


def disk_problem(problem: OSError) -> InputError | None:
    """The error to show when the disk or its permissions refuse a file; None for anything else.

    A connection that breaks or a file that is not there is no such problem.
    """
    found = _DISK_PROBLEMS.get(problem.errno or 0)
    if found is None:
        return None
    what, mend = found
    return WorkspaceError(
        f"{what}: {os.strerror(problem.errno or 0)}", where=problem.filename, fix=f"{mend}, then run this again"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, made when it is not there; waits while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never half of it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically: same value, same bytes."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    write_atomic(path, orjson.dumps(value, option=options))


def read_json(path: Path, *, error: type[InputError] = CorpusError, fix: str | None = None) -> Any:
    """Read a JSON file.

    Raises:
        InputError: of the given class, when the file is missing, unreadable or not JSON.
    """
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise error("no such file", where=path, fix=fix) from None
    except OSError as problem:
        raise error(f"cannot read the file: {problem.strerror}", where=path, fix=fix) from None
    except orjson.JSONDecodeError as problem:
        raise error(f"not valid JSON: {problem}", where=path, fix=fix) from None


def sha256_bytes(content: bytes) -> str:
    """Hex SHA-256 of ``content``."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
