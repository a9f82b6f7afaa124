"""The chunks of a corpus, made here or by several processes, and given back in order.

Only MMD's layout, with its file a dialogue, is read by several: SIMMC and JSON lines keep many dialogues in one file,
which would first have to be gone through to find out where each starts. The several are processes of this machine, or
the workers of an engine (:mod:`schemas.engine`).

One fresh interpreter is started, which imports what reading takes, is told the catalogue, and then forks the others
while it has a single thread. (It is not multiprocessing's way: there, each process would import for itself, and also
the caller's main module.) Work goes to them as JSON and comes back as Arrow's columns, over pipes. They end when their
pipes do, so nothing is left behind however the import ends.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import struct
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import IO, Any, NamedTuple

import pyarrow as pa

from pipeline.corpus.catalogue import Setting
from pipeline.corpus.chunks import Chunk, ChunkMaker
from pipeline.corpus.layout import Folders
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.mmd import MmdDialogues, MmdReader
from pipeline.corpus.records import Parts, Reader
from pipeline.environment import cores
from schemas.engine import Engine
from schemas.errors import ServiceError, UsageError
from schemas.validation import did_you_mean

_SIZE = struct.Struct("<Q")

_UNDER_WAY_EACH = 2
"""How many parts of the work are being done, or done and not yet taken, for each process."""


def send(pipe: IO[bytes], parts: Sequence[Any]) -> None:
    """Write a message of several parts, each bytes-like."""
    pipe.write(_SIZE.pack(len(parts)) + b"".join(_SIZE.pack(memoryview(part).nbytes) for part in parts))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def receive(pipe: IO[bytes]) -> list[bytes] | None:
    """Read a message; None when the pipe ends before or within it."""
    try:
        (n,) = _SIZE.unpack(pipe.read(_SIZE.size))
        sizes = [size for (size,) in _SIZE.iter_unpack(pipe.read(n * _SIZE.size))]
    except struct.error:
        return None
    parts = [pipe.read(size) for size in sizes]
    return parts if len(parts) == n and [*map(len, parts)] == sizes else None


class _Member(NamedTuple):
    """The pipes to one process."""

    requests: IO[bytes]
    answers: IO[bytes]

    def ask(self, work: bytes) -> list[bytes]:
        answer = None
        with suppress(BrokenPipeError):
            send(self.requests, [work])
            answer = receive(self.answers)
        if answer is None:
            raise ServiceError(
                "a process that reads dialogues was killed", fix="if memory was short, import with --jobs 1"
            )
        if len(answer) == 1:
            raise RuntimeError(f"in a process that reads dialogues:\n{answer[0].decode()}")
        return answer


class WorkerPool:
    """Processes; they are started at once and come up while the caller goes on."""

    def __init__(self, jobs: int) -> None:
        self._members: list[_Member] = []
        theirs: list[tuple[int, int]] = []
        for _ in range(jobs):
            (there, here), (back, away) = os.pipe(), os.pipe()
            theirs.append((there, away))
            self._members.append(_Member(os.fdopen(here, "wb"), os.fdopen(back, "rb")))
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        # one thread each, also none of Arrow's allocator: forking takes that, and cores are shared out by process
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        threads["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
        try:
            self._leader = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, json.dumps(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **threads, "PYTHONPATH": path},
                pass_fds=[end for ends in theirs for end in ends],
                start_new_session=True,  # Ctrl-C is for the import, which then ends its pool
            )
        finally:
            for end in (end for ends in theirs for end in ends):
                os.close(end)
        self._threads = ThreadPoolExecutor(jobs + 1)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: object, problem: object, traceback: object) -> None:
        """Stop everybody: as soon as they have nothing to do, or after a problem at work or not."""
        if problem is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._leader.pid, signal.SIGKILL)
        self._threads.shutdown(cancel_futures=True)
        for pipe in (self._leader.stdin, *(pipe for member in self._members for pipe in member)):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._leader.wait()

    def answers(self, setting: Any, works: Iterable[Any]) -> Iterator[list[bytes]]:
        """The answers to pieces of work, in order; only a few are under way at a time."""
        self._threads.submit(self._tell, setting)
        idle: SimpleQueue[_Member] = SimpleQueue()
        for member in self._members:
            idle.put(member)

        def ask(work: Any) -> list[bytes]:
            member = idle.get()
            try:
                return member.ask(json.dumps(work).encode())
            finally:
                idle.put(member)

        waiting: deque[Future[list[bytes]]] = deque()
        for work in works:
            waiting.append(self._threads.submit(ask, work))
            if len(waiting) >= _UNDER_WAY_EACH * len(self._members):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _tell(self, setting: Any) -> None:
        pipe = self._leader.stdin
        assert pipe is not None
        with suppress(BrokenPipeError):  # whoever asks finds out
            pipe.write(json.dumps(setting).encode())
            pipe.close()


_START = "from pipeline.corpus.reading import main; main()"


def main() -> None:
    """Hear the setting, fork a process for each pair of pipes on the command line, and wait for them to end."""
    sys.meta_path.insert(0, _NoPandas())
    pipes: list[tuple[int, int]] = json.loads(sys.argv[1])
    dialogues, setting = _told(json.load(sys.stdin.buffer))
    maker = ChunkMaker(setting)
    gc.disable()  # parsed JSON holds no cycles
    gc.freeze()
    for pair in pipes:
        if os.fork() == 0:
            # the others' pipes end only when nobody holds them
            for end in (end for other in pipes if other != pair for end in other):
                os.close(end)
            with suppress(BrokenPipeError):
                _serve(os.fdopen(pair[0], "rb"), os.fdopen(pair[1], "wb"), dialogues, maker)
            os._exit(0)
    for end in (end for pair in pipes for end in pair):
        os.close(end)
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _told(known: Mapping[str, Any]) -> tuple[MmdDialogues, Setting]:
    return MmdDialogues(**known["dialogues"]), Setting.from_json(known["setting"])


def makes_chunks(known: Mapping[str, Any]) -> Callable[[Any], list[bytes | pa.Buffer]]:
    """In a worker of an engine: what makes the chunk of a run of files, whichever it made before."""
    dialogues, setting = _told(known)

    def make(run: Any) -> list[bytes | pa.Buffer]:
        setting.image_refs.forget()  # so that each chunk gives all images that it refers to
        return dialogues.chunk(run, ChunkMaker(setting)).to_bytes()

    return make


class _NoPandas(MetaPathFinder):
    """Nothing here needs pandas, but pyarrow would import it with its first array: 0.2 s and 35 MB a process."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("left out on purpose", name=name)


def _serve(requests: IO[bytes], answers: IO[bytes], dialogues: MmdDialogues, maker: ChunkMaker) -> None:
    while (request := receive(requests)) is not None:
        answer: list[Any]
        try:
            answer = dialogues.chunk(json.loads(request[0]), maker).to_bytes()
        except Exception:
            answer = [traceback.format_exc().encode()]
        send(answers, answer)


_WORTH_BYTES = 64 * 2**20
"""Dialogue files of less are read here. Processes start reading after about 0.35 s of a core; in that time, 15 to 20 MB
of dialogues with short lists of candidates are read, or 60 to 70 MB with long ones, and two processes save half of what
is read. So they pay from about 40 and 140 MB on; in between, either way costs a fraction of a second."""


class Chunks:
    """Makes the chunks of a corpus; processes are started when this is made, and come up beside whatever follows.

    Args:
        reader: of the corpus.
        jobs: how many processes there may be; None: one a core.
        engine: reads in the place of these.
    """

    def __init__(self, reader: Reader, jobs: int | None, engine: Engine | None = None) -> None:
        self._reader = reader
        self._engine = engine
        self._parts: Parts | None = None
        self._pool: WorkerPool | None = None
        if isinstance(reader, MmdReader):
            self._parts = reader.parts()
            jobs = _jobs(self._parts, jobs)
            if jobs > 1 and engine is None:
                self._pool = WorkerPool(jobs)

    def __enter__(self) -> Chunks:
        return self

    def __exit__(self, kind: object, problem: object, traceback: object) -> None:
        if self._pool is not None:
            self._pool.__exit__(kind, problem, traceback)

    def read(self, setting: Setting) -> Iterator[tuple[int, Chunk]]:
        """(files or dialogues read, chunk), in order; the chunks do not depend on who makes them."""
        reader = self._reader
        if self._parts is None or not isinstance(reader, MmdReader):
            yield from self._one_by_one(ChunkMaker(setting))
            return
        files = reader.files_of_dialogues
        if self._pool is None and self._engine is None:
            maker = ChunkMaker(setting)
            chunks = (files.chunk(run, maker) for run in self._parts.runs)
        else:
            known = {"setting": setting.as_json(), "dialogues": files.as_json()}
            chunks = (Chunk.from_bytes(answer) for answer in self._answers(known, self._parts.runs))
        for run, chunk in zip(self._parts.runs, chunks, strict=True):
            files.files.add_sums(chunk.sums)
            yield len(run), chunk

    def _answers(self, known: Any, runs: Sequence[Any]) -> Iterator[list[bytes]]:
        if self._engine is None:
            assert self._pool is not None
            return self._pool.answers(known, runs)
        folders = [known["dialogues"]["folder"], known["setting"]["image_refs"]["folder"]]
        needs = [Path(folder) for folder in folders if folder is not None]
        return self._engine.map("pipeline.corpus.reading:makes_chunks", known, runs, needs=needs)

    def _one_by_one(self, maker: ChunkMaker) -> Iterator[tuple[int, Chunk]]:
        n = 0
        for dialogue in self._reader.dialogues(maker.ledger):
            n += 1
            maker.add(dialogue)
            if maker.is_full:
                yield n, maker.take()
                n = 0
        yield n, maker.take()


def jobs_for(reader: Reader) -> int:
    """How many processes read a corpus when nobody says; 1: this one."""
    return _jobs(reader.parts(), None) if isinstance(reader, MmdReader) else 1


def _jobs(parts: Parts, asked: int | None) -> int:
    return min(asked or cores(), len(parts.runs)) if parts.size >= _WORTH_BYTES else 1


FORMATS = ("mmd", "simmc1", "simmc2", "jsonl")


def open_reader(form: str, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> Reader:
    """The reader of a format, opened on a corpus.

    Raises:
        UsageError: an unknown format.
        CorpusError: the folder does not hold a corpus in this format.
    """
    from pipeline.corpus.jsonl import JsonlReader
    from pipeline.corpus.simmc1 import Simmc1Reader
    from pipeline.corpus.simmc2 import Simmc2Reader

    classes = (MmdReader, Simmc1Reader, Simmc2Reader, JsonlReader)
    readers: dict[str, Callable[..., Reader]] = dict(zip(FORMATS, classes, strict=True))
    if form not in readers:
        fix = did_you_mean(form, FORMATS, f"formats: {', '.join(FORMATS)}")
        raise UsageError(f"unknown corpus format '{form}'", fix=fix)
    return readers[form](folders, ledger, with_states=with_states)
