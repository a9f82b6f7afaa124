"""Any trained network as a ranker: devices, chunks and padding in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.belief import BeliefState
from semantic_model.data.batch import ContextArrays, Reader
from semantic_model.data.records import FloatArray, Product, Query
from semantic_model.data.rows import Encoded, Rows, joined, map_rows, moved
from semantic_model.data.told_states import with_states
from semantic_model.ranking.chunked_scoring import rank_scores, slices
from semantic_model.ranking.ranker import LateProducts, Ranker, ScoresTables, TablePrecision

TEACHER = "(teacher)"
"""After the name of a model whose teacher ranks."""


class NetworkRanker:
    """A trained network; implements :class:`semantic_model.ranking.ranker.Ranker`.

    Args:
        model: the network (:class:`semantic_model.ranking.ranker.Network`); put into evaluation mode.
        reader: how its inputs are read.
        name: its name in tables.
        precision: of product tables, if the network brings its own.
    """

    product_chunk = 512  # products encoded at a time
    context_chunk = 64  # contexts encoded at a time, and candidate lists scored
    queries = 16  # contexts whose queries of a table are held at a time
    scored = 1 << 16  # products scored at a time by a network without a table
    pairs = 1 << 22  # numbers held at a time by a network whose products depend on the query

    def __init__(self, model: Any, reader: Reader, name: str, precision: TablePrecision = "float32") -> None:
        self.model = model.eval()
        self.reader = reader
        self.name = name
        self.precision: TablePrecision = precision

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        found: torch.device = next(self.model.parameters()).device
        return found

    @torch.inference_mode()
    def encode_products(self, products: Sequence[Product]) -> Any:
        """Products, once."""
        self.model.eval()
        return self.collect(self._encoded(products), len(products))

    def _encoded(self, products: Sequence[Product]) -> Iterator[Rows]:
        for part in slices(len(products), self.product_chunk) or [slice(0, 0)]:
            yield self.model.encode_products(moved(self.reader.products(products[part]), self.device))

    @torch.inference_mode()
    def collect(self, parts: Iterable[Rows], count: int) -> Any:
        """``count`` products that the network has encoded, ready to be scored."""
        if isinstance(self.model, ScoresTables):
            return self.model.table(parts, count, self.precision)
        return Encoded(joined(list(parts)))

    def encode_contexts(self, queries: Sequence[Query]) -> Any:
        """Contexts, once."""
        return self.encode_arrays(self.reader.contexts(queries))

    @torch.inference_mode()
    def encode_arrays(self, arrays: ContextArrays) -> Any:
        """:meth:`encode_contexts`, of contexts that have been read already."""
        self.model.eval()
        own = isinstance(self.model, ScoresTables)
        encode = self.model.encode_queries if own else self.model.encode_contexts
        found = joined(
            [
                encode(arrays.batch(part, self.device))
                for part in slices(len(arrays), self.context_chunk) or [slice(0, 0)]
            ]
        )
        return found if own else Encoded(found)

    @torch.inference_mode()
    def told(self, contexts: Any, states: Sequence[BeliefState]) -> Any:
        """The same contexts as the teacher has them, who is told these states; for a network with one
        (:class:`semantic_model.ranking.ranker.HasTeacher`).
        """
        return self.model.taught(contexts, moved(self.reader.states(states), self.device))

    @torch.inference_mode()
    def corrected(self, contexts: Any, states: Sequence[BeliefState], slots: npt.NDArray[np.bool_]) -> Any:
        """The same contexts, put right in single slots [B, n]; for a network that takes that
        (:class:`semantic_model.ranking.ranker.TakesCorrections`).
        """
        told = moved(self.reader.states(states), self.device)
        return self.model.corrected(contexts, told, torch.from_numpy(slots).to(self.device))

    @torch.inference_mode()
    def score(self, contexts: Any, table: Any, candidates: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Scores of every product, or of each context's candidates; see :class:`Ranker`."""
        self.model.eval()
        model = self.model
        if isinstance(table, tuple | Tensor):  # as the network encodes them
            table = self.collect([table], len(Encoded(table)))
        if isinstance(model, ScoresTables):
            return rank_scores(
                lambda part: model.query(contexts[part], table),
                len(contexts),
                table,
                candidates,
                at_a_time=self.queries,
            )
        scores = np.full(
            (len(contexts), len(table)) if candidates is None else candidates.shape, -np.inf, dtype=np.float32
        )
        some, many = self._at_a_time(len(contexts), whole=candidates is None)
        for part in slices(len(contexts), some):
            for columns in slices(scores.shape[1], many):
                if candidates is None:
                    products = table[columns].rows
                else:
                    rows = torch.from_numpy(candidates[part, columns].clip(min=0)).to(self.device)
                    products = map_rows(lambda tensor, rows=rows: tensor[rows], table.rows)
                scores[part, columns] = model.score(contexts[part].rows, products).cpu().numpy()
        if candidates is not None:
            scores[candidates < 0] = -np.inf
        return scores

    def _at_a_time(self, contexts: int, *, whole: bool) -> tuple[int, int]:
        """How many contexts are scored at a time, and how many products of each."""
        some = max(contexts, 1) if whole else self.context_chunk
        if not isinstance(self.model, LateProducts):
            return some, self.scored
        some = min(some, 8)
        return some, max(self.pairs // (some * self.model.pair_width), 1)


class _WithStates(NetworkRanker):
    """A network that is told the states of its queries.

    Args:
        ranker: the network.
        states: the gold state of each of some queries.
    """

    mark: ClassVar[str]  # after the network's name

    def __init__(self, ranker: NetworkRanker, states: Callable[[Sequence[Query]], Sequence[BeliefState]]) -> None:
        super().__init__(ranker.model, ranker.reader, f"{ranker.name} {self.mark}", ranker.precision)
        self.states = states


class ToldRanker(_WithStates):
    """A network that reads gold states as text, as it did in training."""

    mark = "--ds-input"

    def encode_contexts(self, queries: Sequence[Query]) -> Any:
        """Contexts with their states, once."""
        return super().encode_contexts(with_states(queries, self.states(queries), self.reader.words).queries)


class TeacherRanker(_WithStates):
    """The teacher of a network that has one, who is told the gold states: what they are worth to its ranking."""

    mark = TEACHER

    def encode_contexts(self, queries: Sequence[Query]) -> Any:
        """Contexts with their gold states, once."""
        return self.told(super().encode_contexts(queries), self.states(queries))


def network_of(ranker: Ranker) -> Any:
    """The network that a ranker asks, to see what it can do (:mod:`semantic_model.ranking.ranker`); None without."""
    return ranker.model if isinstance(ranker, NetworkRanker) else None
