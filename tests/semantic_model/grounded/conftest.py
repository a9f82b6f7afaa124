"""The tiny world with an ontology that has its values, and a grounded model on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from schemas.ontology import Ontology, Slot, Value
from semantic_model.config.config import Config
from semantic_model.grounded.model import GroundedSemantic
from semantic_model.grounded.reading import INPUTS, GroundedBatch, GroundedProducts, GroundedReader, GroundedStates
from semantic_model.ranking.candidates import Choices

COLOURS, TYPES = ("red", "blue", "green", "black"), ("dress", "shirt", "jacket")
LENGTHS = ("long",)  # which no product has
GROUNDED = {
    "model": {"kind": "grounded"},
    "loss": {"rank": "softmax", "js_weight": 0.0, "co_sim_weight": 0.0, "co_sim_reduce": "mean"},
    "train": {"rank_candidates": "all"},
}


class GroundedInputs(NamedTuple):
    model: GroundedSemantic
    reader: GroundedReader
    contexts: GroundedBatch
    states: GroundedStates
    products: GroundedProducts
    choices: Choices


@pytest.fixture(scope="session")
def ontology() -> Ontology:
    slots = (("color", COLOURS), ("type", TYPES), ("sleeve_length", LENGTHS))
    return Ontology(
        slots=tuple(
            Slot(name=name, attribute=name, values=tuple(Value(value=value) for value in values))
            for name, values in slots
        )
    )


@pytest.fixture(scope="session")
def grounded_config(config_of: Callable[..., Config]) -> Callable[..., Config]:
    def build(**sections: dict[str, object]) -> Config:
        names = GROUNDED.keys() | sections.keys()
        return config_of(**{name: {**GROUNDED.get(name, {}), **sections.get(name, {})} for name in names})

    return build


@pytest.fixture(scope="session")
def grounded_inputs(world, ontology) -> Callable[[Config], GroundedInputs]:
    """A freshly seeded model with a batch of four training contexts, their states, and candidates."""

    def build(config: Config) -> GroundedInputs:
        reader = GroundedReader(config, world.words, world.features, ontology, INPUTS)
        queries = world.corpus.queries("train")[:4]
        torch.manual_seed(0)
        model = GroundedSemantic(
            config,
            reader.values,
            reader.value_tokens(),
            vocabulary=world.words.size,
            word_width=8,
            feature_width=5,
            slot_keys=reader.slot_keys(),
        )
        contexts = reader.contexts(queries).batch(slice(None), torch.device("cpu"))
        states = reader.states([world.states[query.dialogue_id] for query in queries])
        positives = torch.tensor([[query.positives[0]] for query in queries])
        relevant = torch.zeros(4, 12, dtype=torch.bool).scatter_(1, positives, value=True)
        choices = Choices(positives, torch.tensor([list(query.negatives) for query in queries]), relevant)
        return GroundedInputs(model, reader, contexts, states, reader.products(world.corpus.products), choices)

    return build


@torch.no_grad()
def stirred(model: GroundedSemantic, seed: int = 1) -> GroundedSemantic:
    """Every trained parameter moved, so that nothing is at a value that hides a mistake."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += 0.2 * torch.randn_like(parameter)
    model.words.table.weight[0] = 0.0
    return model


@pytest.fixture(scope="session")
def stir() -> Callable[..., GroundedSemantic]:
    return stirred
