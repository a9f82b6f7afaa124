"""A plain multimodal dual encoder: the same words, images and turns as the paper's model, but no belief state at all.

What the states of the teacher and the student are worth is what SeMANTIC ranks better than this.

    u_t = mean over tokens of SelfAttn(w W_emb + PE) + mean over images of Linear(v)
    c   = SelfAttn(u_1 + p_1, ..., u_T + p_T) of the last turn
    rho = the same text and image encoders on the product
    P(rho | c) = softmax over products of s cos(c, rho), with a learned s

Products are encoded without the attention over turns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semantic_model.config.sections import Config, RankLossConfig
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.layers.attention import AttentionStack
from semantic_model.layers.word_vectors import word_vectors
from semantic_model.ranking.cosine import CosineRanker, rank_objective
from semantic_model.ranking.model_spec import ModelSpec, Sizes
from semantic_model.semantic.encoders import ImageEncoder, TextEncoder


class Settings(Config):
    """What every model has, and the loss."""

    loss: RankLossConfig = RankLossConfig(rank="softmax")


class DualEncoder(CosineRanker):
    """Contexts and products as vectors of length one."""

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__(config.loss)
        self.words = word_vectors(config, sizes.vocabulary, sizes.word_width)
        longest = max(config.text.max_tokens, config.text.product_max_tokens)
        self.text = TextEncoder(config, self.words, longest)
        self.image = ImageEncoder(config, sizes.feature_width)
        turns = (config.context.window, config.model.width)
        self.positions = nn.Parameter(0.02 * torch.randn(turns)) if config.context.turn_positions else None
        self.over_turns = AttentionStack(config.model)

    def encode_contexts(self, batch: ContextBatch) -> Tensor:
        """c [B, D], of length one."""
        B, T = batch.turn_mask.shape
        text = self.text(batch.tokens.flatten(0, 1)).unflatten(0, (B, T))  # [B, T, D]
        mask = batch.image_mask.flatten(0, 1)
        image_vectors = self.image(batch.images.flatten(0, 1), mask) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        turns = text + image_vectors.unflatten(0, (B, T))
        if self.positions is not None:
            turns = turns + self.positions.flip(0)[-T:]
        return F.normalize(self.over_turns(turns, batch.turn_mask)[:, -1], dim=-1)

    def encode_products(self, batch: ProductBatch) -> Tensor:
        """rho [N, D], of length one."""
        return F.normalize(
            self.text(batch.tokens) + self.image(batch.image[:, None], batch.image_mask[:, None]), dim=-1
        )


MODEL = ModelSpec(
    "dual-encoder",
    "A dual encoder without belief states, which ranks products for shopping dialogues",
    DualEncoder,
    rank_objective,
    preset="dual-encoder",
)
