"""SeMANTIC as the paper has it, for training and for tables."""

from __future__ import annotations

from semantic_model.ranking.model_spec import ModelSpec, Sizes
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.objective import joint_objective
from semantic_model.semantic.reading import INPUTS, SlotReader
from semantic_model.semantic.settings import Settings

__all__ = ["MODEL", "Settings"]


def _build(config: Settings, sizes: Sizes) -> Semantic:
    assert isinstance(sizes.reader, SlotReader)
    return Semantic(
        config,
        vocabulary=sizes.vocabulary,
        word_width=sizes.word_width,
        feature_width=sizes.feature_width,
        slot_keys=sizes.reader.slot_keys(),
    )


MODEL = ModelSpec(
    "semantic",
    "SeMANTIC, a teacher-student ranker of products for shopping dialogues",
    _build,
    joint_objective,
    INPUTS,
    SlotReader,
)
