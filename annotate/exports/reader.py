"""Reads a Label Studio JSON export task by task, however large it is, plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ijson

from schemas.errors import LabelError
from schemas.files import atomic_path
from schemas.progress import Progress, SilentProgress

UNKNOWN = "unknown"
"""Stands for the number of a task or a project that an export does not give."""

_ANSWERS = ("annotations", "completions")  # the second is their name before Label Studio 1.0
_BLOCK = 1 << 16
_DEEPEST = 100  # Label Studio's own exports have 10 levels
_NO_JSON = re.compile(r"\b(?:nan|-?infinity)\b", re.IGNORECASE)
"""What other programs write for numbers that are none."""
_HOW = (
    "export the project from Label Studio as JSON (not JSON-MIN or CSV), or use `semctl ingest-labels --project NAME`"
)


@dataclass(frozen=True)
class ExportedTask:
    """One task of an export, not yet checked."""

    position: int  # its place in the export, from 0
    task_id: str  # Label Studio's number of it, as text
    project: str  # number of its project, as text
    data: dict[str, Any]  # what the task was made of; empty when it is no object
    annotations: list[Any]  # the annotations, finished and skipped, whatever they hold
    drafts: int  # how many answers are begun and not submitted


class ExportReader:
    """One export file. Iterate over :meth:`tasks` once; ``sha256`` is known afterwards.

    Args:
        path: the JSON export, or its gzip.
        shown: what errors name instead of the path.

    Attributes:
        sha256: hash of the JSON, unzipped.
        tasks_read: whole tasks read so far.
    """

    def __init__(self, path: Path, *, shown: str | None = None) -> None:
        self.path = path
        self.shown = shown or path
        self.sha256 = ""
        self.tasks_read = 0

    def tasks(self, progress: Progress | None = None) -> Iterator[ExportedTask]:
        """The tasks in order, with memory for one of them.

        Raises:
            LabelError: no such file; not JSON, or cut off (says where); not an export in Label Studio's JSON format.
        """
        progress = progress or SilentProgress()
        annotated = False
        with _opened(self.path) as file, progress.task("reading the export", total=self.path.stat().st_size) as bar:
            stream = _HashedStream(file)
            self._check_start(stream)
            seen = 0
            for item in self._items(stream):
                task = self._task(item)
                annotated = annotated or any(name in item for name in _ANSWERS)
                self.tasks_read += 1
                yield task
                position = stream.position_in_file()
                bar.advance(position - seen)
                seen = position
            self.sha256 = stream.hash.hexdigest()
        if self.tasks_read and not annotated:
            raise LabelError("tasks without annotations: not an export", where=self.shown, fix=_HOW)

    def _check_start(self, stream: _HashedStream) -> None:
        start = stream.peek()
        first = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if first == b"[":
            return
        if not first:
            raise LabelError("the export is empty", where=self.shown, fix=_HOW)
        kind = "one JSON object, not a list of tasks" if first == b"{" else "not JSON"
        raise LabelError(f"not an export of Label Studio: {kind}", where=self.shown, fix=_HOW)

    def _items(self, stream: _HashedStream) -> Iterator[Any]:
        try:
            yield from ijson.items(stream, "item", use_float=True, buf_size=_BLOCK)
            stream.drain()
        except ijson.IncompleteJSONError as problem:
            no_json = _NO_JSON.search(str(problem))
            what = f"not valid JSON (it holds {no_json.group()}; write null)" if no_json else "cut off"
            raise self._broken(what, stream) from None
        except _TooDeepError:
            raise self._broken(f"nested deeper than {_DEEPEST} levels", stream) from None
        except (ijson.JSONError, ValueError, OverflowError, RecursionError) as problem:
            said = " ".join(str(problem).split())[:80]
            raise self._broken(f"not valid JSON ({said})", stream) from None

    def _broken(self, what: str, stream: _HashedStream) -> LabelError:
        if not stream.at_end and what == "cut off":
            what = "not valid JSON"
        place = f"after {self.tasks_read} whole tasks, at about byte {stream.position}"
        return LabelError(f"the export is {what} {place}", where=self.shown, fix="export it again; nothing was changed")

    def _task(self, item: Any) -> ExportedTask:
        if not isinstance(item, dict):
            raise LabelError(
                f"not an export of Label Studio: item {self.tasks_read} is no task", where=self.shown, fix=_HOW
            )
        if "data" not in item and "annotations" not in item and ("annotation_id" in item or "annotator" in item):
            raise LabelError("this export is in the format JSON-MIN", where=self.shown, fix=_HOW)
        data = item.get("data")
        annotations: Any = next((found for name in _ANSWERS if (found := item.get(name)) is not None), [])
        drafts = item.get("drafts")
        return ExportedTask(
            position=self.tasks_read,
            task_id=name_of_number(item.get("id")) or UNKNOWN,
            project=name_of_number(item.get("project")) or UNKNOWN,
            data=data if isinstance(data, dict) else {},
            # what is no list is one thing that cannot be read, and is counted as one
            annotations=annotations if isinstance(annotations, list) else [annotations],
            drafts=len(drafts) if isinstance(drafts, list) else 0,
        )


def keep_raw(export: Path, sha256: str, target: Path) -> None:
    """Copy the export's JSON, gzipped, to ``target``: the same export gives the same bytes.

    Raises:
        LabelError: the file is no longer what was read.
    """
    digest = hashlib.sha256()
    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
        _opened(export) as source,
    ):
        while block := source.read(_BLOCK):
            digest.update(block)
            packed.write(block)
    if digest.hexdigest() != sha256:
        raise LabelError("the export changed while it was read", where=export, fix="run this again")


class _TooDeepError(Exception):
    pass


class _Depth:
    """How deeply JSON is nested, followed block by block: ijson's time grows with the square of it."""

    _NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))

    def __init__(self) -> None:
        self._depth = 0
        self._begun = b""  # the quotation mark of a string that goes on in the next block, and a backslash at its end

    def feed(self, block: bytes) -> None:
        """Raises _TooDeepError."""
        text = (self._begun + block).replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = text.split(b'"')  # every second one is within a string
        self._begun = b"" if len(parts) % 2 else b'"'
        if text.endswith(b"\\"):
            self._begun += b"\\"
        brackets, levels = b"".join(parts[::2]).translate(None, self._NO_BRACKET), 0
        while (fewer := brackets.replace(b"[]", b"").replace(b"{}", b"")) != brackets:
            brackets, levels = fewer, levels + 1
            if levels > _DEEPEST:
                raise _TooDeepError
        opened = brackets.count(b"[") + brackets.count(b"{")
        self._depth += 2 * opened - len(brackets)
        if self._depth > _DEEPEST:
            raise _TooDeepError


class _HashedStream:
    """A binary stream that hashes and counts what is read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._nested = _Depth()
        self._ahead: bytes | None = None
        self.hash = hashlib.sha256()
        self.position = 0
        self.at_end = False

    def peek(self) -> bytes:
        """The first block, which the next read returns too."""
        self._ahead = self._next(_BLOCK)
        return self._ahead

    def read(self, size: int = -1) -> bytes:
        if size == 0:
            return b""
        if self._ahead is not None:
            block, self._ahead = self._ahead.removeprefix(b"\xef\xbb\xbf"), None
        else:
            block = self._next(_BLOCK if size < 0 else size)
        self._nested.feed(block)
        return block

    def drain(self) -> None:
        while self._next(_BLOCK):
            pass

    def position_in_file(self) -> int:
        """Bytes of the file itself that were read, which are fewer than ``position`` when it is gzipped."""
        raw: Any = getattr(self._file, "fileobj", None) or self._file
        return int(raw.tell())

    def _next(self, size: int) -> bytes:
        block = self._file.read(size)
        self.hash.update(block)
        self.position += len(block)
        self.at_end = not block
        return block


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not zipped:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked  # type: ignore[misc]
    except FileNotFoundError:
        raise LabelError("no such export", where=path, fix=_HOW) from None
    except IsADirectoryError:
        raise LabelError("the export is a folder", where=path, fix="name the JSON file in it") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise LabelError(f"the gzip is damaged or cut off: {problem}", where=path, fix="export it again") from None
    except PermissionError as problem:
        raise LabelError(f"cannot read the export: {problem.strerror}", where=path) from None


def name_of_number(value: Any) -> str | None:
    """A number by which a server names something, as text; ``1.0`` is 1, as programs write it that also write NaN."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
