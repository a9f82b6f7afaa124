"""A trained grounded model as a ranker, exact and chunk by chunk as the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from semantic_model.data.ranker import FloatArray, Product, Query
from semantic_model.grounded.matching import Shown
from semantic_model.grounded.model import GroundedSemantic, GroundedVectors, State
from semantic_model.grounded.reading import GroundedArrays, GroundedProducts, GroundedReader
from semantic_model.grounded.table import GroundedTable
from semantic_model.semantic.chunked_scoring import MatchQuery, rank_scores
from semantic_model.semantic.encoders import Context
from semantic_model.semantic.gram_in_place import Scratch
from semantic_model.semantic.product_table import TablePrecision

__all__ = ["EncodedDialogues", "GroundedRanker"]


@dataclass(frozen=True)
class EncodedDialogues:
    """Contexts with the student's state; supports ``len()`` and slices.

    Attributes:
        worth: of having been shown [B, 2]; see :class:`Shown`.
        shown: rows of the images shown [B, R].
        shown_last: which of them the last turn with images showed [B, R].
    """

    context: Context
    state: State
    worth: Tensor
    shown: Tensor
    shown_last: Tensor

    def __len__(self) -> int:
        return len(self.worth)

    def __getitem__(self, part: slice) -> EncodedDialogues:
        return EncodedDialogues(
            Context(*(field[part] for field in self.context)),
            State(*(field[part] for field in self.state)),
            self.worth[part],
            self.shown[part],
            self.shown_last[part],
        )

    @classmethod
    def join(cls, parts: Sequence[EncodedDialogues]) -> EncodedDialogues:
        """One after the other."""
        return cls(
            Context(*map(torch.cat, zip(*(some.context for some in parts), strict=True))),
            State(*map(torch.cat, zip(*(some.state for some in parts), strict=True))),
            torch.cat([some.worth for some in parts]),
            torch.cat([some.shown for some in parts]),
            torch.cat([some.shown_last for some in parts]),
        )


@dataclass(frozen=True)
class _GroundedQuery:
    """What B contexts bring to the scoring of products."""

    match: MatchQuery | None  # None: the cosines take no part
    scale: float  # of the cosines
    fits: Tensor  # how well each pattern of values fits [U, B]
    worth: Tensor  # [B, 2]
    shown: Tensor  # [B, R]
    shown_last: Tensor  # [B, R]

    @classmethod
    def of(cls, model: GroundedSemantic, some: EncodedDialogues, table: GroundedTable) -> _GroundedQuery:
        match = MatchQuery.of(model.semantic, some.context, some.state.S) if model.similarity else None
        fits = model.value_match.of_patterns(some.state.beliefs, *table.patterns)
        return cls(match, float(model.log_scale.exp()), fits, some.worth, some.shown, some.shown_last)

    def __len__(self) -> int:
        return len(self.worth)

    def __getitem__(self, part: slice) -> _GroundedQuery:
        match = None if self.match is None else self.match[part]
        fits = self.fits[:, part].contiguous()
        return _GroundedQuery(match, self.scale, fits, self.worth[part], self.shown[part], self.shown_last[part])

    def score(self, products: GroundedTable, scratch: Scratch, scores: Tensor) -> None:
        scores.copy_(F.embedding_bag(products.pattern_of, self.fits, mode="sum").T)
        if self.match is not None:
            scores.add_(self.match.match(products.vectors, scratch), alpha=self.scale)
        scores.add_(Shown.add(self.worth, self.shown, self.shown_last, products.image_row))


class GroundedRanker:
    """The trained student; implements :class:`semantic_model.data.ranker.Ranker`. Scores are log-odds up to a constant.

    Args:
        model: its weights; put into evaluation mode.
        reader: how text, images and attributes are read.
        name: its name in tables.
        precision: of the product tables that it makes.
    """

    context_chunk = 64  # contexts encoded at a time
    queries = 16  # contexts scored at a time

    def __init__(
        self,
        model: GroundedSemantic,
        reader: GroundedReader,
        name: str = "semantic",
        precision: TablePrecision = "float32",
    ) -> None:
        self.model = model.eval()
        self.reader = reader
        self.name = name
        self.precision = precision

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.log_scale.device

    @torch.inference_mode()
    def encode_products(self, products: Sequence[Product]) -> GroundedTable:
        """rho^T, rho^I and the values of products, once."""
        self.model.eval()
        return GroundedTable.collect(
            self._encoded(products),
            len(products),
            self.model.config.model.width,
            self.model.sums.columns,
            precision=self.precision,
            device=self.device,
        )

    def _encoded(self, products: Sequence[Product]) -> Iterator[GroundedVectors]:
        for start in range(0, len(products), 512):
            batch = self.reader.products(products[start : start + 512])
            yield self.model.encode_products(GroundedProducts(*(field.to(self.device) for field in batch)))

    def encode_contexts(self, queries: Sequence[Query]) -> EncodedDialogues:
        """Contexts with their predicted states, once."""
        return self.encode_arrays(self.reader.contexts(queries))

    @torch.inference_mode()
    def encode_arrays(self, arrays: GroundedArrays) -> EncodedDialogues:
        """:meth:`encode_contexts`, of contexts that have been read already."""
        self.model.eval()
        parts = []
        for start in range(0, len(arrays), self.context_chunk):
            batch = arrays.batch(slice(start, start + self.context_chunk), self.reader.features, self.device)
            context = self.model.encode_contexts(batch)
            state = self.model.student_state(context).state
            parts.append(EncodedDialogues(context.plain, state, context.worth, context.shown, context.shown_last))
        return EncodedDialogues.join(parts)

    @torch.inference_mode()
    def score(
        self,
        contexts: EncodedDialogues,
        table: GroundedTable | GroundedVectors,
        candidates: npt.NDArray[np.int64] | None = None,
    ) -> FloatArray:
        """Log-odds of every product, or of each context's candidates; see :class:`Ranker`.

        Beside the scores of 16 contexts, the memory needed does not grow with the catalogue.
        """
        self.model.eval()
        if isinstance(table, GroundedVectors):
            table = GroundedTable.of(table, self.model.sums.columns)
        products = table

        def query_of(part: slice) -> _GroundedQuery:
            return _GroundedQuery.of(self.model, contexts[part], products)

        return rank_scores(query_of, len(contexts), products, candidates, at_a_time=self.queries)
