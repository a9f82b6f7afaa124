"""Scores of a whole catalogue, or of candidate lists, chunk by chunk on every core (section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semantic_model.data.records import FloatArray
from semantic_model.ranking.workers import Scratch, for_each, one_thread

__all__ = ["Chunk", "Scoring", "Table", "rank_scores", "score_candidates", "score_catalogue", "slices"]


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
