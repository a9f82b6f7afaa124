"""SeMANTIC with its states grounded in the catalogue, for training and for tables."""

from __future__ import annotations

from semantic_model.grounded.model import GroundedSemantic
from semantic_model.grounded.objective import grounded_objective
from semantic_model.grounded.reading import INPUTS, GroundedReader
from semantic_model.grounded.settings import Settings
from semantic_model.grounded.tracking import CrossFittedTracker
from semantic_model.ranking.model_spec import ModelSpec, Sizes

__all__ = ["MODEL", "Settings"]


def _build(config: Settings, sizes: Sizes) -> GroundedSemantic:
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


MODEL = ModelSpec(
    "grounded",
    "SeMANTIC with states grounded in the catalogue, a ranker of products for shopping dialogues",
    _build,
    grounded_objective,
    INPUTS,
    GroundedReader,
    fitted=CrossFittedTracker,
    shown_as="semantic",
)
