"""What every ranker is: products are encoded once, contexts once, and scores are cheap.

Trained models and baselines share this protocol, so that evaluation needs no special cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from schemas.belief import BeliefState, Polarity
from semantic_model.data.records import FloatArray, Product, Query
from semantic_model.data.rows import Rows
from semantic_model.ranking.chunked_scoring import Scoring

ProductTable = Any
"""What :meth:`Ranker.encode_products` returns; opaque to callers."""


class ContextTable(Protocol):
    """Encoded contexts; opaque but for their number and for slices of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> ContextTable: ...


class Ranker(Protocol):
    """Scores products for dialogue contexts."""

    name: str

    def encode_products(self, products: Sequence[Product]) -> ProductTable:
        """Encode a catalogue once."""

    def encode_contexts(self, queries: Sequence[Query]) -> Any:
        """Encode contexts; the result supports ``len()`` and slices (:class:`ContextTable`)."""

    def score(self, contexts: Any, table: ProductTable, candidates: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Relevance scores, higher is better.

        Args:
            contexts: B encoded contexts.
            table: N encoded products.
            candidates: product rows [B, C] to score, -1 for padding; None scores the whole table.

        Returns:
            float32 [B, N], or [B, C] with -inf where a candidate is padding.
        """


TablePrecision = Literal["float32", "bfloat16"]
"""bfloat16 takes half the memory and keeps 8 bits of each number: products are rounded once, and everything that is
computed with them stays float32. Each cosine moves by at most 2^-8, of usual vectors by less than a thousandth."""


class Network(Protocol):
    """An ``nn.Module`` that ranks; what it encodes are rows (:data:`semantic_model.data.rows.Rows`).

    ``score`` is not asked of one that :class:`ScoresTables`.
    """

    def encode_products(self, batch: Any, /) -> Rows:
        """N products, as they are in every dialogue."""

    def encode_contexts(self, batch: Any, /) -> Rows:
        """B contexts."""

    def score(self, contexts: Any, products: Any, /) -> Tensor:
        """Scores of all products, rows [N, ..] -> [B, N]; or of each context's own candidates, [B, C, ..] -> [B, C]."""


@runtime_checkable
class LateProducts(Protocol):
    """Its products' vectors depend on the query, so that a pair of both needs memory."""

    pair_width: int
    """How many numbers are held of a context and a product while a pair of them is scored."""


@runtime_checkable
class ScoresTables(Protocol):
    """Brings a table and a query of its own, scored exactly in chunks; the memory is that of a chunk."""

    def encode_queries(self, batch: Any, /) -> Any:
        """B contexts, ready to be asked with: :class:`semantic_model.data.rows.Sliced`."""

    def table(self, parts: Iterable[Any], count: int, precision: TablePrecision, /) -> Any:
        """A :class:`semantic_model.ranking.chunked_scoring.Table` of ``count`` encoded products."""

    def query(self, contexts: Any, table: Any, /) -> Scoring[Any]:
        """What contexts bring to the scoring of that table."""


@runtime_checkable
class HasLogOdds(Protocol):
    """Its scores are no log-odds yet."""

    def log_odds(self, scores: npt.NDArray[np.float64], /) -> npt.NDArray[np.float64]:
        """What training takes the softmax of."""


@runtime_checkable
class HasPlaces(Protocol):
    """Its contexts lie in a space of vectors."""

    def places(self, contexts: Any, /) -> Tensor:
        """Where contexts lie [B, D], in parts of length one."""


@runtime_checkable
class HasVectors(Protocol):
    """The inner product of a context's and a product's vectors orders products as its scores do, or nearly.

    Not of one with :class:`LateProducts`, whose products have no vector of their own.
    """

    vectors_are_exact: bool
    """Whether the order is that of the scores; else the best are to be scored once more."""

    def product_vectors(self, table: Any, /) -> Tensor:
        """Vectors of encoded products [N, W]."""

    def query_vectors(self, contexts: Any, /) -> Tensor:
        """Vectors of encoded contexts [B, W]."""


@runtime_checkable
class HasTeacher(Protocol):
    """Reads states in training."""

    def taught(self, contexts: Any, states: Any, /) -> Any:
        """The same contexts with these gold states, rather than what the student predicts."""


class PredictedState(NamedTuple):
    """What a dialogue is taken to want."""

    state: BeliefState  # its values spelled as the ontology does, without attributes and catalogue values
    sure: Mapping[str, float]  # slot -> probability of what was read of it, from 0 to 1


@runtime_checkable
class PredictsStates(Protocol):
    """Its states can be read."""

    def predicted_states(self, contexts: Any, /) -> Sequence[PredictedState]:
        """The state after each context's history."""


class Belief(NamedTuple):
    """How likely it is that a value is wanted, or to be avoided."""

    slot: str
    value: str
    polarity: Polarity
    probability: float  # 0 to 1


@runtime_checkable
class HoldsBeliefs(Protocol):
    """It ranks by probabilities of values."""

    def beliefs(self, contexts: Any, /) -> Sequence[Sequence[Belief]]:
        """Of each context, those above a hundredth, slot by slot, the likeliest first."""


@runtime_checkable
class TakesCorrections(Protocol):
    """What it believes of single slots can be put right."""

    def corrected(self, contexts: Any, states: Any, slots: Tensor, /) -> Any:
        """The same contexts, with what these gold states say of the slots that are corrected, bool [B, n]."""


@runtime_checkable
class Attends(Protocol):
    """What it attends to can be read."""

    def slot_attention(self, contexts: Any, /) -> Mapping[str, Tensor]:
        """Weights of the state's slots after the last hop, ``text`` and ``images`` -> [B, n]; rows sum to 1."""

    def turn_attention(self, contexts: Any, /) -> Tensor:
        """Weights of the last T utterances for each slot of the student's state [B, n, T], left-padded; sum to 1."""


@runtime_checkable
class AddsUp(Protocol):
    """Its score is a sum whose parts can be told."""

    def score_parts(self, contexts: Any, table: Any, rows: Tensor, /) -> Mapping[str, Tensor]:
        """The parts of the scores of each context's products, rows [B, C]: name -> [B, C]; slots go by their names."""
