"""CLIP, Radford et al. (ICML 2021), as the SeMANTIC paper ran it (Table 2): two towers under attention over turns.

    t, v    = text tower, image tower                        (frozen; any CLIP or SigLIP)
    u^T_t   = P_T t(text of turn t),  u^I_t = mean over its images of P_I v(image)
    C^T     = SelfAttn(u^T_1 ... u^T_T),  C^I = CrossAttn(C^T, u^I, u^I)      (SeMANTIC's section 3.1)
    c^T, c^I: the last turn's
    rho^T   = P_T t(text of the product),  rho^I = P_I v(its image)
    f       = cos(c^T, rho^T) + cos(c^I, rho^I)

As released, there are no P_T and P_I (``clip.projections = false``: raw vectors, which needs one CLIP whose vectors are
as wide as ``model.width``) and f goes through a tanh (``clip.tanh``), which changes no ranking but flattens the loss.
The preset ``tuned`` trains the projections by the contrastive loss over all products, as CLIP itself was trained;
``text.finetune`` and ``image.finetune`` train the towers, too.

Frozen towers read each text and each image once, and their vectors are kept in the features folder.

Where no CLIP can be had, a sentence encoder and any image features stand in for its towers. These share no space, so
that the projections have to be trained; what is made of them is called a stand-in wherever it is shown.

Departures: a turn's images are averaged. The paper says that the final projector was tuned, its release has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from schemas.errors import ModelError
from semantic_model.config.sections import Config, RankLossConfig, Section, TowerImageConfig, TowerTextConfig
from semantic_model.data.batch import Column, Histories, Inputs, Reader, Rows, to_device
from semantic_model.data.records import Product
from semantic_model.data.text_tower import NO_TEXT, TextTower, TextVectors, TowerTokens, empty_tower, tower_weights
from semantic_model.data.tokenizer import MINILM, TokenArray, Vocabulary
from semantic_model.data.vector_files import names_a_file
from semantic_model.layers.attention import AttentionStack
from semantic_model.layers.images import ImageFeatures
from semantic_model.layers.pooling import masked_mean
from semantic_model.layers.word_vectors import FromWords
from semantic_model.ranking.cosine import CosineRanker, rank_objective
from semantic_model.ranking.model_spec import ModelSpec, Sizes


class ClipConfig(Section):
    """CLIP."""

    projections: bool = Field(
        default=True,
        description="a trained linear map after each tower, the identity to begin with where widths agree; false: the "
        "raw vectors of one CLIP, as wide as model.width (release)",
    )
    tanh: bool = Field(default=False, description="scores, and so the loss, through a tanh (release)")


class Settings(Config):
    """All settings of CLIP."""

    text: TowerTextConfig = TowerTextConfig()
    image: TowerImageConfig = TowerImageConfig(encoder="openai/clip-vit-base-patch32", finetune=False)
    loss: RankLossConfig = RankLossConfig()
    clip: ClipConfig = ClipConfig()

    @model_validator(mode="after")
    def _towers_fit_together(self) -> Settings:
        tower = self.text.embeddings
        if tower in ("corpus", "words") or names_a_file(tower):
            raise ValueError(
                f"'{tower}' has word vectors only: text.embeddings names a text tower, a CLIP or SigLIP (as "
                f"image.encoder), or a stand-in for it, as '{MINILM}'"
            )
        if not self.clip.projections and self.stand_in:
            raise ValueError(
                f"clip.projections = false compares raw vectors, but {self.stand_in} do not share a space: set "
                "clip.projections = true, or text.embeddings and image.encoder to the same CLIP"
            )
        return self

    @property
    def stand_in(self) -> str:
        """What stands in for a CLIP's two towers; empty where there is one."""
        text, image = self.text.embeddings, self.image.encoder
        if self.image.features:  # the file says more than the folder, which is mostly called features
            image = min((path.stem for path in Path(self.image.features).glob("*.npy")), default=self.image.features)
        elif text == image and text != MINILM:
            return ""
        text, image = (Path(name).name if Path(name).is_dir() else name for name in (text, image))
        return f"sentence vectors of {text} and image features of {image}"


class TurnTexts(NamedTuple):
    """Dialogue contexts, turns to the right."""

    texts: Tensor  # float [B, T, E] of a frozen tower; else its word pieces, int [B, T, L]
    images: Tensor  # float [B, T, M, F]
    image_mask: Tensor  # bool [B, T, M]
    turn_mask: Tensor  # bool [B, T]


class ProductTexts(NamedTuple):
    """Products."""

    texts: Tensor  # float [N, E]; else int [N, L]
    image: Tensor  # float [N, F]
    image_mask: Tensor  # bool [N]


@dataclass(frozen=True)
class VectorColumn(Column):
    """Rows of the texts' vectors [Q, T], which a batch holds the vectors of."""

    vectors: TextVectors

    def batch(self, rows: Rows, device: torch.device) -> Tensor:
        return to_device(self.vectors.gather(self.values[rows]), device)


class PieceColumn(Column):
    """The tower's word pieces [Q, T, L]; a batch's L is that of its longest text."""

    def batch(self, rows: Rows, device: torch.device) -> Tensor:
        tokens = self.values[rows]
        length = max(int((tokens != NO_TEXT).any(axis=(0, 1)).sum()), 1)
        return to_device(tokens[:, :, :length], device)


class TowerReader(Reader):
    """Reads whole texts, by a text tower that is frozen or trained along."""

    config: Settings

    @cached_property
    def vectors(self) -> TextVectors:
        """Of texts, by the frozen tower."""
        return TextVectors(self.config.text, self.features.kept, keeps=self.features.keeps)

    @cached_property
    def pieces(self) -> TowerTokens:
        """The tower's tokenizer."""
        return TowerTokens(self.config.text)

    def read(self, texts: Sequence[str], max_tokens: int) -> TokenArray:
        """Rows of the texts' vectors [R]; for a tower that trains along, its word pieces [R, L]."""
        if self.config.text.finetune:
            return self.pieces(texts, max_tokens)
        return self.vectors.rows(texts, max_tokens, self.progress)

    def turn_texts(self, histories: Histories) -> Column:
        """Of utterances."""
        spoken = histories.utterances
        distinct = sorted({utterance.text for _, _, utterance in spoken})
        read = self.read(distinct, self.config.text.max_tokens)
        row_of = {text: row for row, text in enumerate(distinct)}
        found = histories.array(*read.shape[1:], fill=NO_TEXT)
        for q, t, utterance in spoken:
            found[q, t] = read[row_of[utterance.text]]
        return PieceColumn(found) if self.config.text.finetune else VectorColumn(found, self.vectors)

    def texts_of_products(self, products: Sequence[Product]) -> npt.NDArray[Any]:
        """Of names with attributes."""
        read = self.read(self.product_texts(products), self.config.text.product_max_tokens)
        return read if self.config.text.finetune else self.vectors.gather(read)

    context_fields: ClassVar[Mapping[str, Callable[[Any, Histories], Column]]] = {
        **Reader.context_fields,
        "texts": turn_texts,
    }
    product_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[Product]], npt.NDArray[Any]]]] = {
        **Reader.product_fields,
        "texts": texts_of_products,
    }


class TrainedTower(FromWords):
    """A text tower that trains along: word pieces [.., L] -> vectors [.., E]."""

    def __init__(self, config: TowerTextConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = TextTower(config, pretrained=False)

    def start_from(self, words: Vocabulary) -> None:
        """Take over its weights."""
        del words
        self.tower.load_state_dict(TextTower(self.config, pretrained=True).state_dict())

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.tower(tokens.reshape(-1, tokens.shape[-1]))
        return found.reshape(*tokens.shape[:-1], -1)


class Clip(CosineRanker):
    """Contexts and products as two vectors of length one, side by side: of texts and of images [.., 2 D]."""

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__(config.loss)
        reader = sizes.reader
        assert isinstance(reader, TowerReader)
        D, trained = config.model.width, config.clip.projections
        self.images = ImageFeatures(config.image, sizes.image_shape)
        self.tower = TrainedTower(config.text) if config.text.finetune else None
        width = reader.vectors.width if self.tower is None else self.tower.tower.width
        self.text_projection = _projection(width, D, trained, "texts")
        self.image_projection = _projection(self.images.shape[0], D, trained, "images")
        self.over_texts = AttentionStack(config.model)
        self.over_images = AttentionStack(config.model)
        self.tanh = config.clip.tanh

    def texts(self, texts: Tensor) -> Tensor:
        """P_T t [.., D]."""
        found: Tensor = self.text_projection(texts if self.tower is None else self.tower(texts))
        return found

    def encode_contexts(self, batch: TurnTexts) -> Tensor:
        """c^T and c^I [B, 2 D], each of length one."""
        u_T = self.texts(batch.texts) * batch.turn_mask[..., None]  # [B, T, D]
        v = self.image_projection(self.images(batch.images, batch.image_mask))  # [B, T, M, D]
        u_I = masked_mean(v, batch.image_mask)  # [B, T, D]; zeros, which are attended to, without any image
        C_T = self.over_texts(u_T, batch.turn_mask)
        C_I = self.over_images(C_T, batch.turn_mask, u_I, batch.turn_mask)
        return _side_by_side(C_T[:, -1], C_I[:, -1])

    def encode_products(self, batch: ProductTexts) -> Tensor:
        """rho^T and rho^I [N, 2 D], each of length one; of images, zeros where there is none."""
        return _side_by_side(self.texts(batch.texts), self.image_projection(self.images(batch.image, batch.image_mask)))

    def score(self, contexts: Tensor, products: Tensor) -> Tensor:
        """cos(c^T, rho^T) + cos(c^I, rho^I)."""
        found = super().score(contexts, products)
        return torch.tanh(found) if self.tanh else found


def _side_by_side(text: Tensor, image: Tensor) -> Tensor:
    return torch.cat([F.normalize(text, dim=-1), F.normalize(image, dim=-1)], dim=-1)


def _projection(width: int, out: int, trained: bool, what: str) -> nn.Module:
    if not trained:
        if width != out:
            fix = f"--set model.width={width}, or clip.projections=true"
            raise ModelError(f"raw vectors of {what} have {width} numbers, model.width is {out}", fix=fix)
        return nn.Identity()
    found = nn.Linear(width, out, bias=False)
    if width == out:
        nn.init.eye_(found.weight)
    return found


def _towers(config: Settings) -> Mapping[str, Path]:
    """Files that a run depends on: the text tower's weights."""
    if not config.clip.projections:
        _projection(empty_tower(config.text).width, config.model.width, False, "texts")
    return {"text_tower": tower_weights(config.text)}


def _remark(config: Settings) -> str:
    return f"stand-in: {config.stand_in}" if config.stand_in else ""


MODEL = ModelSpec(
    "clip",
    "CLIP under attention over turns, a ranker of products for shopping dialogues",
    Clip,
    rank_objective,
    Inputs(TurnTexts, ProductTexts),
    TowerReader,
    files=_towers,
    preset="tuned",
    remark=_remark,
)
