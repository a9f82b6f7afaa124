"""The settings of SeMANTIC that other models do not have."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from semantic_model.config.sections import Config, ContextConfig, ImageConfig, JointTrainConfig, Section, TextConfig


class SemanticTextConfig(TextConfig):
    """Words and utterances (section 3.1)."""

    share_encoder: bool = Field(default=False, description="products' text is read by the utterances' encoder")


class SemanticImageConfig(ImageConfig):
    """Images (section 3.1)."""

    share_encoder: bool = Field(default=True, description="contexts and products share Linear and self-attention")


class SemanticContextConfig(ContextConfig):
    """Which part of the dialogue is read (section 4.2)."""

    attend_imageless: bool = Field(default=True, description="turns without an image take part as zero vectors")


class StateConfig(Section):
    """Belief states as text (section 3.5)."""

    use_values: bool = Field(default=True, description="false: keys only, the paper's 'w/o ds'")
    value_tokens: int = Field(default=6, ge=1, description="V, word pieces of a slot's value that are read")
    value_pool: Literal["mean", "sum", "attn", "release"] = Field(
        default="mean",
        description="over a value's word pieces; attn: learned weights; release: the sum of all V places, padding "
        "included, by the number of real pieces (by 1 without any)",
    )
    none: Literal["token", "learned", "mask"] = Field(
        default="token",
        description="a slot without a value: the word 'none', a vector of its own, or not attended to and zero",
    )
    sentiment: bool = Field(default=True, description="values are prefixed by like or dislike")


class StudentConfig(Section):
    """The value predictor (section 3.5)."""

    context: Literal["sequence", "last"] = Field(default="sequence", description="C = C^T + C^I: all turns or the last")


class DsiConfig(Section):
    """Dialogue state interaction (section 3.2)."""

    hops: int = Field(default=3, ge=0, description="K")
    bias: bool = Field(default=True, description="W_{k+1} has a bias")
    temperature: float = Field(default=1.0, gt=0, description="a = softmax(cos / temperature)")
    learn_temperature: bool = Field(default=False, description="the temperature is a parameter, from that value")


class ScoreConfig(Section):
    """The relevance score (section 3.3)."""

    learn_weights: bool = Field(default=False, description="text and image cosines get a learned weight each")


class JointLossConfig(Section):
    """Terms of the joint objective (sections 3.4 and 3.5); a weight of 0 leaves a term out."""

    rank: Literal["hinge", "softmax"] = Field(default="hinge", description="L_rank: pairs or cross-entropy")
    scale: float = Field(default=10.0, gt=0, description="first inverse temperature of the softmax; learned")
    alpha: float = Field(default=0.5, ge=0, le=1, description="weight of the teacher on D_F, 1 - alpha of the student")
    rank_weight: float = Field(default=1.0, ge=0, description="of L_rank")
    js_weight: float = Field(default=1.0, ge=0, description="of L_JS")
    co_sim_weight: float = Field(default=1.0, ge=0, description="of L_co_sim")
    mse_weight: float = Field(default=1.0, ge=0, description="of the MSE between the states")
    divergence: Literal["js", "jeffreys"] = Field(default="js", description="Jensen-Shannon (paper) or release")
    co_sim_reduce: Literal["mean", "sum"] = Field(default="sum", description="over a context's candidates")
    detach_teacher: bool = Field(default=False, description="the MSE does not move the teacher")
    student_on_labelled: Literal["rank", "all"] = Field(
        default="rank", description="the student's losses on D_F beside the MSE (section 4.2; 'all': as section 3.5)"
    )


class SemanticLossConfig(JointLossConfig):
    """The paper's joint objective."""

    margin: float = Field(default=1.0, gt=0, description="of the hinge")


class TeacherStudentConfig(Config):
    """What the paper's encoders, states and objective read, whatever else a model does with them."""

    text: SemanticTextConfig = SemanticTextConfig()
    image: SemanticImageConfig = SemanticImageConfig()
    context: SemanticContextConfig = SemanticContextConfig()
    state: StateConfig = StateConfig()
    student: StudentConfig = StudentConfig()
    dsi: DsiConfig = DsiConfig()
    score: ScoreConfig = ScoreConfig()
    loss: JointLossConfig = JointLossConfig()
    train: JointTrainConfig = JointTrainConfig()


class Settings(TeacherStudentConfig):
    """All settings of the paper's model."""

    loss: SemanticLossConfig = SemanticLossConfig()
