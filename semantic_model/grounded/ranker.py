"""A trained grounded model as a ranker, exact and chunk by chunk as the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semantic_model.catalogue import MatchQuery, score_candidates, score_catalogue
from semantic_model.encoders import ProductVectors
from semantic_model.gram_in_place import Scratch
from semantic_model.grounded.beliefs import Beliefs
from semantic_model.grounded.matching import Shown
from semantic_model.grounded.model import GroundedContext, GroundedSemantic, GroundedVectors, State
from semantic_model.grounded.reading import GroundedArrays, GroundedProducts, GroundedReader
from semantic_model.product_table import ProductTable, TablePrecision
from semantic_model.ranker import FloatArray, Product, Query
from semantic_model.workers import one_thread

__all__ = ["EncodedDialogues", "GroundedRanker", "GroundedTable"]


@dataclass(frozen=True)
class GroundedTable:
    """N encoded products with the values they have."""

    vectors: ProductTable
    attributes: Tensor  # bool [N, V]
    image_row: Tensor  # int [N]

    def __len__(self) -> int:
        return len(self.image_row)

    def __getitem__(self, part: slice) -> GroundedTable:
        return GroundedTable(self.vectors[part], self.attributes[part], self.image_row[part])

    def take(self, rows: Tensor, scratch: Scratch) -> GroundedTable:
        """The products ``rows`` [C]."""
        return GroundedTable(self.vectors.take(rows, scratch), self.attributes[rows], self.image_row[rows])

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.image_row.device


@dataclass(frozen=True)
class EncodedDialogues:
    """Contexts with the student's state; supports ``len()`` and slices."""

    context: GroundedContext
    state: State

    def __len__(self) -> int:
        return len(self.state.S)

    def __getitem__(self, part: slice) -> EncodedDialogues:
        beliefs = Beliefs(*(field[part] for field in self.state.beliefs))
        return EncodedDialogues(
            GroundedContext(*(field[part] for field in self.context)), State(self.state.S[part], beliefs)
        )


@dataclass(frozen=True)
class _GroundedQuery:
    """What B contexts bring to the scoring of products."""

    model: GroundedSemantic
    match: MatchQuery
    beliefs: Beliefs
    worth: Tensor  # [B, 2]
    shown: Tensor  # [B, R]
    shown_last: Tensor  # [B, R]

    @classmethod
    def of(cls, model: GroundedSemantic, some: EncodedDialogues) -> _GroundedQuery:
        context = some.context
        worth = model.worth(context)
        match = MatchQuery.of(model.semantic, context.plain, some.state.S)
        return cls(model, match, some.state.beliefs, worth, context.shown, context.shown_last)

    def __len__(self) -> int:
        return len(self.worth)

    def __getitem__(self, part: slice) -> _GroundedQuery:
        beliefs = Beliefs(*(field[part] for field in self.beliefs))
        return _GroundedQuery(
            self.model, self.match[part], beliefs, self.worth[part], self.shown[part], self.shown_last[part]
        )

    def score(self, products: GroundedTable, scratch: Scratch, scores: Tensor) -> None:
        model = self.model
        affinity = model.value_match.affinity(products.attributes)
        scores.copy_(model.value_match(self.beliefs, affinity))
        if model.similarity:
            scores.add_(self.match.match(products.vectors, scratch), alpha=float(model.log_scale.exp()))
        scores.add_(Shown.add(self.worth, self.shown, self.shown_last, products.image_row))


class GroundedRanker:
    """The trained student; implements :class:`semantic_model.ranker.Ranker`. Scores are log-odds up to a constant.

    Args:
        model: its weights; put into evaluation mode.
        reader: how text, pictures and attributes are read.
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
        attributes, image_rows = [], []

        def encoded() -> Iterator[ProductVectors]:
            for start in range(0, len(products), 512):
                batch = self.reader.products(products[start : start + 512])
                found = self.model.encode_products(GroundedProducts(*(field.to(self.device) for field in batch)))
                attributes.append(found.attributes)
                image_rows.append(found.image_row)
                yield found.plain

        vectors = ProductTable.collect(
            encoded(), len(products), self.model.config.model.width, precision=self.precision, device=self.device
        )
        return GroundedTable(vectors, torch.cat(attributes), torch.cat(image_rows))

    def encode_contexts(self, queries: Sequence[Query]) -> EncodedDialogues:
        """Contexts with their predicted states, once."""
        return self.encode_arrays(self.reader.contexts(queries))

    @torch.inference_mode()
    def encode_arrays(self, arrays: GroundedArrays) -> EncodedDialogues:
        """:meth:`encode_contexts`, of contexts that have been read already."""
        self.model.eval()
        contexts, states = [], []
        for start in range(0, len(arrays), self.context_chunk):
            batch = arrays.batch(slice(start, start + self.context_chunk), self.reader.features, self.device)
            context = self.model.encode_contexts(batch)
            contexts.append(context)
            states.append(self.model.student(context)[0])
        beliefs = Beliefs(*(torch.cat(fields) for fields in zip(*(state.beliefs for state in states), strict=True)))
        return EncodedDialogues(
            GroundedContext(*(torch.cat(fields) for fields in zip(*contexts, strict=True))),
            State(torch.cat([state.S for state in states]), beliefs),
        )

    @torch.inference_mode()
    def score(
        self,
        contexts: EncodedDialogues,
        table: GroundedTable | GroundedVectors,
        candidates: npt.NDArray[np.int64] | None = None,
    ) -> FloatArray:
        """Log-odds of every product, or of each context's candidates; see :class:`Ranker`."""
        self.model.eval()
        if isinstance(table, GroundedVectors):
            table = GroundedTable(ProductTable.of(table.plain), table.attributes, table.image_row)

        def query_of(part: slice) -> _GroundedQuery:
            return _GroundedQuery.of(self.model, contexts[part])

        if candidates is not None:
            answer = torch.empty(candidates.shape, device=self.device)
            score_candidates(query_of, table, candidates, answer)
            return answer.cpu().numpy()
        scores = np.empty((len(contexts), len(table)), dtype=np.float32)
        for start in range(0, len(contexts), self.queries):
            part = slice(start, min(start + self.queries, len(contexts)))
            with one_thread():
                query = query_of(part)
            answer = torch.empty(len(query), len(table), device=self.device)
            score_catalogue(query, table, answer)
            scores[part] = answer.cpu().numpy()
        return scores
