"""A corpus at an address (``s3://``, ``gs://``, ``abfs://``, ``hf://`` and all else that fsspec reads).

Its files are copied into the workspace, where an import reads them as any other folder: images stay there, as training
and labelling look at them again and again. A second import copies only what has changed. The workspace itself is a
folder of a disk: renames of a bucket are copies, and nothing in it can be locked or mapped into memory.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, unquote

from schemas.errors import CorpusError, MissingPartError, SemctlError, ServiceError, UsageError, WorkspaceError
from schemas.files import atomic_path, disk_problem, read_json, sha256_bytes, write_json
from schemas.progress import Progress
from schemas.safe_text import guard

_AT_A_TIME = 8
_CHANGES = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created", "updated")
"""What file systems tell of a file that changes with it, by whatever name."""
_USER = re.compile(r"(?<![a-z])(?!abfss?://[^/:@]*@)([a-z][a-z0-9+.-]*://)([^/]*)@", re.IGNORECASE)
"""The user of an address, and a password; what Azure's have there is the container."""


@dataclass(frozen=True)
class _Listing:
    """What was copied, kept beside the copy."""

    address: str  # without the password or token that it may hold
    files: dict[str, str | None]  # path below the folder -> what changes with the file there


def shown(address: str) -> str:
    """An address without the password or token that it may hold."""
    return re.sub(r"[?#].*", "", _USER.sub(r"\1", address))


def _guard_secrets(address: str) -> None:
    """Keep what :func:`shown` leaves out of an address from messages, too: libraries repeat it in theirs."""
    user = _USER.search(address)
    if user is not None:
        guard(unquote(user[2].rpartition(":")[2]))  # the password, or a token alone
    for _, value in parse_qsl(re.sub(r"^[^?#]*[?#]?", "", address)):
        guard(value)


def _without_secrets(told: str) -> str:
    """A library's message, each address in it as :func:`shown` has it: it may sign addresses of its own."""
    return re.sub(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", lambda found: shown(found[0]), told, flags=re.IGNORECASE)


def fetch_corpus(address: str, below: Path, progress: Progress) -> Path:
    """Copy the files of a corpus; those that are here and have not changed stay.

    Args:
        address: of its folder.
        below: the folder that holds one folder for each address.
        progress: counts files.

    Returns:
        The folder of the copy. What an interrupted copy got is kept.

    Raises:
        MissingPartError: a package that reads such addresses is not installed.
        UsageError: no address of a kind that is known.
        CorpusError: no files there, or names that lead out of a folder.
        ServiceError: it cannot be read from there.
        WorkspaceError: the disk is full or has too little space, may not be written to, or a listing was edited.
    """
    _guard_secrets(address)
    name = shown(address)
    folder = below / f"{_as_file_name(name)}-{sha256_bytes(name.encode())[:8]}"
    listing = folder.with_name(f"{folder.name}.json")
    with _as_ours(name):
        system, root = _file_system(address)
        there = {_relative(path, root, name): (path, info) for path, info in sorted(_files(system, root).items())}
    if not there:
        raise CorpusError("there are no files", where=name, fix="name the folder that holds the corpus")
    known: dict[str, str | None] = {}
    if listing.is_file():
        fix = "delete it, and the folder beside it"
        known = read_json(listing, fix=fix, shape=_Listing).files
        if any(not _stays_below(PurePosixPath(path)) for path in known):
            raise WorkspaceError("a name in it leads out of the folder", where=listing, fix=fix)
    for gone in known.keys() - {str(relative) for relative in there}:
        (folder / gone).unlink(missing_ok=True)
    held: dict[str, str | None] = {}

    def fetch(relative: PurePosixPath) -> bool:
        """Whether it had to be copied."""
        path, info = there[relative]
        target, version = folder / relative, _version(system, path, info)
        is_copied = version is None or known.get(str(relative)) != version or not target.is_file()
        if is_copied:
            with atomic_path(target) as temporary:
                system.get_file(path, str(temporary))
        held[str(relative)] = version
        return is_copied

    # of files that only a second question tells apart, all may have to be copied: they count when they are not here
    needed = sum(
        int(info.get("size") or 0)
        for relative, (_, info) in there.items()
        if not (folder / relative).is_file() or ((told := _told(info)) and known.get(str(relative)) != told)
    )
    _require_space(below, needed, name)
    copied = 0
    try:
        with _as_ours(name), ThreadPoolExecutor(_AT_A_TIME) as pool:
            try:
                for is_copied in progress.track(pool.map(fetch, there), f"copying {name}", len(there)):
                    copied += is_copied
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        if held:
            write_json(listing, asdict(_Listing(name, known | held)))
    progress.log(f"{copied:,} of {len(there):,} files were copied from {name}; the others have not changed")
    return folder


def _require_space(below: Path, needed: int, name: str) -> None:
    place = next(folder for folder in (below, *below.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise WorkspaceError(
            f"the corpus needs {needed / 1e9:,.1f} GB here, and {free / 1e9:,.1f} GB of the disk are free",
            where=name,
            fix="make room, or name a smaller folder; nothing was copied",
        )


def _as_file_name(address: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", address).strip("-")[-40:].strip("-")


def _file_system(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    if "::" in address:
        raise UsageError("an address within another one is not read", where=shown(address), fix="name the folder alone")
    scheme = address.partition(":")[0]
    try:
        system, root = url_to_fs(address)
    except ImportError as problem:
        fix = _package_to_install(problem)
        raise MissingPartError(f"a package that reads {scheme}:// is not installed", fix=fix) from None
    except ValueError as problem:
        raise UsageError(
            f"'{scheme}' is no kind of address that fsspec reads ({problem})", fix="as s3:// or gs://"
        ) from None
    return system, str(root)


def _package_to_install(problem: ImportError) -> str:
    """The fix: of the packages that fsspec's message names, the one that was not found, else the first."""
    told = str(problem)
    missing = problem.__cause__.name if isinstance(problem.__cause__, ImportError) else None
    if missing and re.search(rf"(?<![\w-]){re.escape(missing)}(?![\w-])", told):
        return f"pip install {missing}"
    wanted = re.search(r"(?:[Ii]nstall|requires) [\"']?(?!(?:to|the)\b)([\w-]+(?:\[\w+\])?)", told)
    return f"pip install {wanted[1]}" if wanted else told


def _files(system: Any, root: str) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = system.find(root, detail=True)
    return found


def _relative(path: str, root: str, name: str) -> PurePosixPath:
    below = path.removeprefix(root.rstrip("/")).lstrip("/")
    found = PurePosixPath(below)
    if path == root or not below:
        raise CorpusError("this is a file, and a corpus is a folder", where=name, fix="name the folder that holds it")
    if not _stays_below(found):
        raise CorpusError(f"a name leads out of the folder: {below!r}", where=name, fix="rename it there")
    return found


def _stays_below(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts and "\0" not in str(path)


def _told(info: Mapping[str, Any]) -> str | None:
    """What a listing tells of a file that changes with it."""
    told = [str(info[key]) for key in _CHANGES if info.get(key)]
    return " ".join([str(info.get("size")), *told]) if told else None


def _version(system: Any, path: str, info: Mapping[str, Any]) -> str | None:
    """What changes with a file; None where nothing tells whether it has changed."""
    return _told(info) or _told(system.info(path))


@contextmanager
def _as_ours(name: str) -> Iterator[None]:
    """What a file system raises, whichever it is, as one line."""
    try:
        yield
    except SemctlError:
        raise
    except FileNotFoundError:
        raise CorpusError("there is no such folder", where=name, fix="give the folder that holds the corpus") from None
    except Exception as problem:
        full = disk_problem(problem) if isinstance(problem, OSError) else None
        lines = str(problem.args[-1] if isinstance(problem, OSError) and problem.args else problem).strip().splitlines()
        told = f"{type(problem).__name__}: {_without_secrets(lines[-1])[:200]}" if lines else type(problem).__name__
        fix = "see that its credentials are set as the package that reads it wants them, then run this again"
        raise full or ServiceError(f"cannot read the corpus ({told})", where=name, fix=fix) from None
