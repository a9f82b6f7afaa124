"""SeMANTIC as the paper has it, for training and for tables."""

from __future__ import annotations

from semantic_model.config.config import Config
from semantic_model.ranking.model_spec import ModelSpec, Objective, Sizes, StepBatch
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.objective import labelled_objective, unlabelled_objective

__all__ = ["MODEL", "READS"]

READS = ("text", "image", "context", "state", "student", "dsi", "score", "model", "loss")


def _build(config: Config, sizes: Sizes) -> Semantic:
    return Semantic(
        config,
        vocabulary=sizes.vocabulary,
        word_width=sizes.word_width,
        feature_width=sizes.feature_width,
        slot_keys=sizes.reader.slot_keys(),
    )


def _objective(model: Semantic, step: StepBatch) -> Objective:
    if step.states is None:
        return unlabelled_objective(model, step.contexts, step.products, step.choices)
    return labelled_objective(
        model, step.contexts, step.states, step.products, step.choices, teacher_only=step.teacher_only
    )


MODEL = ModelSpec(
    "semantic",
    "SeMANTIC, a teacher-student ranker of products for shopping dialogues",
    _build,
    _objective,
    READS,
    but_for=("loss.belief_weight",),
)
