"""SeMANTIC with its states grounded in the catalogue, for training and for tables."""

from __future__ import annotations

from schemas.errors import UsageError
from schemas.ontology import Ontology
from semantic_model.config.config import Config
from semantic_model.data.image_features import Features
from semantic_model.data.tokenizer import Vocabulary
from semantic_model.grounded.model import GroundedSemantic
from semantic_model.grounded.objective import grounded_objective
from semantic_model.grounded.reading import GroundedReader
from semantic_model.grounded.values import SlotValues
from semantic_model.ranking.model_spec import ModelSpec, Sizes
from semantic_model.semantic.spec import READS

__all__ = ["MODEL"]


def _build(config: Config, sizes: Sizes) -> GroundedSemantic:
    reader = sizes.reader
    assert isinstance(reader, GroundedReader)
    return GroundedSemantic(
        config,
        reader.values,
        reader.value_tokens(),
        vocabulary=sizes.vocabulary,
        word_width=sizes.word_width,
        feature_width=sizes.feature_width,
        slot_keys=reader.slot_keys(),
    )


def _read(config: Config, words: Vocabulary, features: Features, ontology: Ontology) -> GroundedReader:
    return GroundedReader(config, words, features, SlotValues(ontology))


def _rules(config: Config) -> None:
    if config.loss.rank != "softmax":
        raise UsageError("model.kind = 'grounded' needs loss.rank = 'softmax': its scores are log-odds")
    if not config.grounding.similarity and (config.loss.js_weight or config.loss.co_sim_weight):
        raise UsageError(
            "grounding.similarity = false leaves the DSI out", fix="set loss.js_weight = 0 and loss.co_sim_weight = 0"
        )


MODEL = ModelSpec(
    "grounded",
    "SeMANTIC with states grounded in the catalogue, a ranker of products for shopping dialogues",
    _build,
    grounded_objective,
    (*READS, "grounding"),
    but_for=("loss.margin",),
    rules=_rules,
    reader=_read,
    shown_as="semantic",
)
