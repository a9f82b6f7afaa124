"""Scores of a whole catalogue, or of candidate lists, chunk by chunk on every core (section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semantic_model.data.records import FloatArray

Piece = TypeVar("Piece")
Found = TypeVar("Found")


class Scratch:
    """Memory that one worker computes in, used again for every chunk."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._flat: dict[str, Tensor] = {}

    def tensor(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A contiguous tensor with any content; the same memory as the last one of that name."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or len(flat) < size:
            flat = self._flat[name] = torch.empty(size, dtype=dtype, device=self.device)
        return flat[:size].view(shape)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on this thread alone; for steps too small to be worth another core's attention."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def for_each(
    pieces: Sequence[Piece], work: Callable[[Iterator[Piece]], Found], device: torch.device | None = None
) -> list[Found]:
    """Share pieces among workers, each of which takes the next one whenever it is free.

    On a CPU there are as many workers as torch has threads, each computing on one: cores that wait for each other in
    every small step lose more than they gain, above all on a machine that others use. Elsewhere there is one.

    Args:
        pieces: in the order in which they are handed out.
        work: what a worker does with the pieces that it gets; they come in ascending order. Runs without gradients.
        device: where the work is done; a CPU when left out.

    Returns:
        What each worker answered.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(pieces)) if device is None or device.type == "cpu" else 1
    if workers <= 1:
        with one_thread(), torch.inference_mode():
            return [work(iter(pieces))]
    waiting, lock = iter(pieces), Lock()

    def next_ones() -> Iterator[Piece]:
        while True:
            with lock:
                piece = next(waiting, None)
            if piece is None:
                return
            yield piece

    def run() -> Found:
        torch.set_num_threads(1)  # of this worker
        with torch.inference_mode():
            return work(next_ones())

    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="semctl") as pool:
            running = [pool.submit(run) for _ in range(workers)]
            return [one.result() for one in running]
    finally:
        torch.set_num_threads(threads)  # threads that start later take over what was set last


class Chunk(NamedTuple):
    """How much is computed at a time.

    On a CPU, slots x candidates of a chunk stay in a core's caches, and are so many that calls cost nothing. On a GPU
    calls cost more than memory: T of 15 slots and K = 3 takes 64 MB there.
    """

    contexts: int
    products: int

    @classmethod
    def of(cls, contexts: int, products: int, device: torch.device) -> Chunk:
        """For so many contexts and products; a small catalogue is shared among the cores, too."""
        if device.type != "cpu":
            some = min(max(contexts, 1), 16)
            return cls(some, (1 << 18) // some)
        share = max(256, -(-products // torch.get_num_threads()))
        return cls(1, min(4096, share)) if contexts == 1 else cls(4, min(2048, share))


class Table(Protocol):
    """N encoded products."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...

    def take(self, rows: Tensor, scratch: Scratch, /) -> Self:
        """The products ``rows`` [C], in memory of ``scratch``."""

    @property
    def device(self) -> torch.device:
        """Where they are."""


AnyTable = TypeVar("AnyTable", bound=Table)
Scored = TypeVar("Scored", bound=Table, contravariant=True)


class Scoring(Protocol[Scored]):
    """What B contexts bring to the scoring of products."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...

    def score(self, products: Scored, scratch: Scratch, scores: Tensor, /) -> None:
        """Scores of B contexts and N products, into ``scores`` [B, N]."""


def score_catalogue(query: Scoring[AnyTable], table: AnyTable, scores: Tensor) -> None:
    """Scores of B contexts and all N products, into ``scores`` [B, N]."""
    device = table.device
    chunk = Chunk.of(len(query), len(table), device)

    def work(parts: Iterator[slice]) -> None:
        scratch = Scratch(device)
        for part in parts:
            some = table[part]
            for b in slices(len(query), chunk.contexts):
                query[b].score(some, scratch, scores[b, part])

    for_each(slices(len(table), chunk.products), work, device)


def score_candidates(
    query_of: Callable[[slice], Scoring[AnyTable]], table: AnyTable, candidates: npt.NDArray[np.int64], scores: Tensor
) -> None:
    """Scores of B contexts and their own candidates, into ``scores`` [B, C].

    Args:
        query_of: of a slice of the contexts; called by every worker for those that it takes on.
        candidates: product rows [B, C], -1 for padding, which scores -inf.
    """
    device = table.device
    rows = torch.from_numpy(candidates).to(device)
    columns = slices(candidates.shape[1], Chunk.of(1, candidates.size, device).products)

    def work(parts: Iterator[slice]) -> None:
        scratch = Scratch(device)
        for part in parts:
            query = query_of(part)
            for b in range(len(query)):
                for column in columns:
                    row = rows[part][b, column]
                    some = table.take(row.clamp(min=0), scratch)
                    query[b : b + 1].score(some, scratch, scores[part][b : b + 1, column])

    for_each(slices(len(rows), 8), work, device)
    scores.masked_fill_(rows < 0, -torch.inf)


def rank_scores(
    query_of: Callable[[slice], Scoring[AnyTable]],
    contexts: int,
    table: AnyTable,
    candidates: npt.NDArray[np.int64] | None,
    *,
    at_a_time: int,
) -> FloatArray:
    """Scores of contexts and every product [B, N], or their own candidates [B, C] (-1, padding, scores -inf).

    Beside the scores of the contexts held at a time, the memory needed does not grow with the catalogue.

    Args:
        query_of: of a slice of the contexts.
        contexts: B.
        at_a_time: contexts whose queries are held at a time.
    """
    if candidates is not None:
        answer = torch.empty(candidates.shape, device=table.device)
        score_candidates(query_of, table, candidates, answer)
        return answer.cpu().numpy()
    scores = np.empty((contexts, len(table)), dtype=np.float32)
    for part in slices(contexts, at_a_time):
        with one_thread():
            query = query_of(part)
        answer = torch.empty(len(query), len(table), device=table.device)
        score_catalogue(query, table, answer)
        scores[part] = answer.cpu().numpy()
    return scores


def slices(count: int, step: int) -> list[slice]:
    """Parts of at most ``step``, in order."""
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
