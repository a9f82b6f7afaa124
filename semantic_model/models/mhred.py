"""MHRED, the multimodal hierarchical encoder of Saha, Khapra and Sankaranarayanan (AAAI 2018), its ranking half.

    u_t = GRU(words of utterance t), its last state          (their section 5.1, utterance encoder)
    v_t = Linear(image features of turn t)
    c   = Linear(GRU([u_1; v_1], ..., [u_T; v_T]))           (context encoder)
    rho = Linear(image features of the product)              (target images: no text, no knowledge)
    f   = cos(c, rho)

Departures: a turn's images are averaged rather than each a step of its own, unless ``mhred.roll_out`` asks for that;
the release's "bidirectional" context encoder reads the forward state alone and is one GRU here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from semantic_model.config.sections import Config, RankLossConfig, Section
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.tokenizer import PAD
from semantic_model.layers.attention import Dropout
from semantic_model.layers.images import ImageFeatures
from semantic_model.layers.pooling import masked_mean
from semantic_model.layers.recurrent import RecurrentEncoder
from semantic_model.layers.word_vectors import word_vectors
from semantic_model.ranking.cosine import CosineRanker, rank_objective
from semantic_model.ranking.model_spec import ModelSpec, Sizes


class MhredConfig(Section):
    """MHRED."""

    roll_out: bool = Field(
        default=False, description="every image is a step of the context encoder, after its turn's text (release)"
    )


class Settings(Config):
    """All settings of MHRED."""

    loss: RankLossConfig = RankLossConfig()
    mhred: MhredConfig = MhredConfig()


class Mhred(CosineRanker):
    """Contexts and products as vectors of length one."""

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__(config.loss)
        D = config.model.width
        self.words = word_vectors(config, sizes.vocabulary, sizes.word_width)
        self.utterance = RecurrentEncoder("gru", D, D)
        self.images = ImageFeatures(config.image, sizes.image_shape)
        self.context_image = nn.Linear(self.images.shape[0], D)
        self.product_image = nn.Linear(self.images.shape[0], D)
        self.context = RecurrentEncoder("gru", 2 * D, D)
        self.out = nn.Linear(D, D)
        self.dropout = Dropout(config.model.dropout)
        self.roll_out = config.mhred.roll_out

    def encode_contexts(self, batch: ContextBatch) -> Tensor:
        """c [B, D], of length one."""
        tokens = batch.tokens.flatten(0, 1)
        _, u = self.utterance(self.dropout(self.words(tokens)), tokens != PAD)
        u = u.unflatten(0, batch.turn_mask.shape)  # [B, T, D]
        v = (
            self.context_image(self.images(batch.images, batch.image_mask)) * batch.image_mask[..., None]
        )  # [B, T, M, D]
        if self.roll_out:
            steps, mask = _rolled_out(u, v, batch)
        else:
            steps, mask = torch.cat([u, masked_mean(v, batch.image_mask)], dim=2), batch.turn_mask
        _, c = self.context(self.dropout(steps), mask)
        return F.normalize(self.out(self.dropout(c)), dim=-1)

    def encode_products(self, batch: ProductBatch) -> Tensor:
        """rho [N, D], of length one; without an image, that of zeros."""
        return F.normalize(self.product_image(self.images(batch.image, batch.image_mask)), dim=-1)


def _rolled_out(u: Tensor, v: Tensor, batch: ContextBatch) -> tuple[Tensor, Tensor]:
    """Steps [B, T (1 + M), 2 D] of texts [B, T, D] and images [B, T, M, D], those that are there last."""
    text = torch.cat([u, torch.zeros_like(u)], dim=2)[:, :, None]  # [B, T, 1, 2 D]
    image = torch.cat([torch.zeros_like(v), v], dim=3)
    steps = torch.cat([text, image], dim=2).flatten(1, 2)
    mask = torch.cat([batch.turn_mask[..., None], batch.image_mask], dim=2).flatten(1, 2)
    order = mask.int().argsort(dim=1, stable=True)  # a recurrent encoder reads places without gaps
    return steps.gather(1, order[..., None].expand_as(steps)), mask.gather(1, order)


MODEL = ModelSpec(
    "mhred",
    "MHRED, a hierarchical recurrent encoder, which ranks products by their images",
    Mhred,
    rank_objective,
    preset="tuned",
)
