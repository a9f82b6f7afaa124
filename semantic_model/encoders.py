"""Context and product encoders (section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semantic_model.attention import AttentionStack
from semantic_model.batch import ContextBatch, ProductBatch
from semantic_model.config import Config
from semantic_model.grouping import encode_by_length
from semantic_model.text import PAD

__all__ = ["Context", "ContextEncoder", "ImageEncoder", "ProductEncoder", "ProductVectors", "TextEncoder", "WordTable"]


class Context(NamedTuple):
    """An encoded dialogue context."""

    C_T: Tensor  # [B, T, D], text of all turns
    C_I: Tensor  # [B, T, D], pictures of all turns
    c_T: Tensor  # [B, D], the last turn's
    c_I: Tensor  # [B, D]
    turn_mask: Tensor  # bool [B, T]


class ProductVectors(NamedTuple):
    """Encoded products; they do not depend on the dialogue."""

    rho_T: Tensor  # [N, D]
    rho_I: Tensor  # [N, D], zeros without a picture
    image_mask: Tensor  # bool [N]

    def take(self, rows: Tensor) -> ProductVectors:
        """The products ``rows``, of any shape [..]: vectors [.., D]."""
        return ProductVectors(self.rho_T[rows], self.rho_I[rows], self.image_mask[rows])


class WordTable(nn.Module):
    """W_emb: one vector a word piece, zeros for padding; projected when the vectors' width is not D."""

    def __init__(self, config: Config, vocabulary: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width, padding_idx=PAD)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        with torch.no_grad():
            self.table.weight[PAD] = 0.0
        self.table.weight.requires_grad_(not config.text.freeze)
        D = config.model.width
        self.project: nn.Module = nn.Identity() if width == D else nn.Linear(width, D, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """[..] word pieces -> [.., D]."""
        found: Tensor = self.project(self.table(tokens))
        return found


class TextEncoder(nn.Module):
    """U^T_t = SumPool[SelfAttn(w W_emb + PE)]: texts [R, L] -> [R, D].

    A text that occurs several times is encoded once, and rows are grouped by length, so that short texts do not pay for
    long ones; padding changes nothing.
    """

    def __init__(self, config: Config, words: WordTable, max_tokens: int) -> None:
        super().__init__()
        self.words = words
        self.positions = nn.Embedding(max_tokens, config.model.width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.attention = AttentionStack(config.model, config.text_layers)
        self.dropout = nn.Dropout(config.model.dropout)
        self.mean = config.text.pool == "mean"
        self.leaky = config.text.activation == "leaky_relu"

    def forward(self, tokens: Tensor) -> Tensor:
        distinct, place = torch.unique(tokens, dim=0, return_inverse=True)
        encoded = encode_by_length(
            (distinct != PAD).sum(dim=1),
            self.positions.embedding_dim,
            lambda rows, length: self._encode(distinct[rows, :length]),
        )
        return encoded[place]

    def _encode(self, tokens: Tensor) -> Tensor:
        mask = tokens != PAD  # [R, L]
        x = self.words(tokens) + self.positions.weight[: tokens.shape[1]]  # [R, L, D]
        x = self.attention(torch.where(mask[..., None], self.dropout(x), 0.0), mask)
        pooled = x.sum(dim=1)
        if self.mean:
            pooled = pooled / mask.sum(dim=1, keepdim=True)
        return F.leaky_relu(pooled) if self.leaky else pooled


class ImageEncoder(nn.Module):
    """U^I_t = SumPool[SelfAttn(Linear(ResNet(v)))]: pictures [R, M, F] -> [R, D], zeros where there is none.

    Rows are grouped by how many pictures they have: only real ones are encoded.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: Config, feature_width: int) -> None:
        super().__init__()
        D = config.model.width
        self.linear = nn.Linear(feature_width, D)
        self.register_buffer("mean", torch.zeros(feature_width))
        self.register_buffer("scale", torch.ones(feature_width))
        layers = config.model.layers if config.image.turn_attention else 0
        self.attention = AttentionStack(config.model, layers)
        self.leaky = config.text.activation == "leaky_relu"
        self.width = D

    @torch.no_grad()
    def standardize(self, features: Tensor) -> None:
        """Take the mean and spread of the catalogue's features [n, F] as zero and one."""
        if len(features) > 1:
            self.mean.copy_(features.mean(dim=0))
            self.scale.copy_(1.0 / features.std(dim=0).clamp(min=1e-3))

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)  # [R, M], pictures first

        def encode(rows: Tensor, pictures: int) -> Tensor:
            columns = order[rows, :pictures]
            some = mask[rows[:, None], columns]  # [r, M']
            v = self.linear((images[rows[:, None], columns] - self.mean) * self.scale)  # [r, M', D]
            pooled = self.attention(torch.where(some[..., None], v, 0.0), some).sum(dim=1)
            return F.leaky_relu(pooled) if self.leaky else pooled

        return encode_by_length(mask.sum(dim=1), self.width, encode)


class ContextEncoder(nn.Module):
    """Turns, then C^T = SelfAttn(C^T, C^T, C^T) and C^I = CrossAttn(C^T, C^I, C^I) over them."""

    def __init__(self, config: Config, text: TextEncoder, image: ImageEncoder) -> None:
        super().__init__()
        self.text = text
        self.image = image
        self.positions = (
            nn.Embedding(config.context.window, config.model.width) if config.context.turn_positions else None
        )
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.02)
        self.over_texts = AttentionStack(config.model)
        self.over_images = AttentionStack(config.model)
        self.attend_imageless = config.context.attend_imageless

    def forward(self, batch: ContextBatch) -> Context:
        """Encode contexts; c^T and c^I are the last turn's representations."""
        B, T = batch.turn_mask.shape
        U_T = self.text(batch.tokens.flatten(0, 1)).unflatten(0, (B, T))  # [B, T, D]
        U_I = self.image(batch.images.flatten(0, 1), batch.image_mask.flatten(0, 1)).unflatten(0, (B, T))
        if self.positions is not None:
            U_T = U_T + self.positions.weight.flip(0)[-T:]
        C_T = self.over_texts(U_T, batch.turn_mask)
        seen = batch.turn_mask if self.attend_imageless else batch.turn_mask & batch.image_mask.any(dim=2)
        C_I = self.over_images(C_T, batch.turn_mask, U_I, seen)
        return Context(C_T, C_I, C_T[:, -1], C_I[:, -1], batch.turn_mask)


class ProductEncoder(nn.Module):
    """rho^T and rho^I, as the texts and pictures of a turn."""

    def __init__(self, text: TextEncoder, image: ImageEncoder) -> None:
        super().__init__()
        self.text = text
        self.image = image

    def forward(self, batch: ProductBatch) -> ProductVectors:
        """Encode products."""
        rho_I = self.image(batch.image[:, None], batch.image_mask[:, None])
        return ProductVectors(self.text(batch.tokens), rho_I, batch.image_mask)
