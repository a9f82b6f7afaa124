"""A corpus at an address (``s3://``, ``gs://``, ``abfs://``, ``hf://`` and all else that fsspec reads).

Its files are copied into the workspace, where an import reads them as any other folder: images stay there, as training
and labelling look at them again and again. A second import copies only what has changed. The workspace itself is a
folder of a disk: renames of a bucket are copies, and nothing in it can be locked or mapped into memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from schemas.errors import CorpusError, MissingPartError, SemctlError, ServiceError, UsageError
from schemas.files import atomic_path, disk_problem, read_json, sha256_bytes, write_json
from schemas.progress import Progress

_AT_A_TIME = 8
_CHANGES = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created", "updated")
"""What file systems tell of a file that changes with it, by whatever name."""


def shown(address: str) -> str:
    """An address without the password or token that it may hold."""
    return re.sub(r"[?#].*", "", re.sub(r"(?<=://)[^/]*@", "", address))


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
        WorkspaceError: the disk is full, or may not be written to.
    """
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
        known = read_json(listing, fix="delete it, and the folder beside it", shape=dict[str, str | None])
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
            write_json(listing, {**{path: known[path] for path in known.keys() - held.keys()}, **held})
    progress.log(f"{copied:,} of {len(there):,} files were copied from {name}; the others have not changed")
    return folder


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
        wanted = re.search(r"(?:[Ii]nstall|requires) \"?(\w+)", str(problem))
        fix = f"pip install {wanted[1]}" if wanted else str(problem)
        raise MissingPartError(f"a package that reads {scheme}:// is not installed", fix=fix) from None
    except ValueError as problem:
        raise UsageError(
            f"'{scheme}' is no kind of address that fsspec reads ({problem})", fix="as s3:// or gs://"
        ) from None
    return system, str(root)


def _files(system: Any, root: str) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = system.find(root, detail=True)
    return found


def _relative(path: str, root: str, name: str) -> PurePosixPath:
    below = path.removeprefix(root.rstrip("/")).lstrip("/")
    found = PurePosixPath(below)
    if path == root or not below:
        raise CorpusError("this is a file, and a corpus is a folder", where=name, fix="name the folder that holds it")
    if ".." in found.parts or "\0" in below:
        raise CorpusError(f"a name leads out of the folder: {below!r}", where=name, fix="rename it there")
    return found


def _version(system: Any, path: str, info: Mapping[str, Any]) -> str | None:
    """What changes with a file; None where nothing tells whether it has changed."""
    told = [str(info[key]) for key in _CHANGES if info.get(key)]
    if not told:
        info = system.info(path)
        told = [str(info[key]) for key in _CHANGES if info.get(key)]
    return " ".join([str(info.get("size")), *told]) if told else None


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
        told = f"{type(problem).__name__}: {lines[-1][:200]}" if lines else type(problem).__name__
        fix = "see that its credentials are set as the package that reads it wants them, then run this again"
        raise full or ServiceError(f"cannot read the corpus ({told})", where=name, fix=fix) from None
