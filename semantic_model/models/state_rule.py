"""What a rule could do that knew the belief state: count the wanted values that a product has.

Told the *gold* state of the user's last turn, which no trained model sees, it is a yardstick rather than a competitor:
a model with a poor idea of the state, but with all that the words say beyond it, may rank better. Told the state that
a trained model predicts, it says what that state alone is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.belief import BeliefState, SlotValue
from schemas.folding import fold
from schemas.ontology import Ontology
from semantic_model.data.records import FloatArray, Product, Query
from semantic_model.ranking.chunked_scoring import slices
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.ranking.ranker import PredictedState, PredictsStates, Ranker

Weights = Literal["none", "idf"]
"""``none``: every value counts one; ``idf``: ln(N / products with it), so that rare values count more."""

GOLD, PREDICTED = "state-rule (gold)", "state-rule (predicted)"
"""Names of the rule by whose states it reads."""

_CHUNK = 512  # queries encoded at a time


class ValueIndex(NamedTuple):
    """Which products have a value."""

    # (attribute, folded value) -> product rows, ascending; also under the ontology's name of the value, or of the range
    # that a number lies in
    rows: Mapping[tuple[str, str], npt.NDArray[np.int64]]
    products: int  # N, how many products there are


class StateRule:
    """Likes that a product has count for it, dislikes that it has against it; the many ties stay ties.

    Args:
        states: (dialogue, turn of the recommendation) -> the state before it.
        ontology: its slots, for the ranges of numbers and other spellings.
        weights: see :data:`Weights`.
        name: its name in tables.
    """

    def __init__(
        self,
        states: Mapping[tuple[str, int], BeliefState],
        ontology: Ontology,
        weights: Weights = "idf",
        name: str = GOLD,
    ) -> None:
        self.states = states
        self._slots = {slot.attribute: slot for slot in ontology.slots}
        self._attributes = {slot.name: slot.attribute for slot in ontology.slots}
        self.weights = weights
        self.name = name

    def encode_products(self, products: Sequence[Product]) -> ValueIndex:
        """Index the products' values."""
        found: dict[tuple[str, str], set[int]] = {}
        for row, product in enumerate(products):
            for attribute, values in product.attributes.items():
                slot = self._slots.get(attribute)
                for value in values:
                    known = None if slot is None else slot.find(value)
                    for spelling in {fold(value), *([] if known is None else [fold(known.value)])}:
                        found.setdefault((attribute, spelling), set()).add(row)
        rows = {key: np.array(sorted(having), dtype=np.int64) for key, having in found.items()}
        return ValueIndex(rows, len(products))

    def encode_contexts(self, queries: Sequence[Query]) -> list[BeliefState]:
        """The state of each query; nothing is known where there is none."""
        return [self.states.get((query.dialogue_id, query.turn), ()) for query in queries]

    def score(
        self, contexts: Sequence[BeliefState], table: ValueIndex, candidates: npt.NDArray[np.int64] | None = None
    ) -> FloatArray:
        """Weights of the matching likes less those of the matching dislikes; see :class:`Ranker`."""
        scores = np.zeros((len(contexts), table.products), dtype=np.float32)
        for line, state in zip(scores, contexts, strict=True):
            for item in state:
                having = self._having(item, table)
                if len(having):
                    weight = 1.0 if self.weights == "none" else np.log(table.products / len(having))
                    line[having] += weight if item.polarity == "like" else -weight
        if candidates is None:
            return scores
        picked: FloatArray = np.take_along_axis(scores, candidates.clip(min=0), axis=1)
        picked[candidates < 0] = -np.inf
        return picked

    def _having(self, item: SlotValue, table: ValueIndex) -> npt.NDArray[np.int64]:
        attribute = item.attribute or self._attributes.get(item.slot, item.slot)
        value = item.catalogue_value if item.catalogue_value is not None else item.value
        slot = self._slots.get(attribute)
        known = None if slot is None else slot.find(value)
        if known is not None and known.count > 0:  # all its spellings, where the catalogue has several
            value = known.value
        return table.rows.get((attribute, fold(value)), np.empty(0, dtype=np.int64))


def predicted_states(ranker: Ranker, queries: Sequence[Query]) -> list[PredictedState] | None:
    """The states that a trained ranker predicts for these queries; None if it predicts none."""
    if not isinstance(ranker, NetworkRanker) or not isinstance(ranker.model, PredictsStates):
        return None
    parts = (queries[part] for part in slices(len(queries), _CHUNK))
    return [read for part in parts for read in ranker.model.predicted_states(ranker.encode_contexts(part))]


def rule_over_predictions(ranker: Ranker, queries: Sequence[Query]) -> StateRule | None:
    """The rule over the states that a trained ranker predicts for these queries; None if it predicts none."""
    read = predicted_states(ranker, queries)
    if read is None:
        return None
    assert isinstance(ranker, NetworkRanker)
    states = {(query.dialogue_id, query.turn): found.state for query, found in zip(queries, read, strict=True)}
    return StateRule(states, ranker.reader.ontology, name=PREDICTED)
