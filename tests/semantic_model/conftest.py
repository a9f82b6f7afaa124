"""A world small enough to work through by hand: twelve products, ten dialogues, three slots, width 8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from schemas.belief import BeliefState, SlotValue
from semantic_model.config.config import Config, config_from
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.corpus import Corpus, _Turn, product_text
from semantic_model.data.image_features import Features
from semantic_model.data.records import Product, Query, Utterance
from semantic_model.data.tokenizer import Vocabulary, learn_words
from semantic_model.ranking.candidates import Choices
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.reading import INPUTS, SlotReader, StateBatch
from tests.semantic_model.slots_of import slots_of

torch.set_num_threads(1)  # threads of tiny tensors wait for each other more than they work

SLOTS = ("color", "type", "sleeve_length")
COLOURS, TYPES = ("red", "blue", "green", "black"), ("dress", "shirt", "jacket")
SMALL = {
    "text": {"embeddings": "corpus", "vocabulary": 200, "max_tokens": 6, "product_max_tokens": 8},
    "image": {"encoder": "pixels", "max_per_turn": 2},
    "context": {"window": 3},
    "model": {"width": 8, "layers": 1, "heads": 2, "inner": 8, "dropout": 0.0},
    "dsi": {"hops": 2},
    "train": {"epochs": 2, "batch_size": 4, "log_every": 3},
}


class World(NamedTuple):
    corpus: Corpus
    states: dict[str, BeliefState]  # dialogue -> state before its recommendation
    words: Vocabulary
    features: Features


class Inputs(NamedTuple):
    model: Semantic
    contexts: ContextBatch
    states: StateBatch
    products: ProductBatch
    choices: Choices


def small_config(**sections: dict[str, object]) -> Config:
    values = {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in SMALL | sections}
    return config_from(values, where="a test", stored=True)


@pytest.fixture(scope="session")
def config_of() -> Callable[..., Config]:
    return small_config


@pytest.fixture(scope="session")
def world() -> World:
    products = []
    for colour in COLOURS:
        for kind in TYPES:
            attributes = {"color": (colour,), "type": (kind,)}
            name = f"{colour} {kind}"
            image = None if name == "black jacket" else f"{name}.jpg"
            path = None if image is None else Path(image)
            products.append(Product(name, name, product_text(name, attributes), attributes, image, path))
    products.sort(key=lambda product: product.product_id)
    imaged = [product.image_id for product in products if product.image_id]
    values = np.random.default_rng(0).normal(size=(len(imaged), 5)).astype(np.float32)
    features = Features(values, {name: row for row, name in enumerate(imaged)}, "five numbers drawn at random")
    turns, asked, states, splits = {}, [], {}, {}
    for number in range(10):
        dialogue, wanted = f"d{number}", products[number]
        colour, kind = wanted.product_id.split()
        shown = (products[number + 1].image_id or "lost.jpg",)
        told = (
            Utterance("user", f"hello please show me a {kind}", ()),
            Utterance("system", "how about this", shown),
            Utterance("user", f"no i want {colour}", ("lost.jpg",) if number % 2 else ()),
        )
        turns[dialogue] = tuple(_Turn(i, utterance) for i, utterance in enumerate(told))
        splits[dialogue] = "train" if number < 8 else "valid"
        asked.append((dialogue, 3, splits[dialogue], (number,), ((number + 1) % 12, (number + 5) % 12)))
        states[dialogue] = (SlotValue("color", colour), SlotValue("type", kind))
    corpus = Corpus(tuple(products), {}, {}, splits, False, turns, tuple(asked))
    texts = [row.utterance.text for rows in turns.values() for row in rows] + [product.text for product in products]
    return World(corpus, states, learn_words([*texts, "like dislike none sleeve length"] * 2, 200), features)


@pytest.fixture(scope="session")
def inputs_of(world: World) -> Callable[[Config], Inputs]:
    """A freshly seeded model with a batch of four training contexts, their states, and candidates."""

    def build(config: Config) -> Inputs:
        reader = SlotReader(config, world.words, world.features, slots_of(*SLOTS), INPUTS)
        queries: list[Query] = world.corpus.queries("train")[:4]
        torch.manual_seed(0)
        model = Semantic(
            config, vocabulary=world.words.size, word_width=8, feature_width=5, slot_keys=reader.slot_keys()
        )
        contexts = reader.contexts(queries).batch(slice(None), torch.device("cpu"))
        states = reader.states([world.states[query.dialogue_id] for query in queries])
        positives = torch.tensor([[query.positives[0]] for query in queries])
        negatives = torch.tensor([list(query.negatives) for query in queries])
        return Inputs(model, contexts, states, reader.products(world.corpus.products), Choices(positives, negatives))

    return build
