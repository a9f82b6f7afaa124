"""What a trained ranker takes a dialogue to want, what it attends to, and what its scores are made of.

Only what a model really has is told: a model without states that can be read has no beliefs, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from semantic_model.data.records import Query
from semantic_model.ranking.network_ranker import NetworkRanker, network_of
from semantic_model.ranking.ranker import AddsUp, Attends, Belief, HoldsBeliefs, PredictedState, PredictsStates, Ranker


class Explanation(NamedTuple):
    """Of one context; what the model does not offer is empty."""

    state: PredictedState | None  # the state that it reads; None where its states cannot be read
    beliefs: Sequence[Belief] = ()  # what it ranks by
    slots: Mapping[str, Mapping[str, float]] = {}  # ``text`` and ``images`` -> slot -> weight; each sums to 1
    turns: Sequence[float] = ()  # weights of the last utterances, the latest last, mean over slots; they sum to 1
    parts: Sequence[Mapping[str, float]] = ()  # of each product asked about, what its score is the sum of


def explain(
    ranker: Ranker, queries: Sequence[Query], table: Any, products: Sequence[Sequence[int]]
) -> list[Explanation]:
    """Explain rankings of trained models; of any other ranker nothing can be told.

    Args:
        ranker: any.
        queries: B contexts.
        table: the catalogue, as the ranker encodes it.
        products: product rows of each context to be explained, as many for each.
    """
    if not isinstance(ranker, NetworkRanker) or not queries:
        return [Explanation(None)] * len(queries)
    model, encoded = ranker.model, ranker.encode_contexts(queries)
    states: Sequence[PredictedState | None] = [None] * len(queries)
    beliefs: Sequence[Sequence[Belief]] = [()] * len(queries)
    slots: dict[str, list[list[float]]] = {}
    turns: list[list[float]] = [[]] * len(queries)
    with torch.inference_mode():
        if isinstance(model, PredictsStates):
            states = model.predicted_states(encoded)
        if isinstance(model, HoldsBeliefs):
            beliefs = model.beliefs(encoded)
        if isinstance(model, Attends):
            slots = {name: weights.tolist() for name, weights in model.slot_attention(encoded).items()}
            turns = model.turn_attention(encoded).mean(dim=1).tolist()
        parts = _parts(ranker, encoded, table, products)
    return [
        Explanation(
            states[b],
            beliefs[b],
            {name: dict(zip(ranker.reader.slots, weights[b], strict=True)) for name, weights in slots.items()},
            turns[b][-len(query.history) :] if query.history else (),
            [{name: values[b][c] for name, values in parts.items()} for c in range(len(products[b]) if parts else 0)],
        )
        for b, query in enumerate(queries)
    ]


def score_parts(ranker: Ranker, context: Any, table: Any, products: Sequence[int]) -> dict[str, list[float]]:
    """What the scores of one encoded context's products are the sum of: name -> a part of each; empty without any."""
    return {name: values[0] for name, values in _parts(ranker, context, table, [products]).items()}


@torch.inference_mode()
def _parts(
    ranker: Ranker, contexts: Any, table: Any, products: Sequence[Sequence[int]]
) -> dict[str, list[list[float]]]:
    model = network_of(ranker)
    if not isinstance(ranker, NetworkRanker) or not isinstance(model, AddsUp) or not len(products[0]):
        return {}
    rows = torch.from_numpy(np.array(products, dtype=np.int64)).to(ranker.device)
    found: dict[str, list[list[float]]] = {
        name: values.tolist() for name, values in model.score_parts(contexts, table, rows).items()
    }
    return found
