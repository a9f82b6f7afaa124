"""The chunks of a corpus, made here or by several processes.

Only MMD's layout, with its file a dialogue, is read by several: SIMMC and JSON lines keep many dialogues in one file,
which would first have to be gone through to find out where each starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.corpus.chunks import Chunk, ChunkMaker, Setting
from pipeline.corpus.layout import Folders
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.mmd import MmdReader
from pipeline.corpus.records import Parts, Reader
from pipeline.corpus.worker_pool import WorkerPool
from schemas.errors import UsageError
from schemas.validation import did_you_mean

_WORTH_BYTES = 64 * 2**20
"""Dialogue files of less are read here. Processes start reading after about 0.35 s of a core; in that time, 15 to 20 MB
of dialogues with short lists of candidates are read, or 60 to 70 MB with long ones, and two processes save half of what
is read. So they pay from about 40 and 140 MB on; in between, either way costs a fraction of a second."""


class Chunks:
    """Makes the chunks of a corpus; processes are started when this is made, and come up beside whatever follows."""

    def __init__(self, reader: Reader, jobs: int | None) -> None:
        self._reader = reader
        self._parts: Parts | None = None
        self._pool: WorkerPool | None = None
        if isinstance(reader, MmdReader):
            self._parts = reader.parts()
            jobs = _jobs(self._parts, jobs)
            if jobs > 1:
                self._pool = WorkerPool(jobs)

    def __enter__(self) -> Chunks:
        return self

    def __exit__(self, kind: object, problem: object, traceback: object) -> None:
        if self._pool is not None:
            self._pool.__exit__(kind, problem, traceback)

    def read(self, setting: Setting) -> Iterator[tuple[int, Chunk]]:
        """(files or dialogues read, chunk), in order; the chunks do not depend on who makes them.

        Raises:
            CorpusError: the reader's.
            ServiceError: a process was killed.
        """
        reader = self._reader
        if self._parts is None or not isinstance(reader, MmdReader):
            yield from self._one_by_one(ChunkMaker(setting))
            return
        files = reader.files_of_dialogues
        if self._pool is None:
            maker = ChunkMaker(setting)
            chunks = (files.chunk(run, maker) for run in self._parts.runs)
        else:
            known = {"setting": setting.as_json(), "dialogues": files.as_json()}
            chunks = (Chunk.from_bytes(answer) for answer in self._pool.answers(known, self._parts.runs))
        for run, chunk in zip(self._parts.runs, chunks, strict=True):
            files.files.add_sums(chunk.sums)
            yield len(run), chunk

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
    return min(asked or _cores(), len(parts.runs)) if parts.size >= _WORTH_BYTES else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


FORMATS = ("mmd", "simmc1", "simmc2", "jsonl")


def open_reader(form: str, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> Reader:
    """The reader of a format, opened on a corpus.

    Raises:
        UsageError: an unknown format.
        CorpusError: the folder does not hold a corpus in this format.
    """
    if form == "mmd":
        from pipeline.corpus.mmd import MmdReader

        return MmdReader(folders, ledger, with_states=with_states)
    if form == "simmc1":
        from pipeline.corpus.simmc1 import Simmc1Reader

        return Simmc1Reader(folders, ledger, with_states=with_states)
    if form == "simmc2":
        from pipeline.corpus.simmc2 import Simmc2Reader

        return Simmc2Reader(folders, ledger, with_states=with_states)
    if form == "jsonl":
        from pipeline.corpus.jsonl import JsonlReader

        return JsonlReader(folders, ledger, with_states=with_states)
    fix = did_you_mean(form, FORMATS, f"formats: {', '.join(FORMATS)}")
    raise UsageError(f"unknown corpus format '{form}'", fix=fix)
