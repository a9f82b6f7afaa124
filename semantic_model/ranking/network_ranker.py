"""Any trained network as a ranker: devices, chunks and padding in one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semantic_model.data.batch import ContextArrays, Reader
from semantic_model.data.records import FloatArray, Product, Query
from semantic_model.data.rows import Encoded, Rows, joined, map_rows, moved
from semantic_model.ranking.chunked_scoring import rank_scores, slices
from semantic_model.ranking.ranker import Ranker, ScoresTables, TablePrecision


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
        shape = (len(contexts), len(table)) if candidates is None else candidates.shape
        scores = np.full(shape, -np.inf, dtype=np.float32)
        if candidates is None:
            for part in slices(len(table), self.scored):
                scores[:, part] = model.score(contexts.rows, table[part].rows).cpu().numpy()
            return scores
        for part in slices(len(contexts), self.context_chunk):
            rows = torch.from_numpy(candidates[part].clip(min=0)).to(self.device)
            own = map_rows(lambda tensor, rows=rows: tensor[rows], table.rows)
            scores[part] = model.score(contexts[part].rows, own).cpu().numpy()
        scores[candidates < 0] = -np.inf
        return scores


def network_of(ranker: Ranker) -> Any:
    """The network that a ranker asks, to see what it can do (:mod:`semantic_model.ranking.ranker`); None without."""
    return ranker.model if isinstance(ranker, NetworkRanker) else None
