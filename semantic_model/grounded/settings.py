"""The settings of SeMANTIC with its states grounded in the catalogue: the paper's, and what grounds them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from semantic_model.config.sections import Section
from semantic_model.semantic.settings import JointLossConfig, TeacherStudentConfig


class GroundingConfig(Section):
    """States as beliefs over the ontology's values, matched to what products have (model.kind = "grounded")."""

    sharpness: float = Field(default=3.0, gt=0, description="gamma: log-odds of a product that has a wanted value")
    shown: bool = Field(default=True, description="the dialogue decides what it is worth to have been shown before")
    tracker: bool = Field(default=False, description="so do those that the state tracker reads, taught by D_F")
    apart: bool = Field(default=False, description="what is liked and what is disliked of a slot may both hold")
    evidence: bool = Field(default=True, description="values that turns mention count for the predicted beliefs")
    similarity: bool = Field(default=True, description="the paper's cosines take part in the score")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the turns that beliefs are predicted from")

    @property
    def tracks(self) -> bool:
        """Whether a state tracker reads along."""
        return self.tracker and self.evidence


class GroundedLossConfig(JointLossConfig):
    """The paper's joint objective, with the beliefs in it; scores are log-odds."""

    rank: Literal["softmax"] = Field(default="softmax", description="L_rank: cross-entropy")
    belief_weight: float = Field(
        default=0.2, ge=0, description="of the predicted beliefs' cross-entropy, if D_F had as many examples as D_P"
    )
    tracker_weight: float = Field(
        default=0.0, ge=0, description="on D_P, of their cross-entropy with what the state tracker believes"
    )
    em_weight: float = Field(
        default=0.0,
        ge=0,
        description="on D_P, of their cross-entropy with what the products recommended make of them (EM)",
    )


class Settings(TeacherStudentConfig):
    """All settings of a grounded model."""

    grounding: GroundingConfig = GroundingConfig()
    loss: GroundedLossConfig = GroundedLossConfig()

    @model_validator(mode="after")
    def _agreement_needs_the_interaction(self) -> Settings:
        if not self.grounding.similarity and (self.loss.js_weight or self.loss.co_sim_weight):
            raise ValueError(
                "grounding.similarity = false leaves the DSI out: set loss.js_weight = 0 and loss.co_sim_weight = 0"
            )
        if self.loss.tracker_weight and not self.grounding.tracks:
            raise ValueError("loss.tracker_weight compares with the state tracker: set grounding.tracker = true")
        if self.loss.em_weight and self.train.rank_candidates != "all":
            raise ValueError('loss.em_weight compares with the whole catalogue: set train.rank_candidates = "all"')
        return self
