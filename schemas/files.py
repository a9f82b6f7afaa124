"""Files written whole or not at all, files read with one-line errors, locks, and hashes.

Whatever is being written has a temporary name, ``.NAME.XXXXXXXX.semctl.tmp``, and is locked meanwhile. The system drops
the lock with the process, however it ends, on whichever machine: a temporary file that nobody holds is left over.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, overload

import orjson

from schemas.errors import CorpusError, InputError, UsageError, WorkspaceError
from schemas.safe_text import as_unicode

T = TypeVar("T")

_log = logging.getLogger("semctl")

_TEMPORARY = ".semctl.tmp"
_ASIDE = ".d"  # what a folder's temporary name has after that of the file that is locked for it
_LONGEST_NAME = 40

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux

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
"""What the disk refuses: what cannot be done, and the fix."""


@contextmanager
def atomic_path(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it, synced to disk, when the block ends well.

    When the block raises, ``path`` is as it was and nothing is left beside it. What killed processes left in the folder
    is removed. Without a ``mode`` its permissions are those it has, or those of any new file.

    Raises:
        OSError: ``path`` cannot be written; its ``filename`` is ``path``.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, held = _hold(path)
    try:
        with _named(path, only_for=temporary):
            yield temporary
        with _named(path):
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            if mode is None:
                mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
            temporary.chmod(mode)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(held)


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Yield a new folder beside ``beside``, on its disk, that is gone when the block ends; move out what is to stay.

    What killed processes left there is removed.

    Raises:
        OSError: it cannot be made; its ``filename``, as that of any error on the way, is what it would be beside.
    """
    with _named(beside.parent):
        beside.parent.mkdir(parents=True, exist_ok=True)
        lock, held = _hold(beside)
    folder = lock.with_name(lock.name + _ASIDE)
    try:
        folder.mkdir()
        yield folder
    except OSError as problem:
        where = Path(os.fsdecode(problem.filename)) if isinstance(problem.filename, str | bytes | Path) else None
        if where is not None and where.is_relative_to(folder):
            problem.filename, problem.filename2 = str(beside.parent / where.relative_to(folder)), None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(held)


def remove_folder(folder: Path) -> None:
    """Remove a folder with everything in it; to whoever looks, it is there whole or not at all."""
    with temporary_folder(folder) as aside:
        folder.replace(aside / folder.name)


def exchange(one: Path, other: Path) -> bool:
    """Let two paths name each other's file or folder, in one step; False where the system or the disk cannot."""
    import ctypes  # not for `semctl --help`

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    places = _HERE, os.fsencode(one), _HERE, os.fsencode(other)
    return rename is not None and rename(*places, _EXCHANGE) == 0


def _hold(path: Path) -> tuple[Path, int]:
    """Make a temporary file beside ``path``, locked as long as the descriptor is open."""
    while True:
        held, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_LONGEST_NAME]}.", suffix=_TEMPORARY)
        with suppress(OSError):  # a disk without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        if os.path.exists(name):  # nobody took it for left over before it was locked
            break
        os.close(held)
    remove_left_over(path.parent)  # only now: at every moment, a folder that is not finished has one such file
    return Path(name), held


def temporary_files(folder: Path) -> list[Path]:
    """The temporary files and folders in ``folder``, in use or left over."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
    return sorted(folder / name for name in names if name.endswith((_TEMPORARY, _TEMPORARY + _ASIDE)))


def remove_left_over(folder: Path) -> list[Path]:
    """Remove the temporary files and folders in ``folder`` that no process on any machine holds; returns them."""
    removed = []
    with suppress(OSError):
        for path in temporary_files(folder):
            lock = path.with_name(path.name.removesuffix(_ASIDE))
            with _seized(lock) as seized:
                if seized and path.exists():
                    shutil.rmtree(lock.with_name(lock.name + _ASIDE), ignore_errors=True)
                    lock.unlink(missing_ok=True)  # while it is held: whoever waits for it sees that it is gone
                    removed.append(path)
    return removed


@contextmanager
def _seized(lock: Path) -> Iterator[bool]:
    """Hold a temporary file if nobody else does; one that is not there is held by nobody."""
    try:
        file = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield True
        return
    except OSError:  # somebody else's, or no file
        yield False
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a disk without locks, where nobody can tell
        yield False
    else:
        yield True
    finally:
        os.close(file)


@contextmanager
def _named(path: Path, *, only_for: Path | None = None) -> Iterator[None]:
    """Let an error name the file that was asked for: a full disk names none, a temporary file means nothing to people.

    Errors that name another file than ``only_for`` are left alone.
    """
    try:
        yield
    except OSError as problem:
        if only_for is None or problem.filename is None or str(problem.filename) == str(only_for):
            problem.filename, problem.filename2 = str(path), None
        raise


def disk_problem(problem: OSError) -> InputError | None:
    """The error to show when the disk or its permissions refuse a file; None for a file that is not there, and all
    else.
    """
    found = _DISK_PROBLEMS.get(problem.errno or 0)
    if found is None:
        return None
    what, fix = found
    return WorkspaceError(
        f"{what}: {os.strerror(problem.errno or 0)}", where=problem.filename, fix=f"{fix}, then run this again"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, made when it is not there; says so and waits while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("waiting for another semctl command to finish: it holds %s", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomic(path: Path, content: bytes | str, *, mode: int | None = None) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never half of it."""
    with atomic_path(path, mode=mode) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any, *, mode: int | None = None) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically: same value, same bytes."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    write_atomic(path, json_bytes(value, options), mode=mode)


def json_bytes(value: Any, options: int = 0) -> bytes:
    """``value`` as JSON, with options of orjson; names of files that are not UTF-8 are written out."""
    try:
        return orjson.dumps(value, option=options)
    except orjson.JSONEncodeError:
        return orjson.dumps(_in_unicode(value), option=options)


def _in_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return as_unicode(value)
    if isinstance(value, dict):
        return {_in_unicode(key): _in_unicode(inner) for key, inner in value.items()}
    return [_in_unicode(inner) for inner in value] if isinstance(value, list | tuple) else value


@overload
def read_json(path: Path, *, error: type[InputError] = ..., fix: str | None = ...) -> Any: ...
@overload
def read_json(path: Path, *, error: type[InputError] = ..., fix: str | None = ..., shape: type[T]) -> T: ...
def read_json(path: Path, *, error: type[InputError] = CorpusError, fix: str | None = None, shape: Any = None) -> Any:
    """Read a JSON file.

    Args:
        shape: the type that its value must have, and is returned as, such as ``dict[str, int]`` or a dataclass.

    Raises:
        InputError: of the given class, when the file is missing, unreadable, not JSON or not of that shape.
    """
    content = _content(path, error, fix)
    try:
        value = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))  # as some editors begin a file
    except ValueError as problem:
        raise error(f"not valid JSON: {problem}", where=path, fix=fix) from None
    if shape is not None:
        from pydantic import TypeAdapter, ValidationError  # not for `semctl --help`

        from schemas.validation import first_mistake

        try:
            return TypeAdapter(shape).validate_json(orjson.dumps(value), strict=True)
        except orjson.JSONEncodeError:
            raise error("not as semctl writes it: nested too deeply", where=path, fix=fix) from None
        except ValidationError as problem:
            wrong = first_mistake(problem)
            raise error(
                f"not as semctl writes it, at {wrong.key or 'the whole'}: {wrong.what}", where=path, fix=fix
            ) from None
    return value


def read_toml(path: Path, *, error: type[InputError] = UsageError) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: of the given class, when the file is missing, unreadable or not TOML.
    """
    content = _content(path, error, None)
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise error("not valid TOML: nested too deeply", where=path) from None
    except (ValueError, OverflowError) as problem:  # not UTF-8, not TOML, or a number beyond all bounds
        raise error(f"not valid TOML: {problem}", where=path) from None


def _content(path: Path, error: type[InputError], fix: str | None) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise error("no such file", where=path, fix=fix) from None
    except OSError as problem:
        raise error(f"cannot read the file: {problem.strerror}", where=path, fix=fix) from None


@contextmanager
def taken_apart(
    path: Path, *, error: type[InputError], what: str = "not as semctl writes it", fix: str | None = None
) -> Iterator[None]:
    """Around what takes the content of a file apart: content of another shape becomes one line that names the file.

    Raises:
        InputError: of the given class, for whatever wrong types, missing keys and impossible values lead to.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as problem:
        said = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        raise error(f"{what} ({said[:200]})", where=path, fix=fix) from None


def open_unlinked(path: Path) -> BinaryIO:
    """Open a regular file for reading, following no symbolic link, be it the file or a folder on the way to it.

    Raises:
        OSError: there is no such file, or it cannot be read; ``errno`` is ``ELOOP`` where a symbolic link is in its
            path and ``EINVAL`` where it is no regular file.
    """
    path = path.absolute()
    handle = os.open(path.anchor, _FOLDER)
    try:
        for number, name in enumerate(path.parts[1:], start=2):
            # a pipe must not be waited for
            flags = _FOLDER if number < len(path.parts) else os.O_RDONLY | os.O_NONBLOCK
            try:
                below = os.open(name, flags | os.O_NOFOLLOW, dir_fd=handle)
            except OSError as problem:
                if stat.S_ISLNK(os.lstat(name, dir_fd=handle).st_mode):
                    problem.errno = errno.ELOOP
                raise
            os.close(handle)
            handle = below
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
"""How a folder on the way is opened: where the system can, without asking for the right to list it."""


def sha256_bytes(content: bytes) -> str:
    """Hex SHA-256 of ``content``."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
