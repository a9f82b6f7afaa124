"""Context and product encoders (section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from semantic_model.config.config import Config
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.tokenizer import PAD, Vocabulary
from semantic_model.layers.attention import AttentionStack, Dropout
from semantic_model.layers.images import StandardizedImages
from semantic_model.layers.packing import Packing, pack, sequences, unpack
from semantic_model.layers.word_vectors import FromWords, NoPositions, Positions, WholeBert, WordTable
from semantic_model.semantic.settings import TeacherStudentConfig


class Context(NamedTuple):
    """An encoded dialogue context."""

    C_T: Tensor  # [B, T, D], text of all turns
    C_I: Tensor  # [B, T, D], images of all turns
    c_T: Tensor  # [B, D], the last turn's
    c_I: Tensor  # [B, D]
    turn_mask: Tensor  # bool [B, T]


class ProductVectors(NamedTuple):
    """Encoded products; they do not depend on the dialogue."""

    rho_T: Tensor  # [N, D]
    rho_I: Tensor  # [N, D], zeros without an image
    image_mask: Tensor  # bool [N]

    def take(self, rows: Tensor) -> ProductVectors:
        """The products ``rows``, of any shape [..]: vectors [.., D]."""
        return ProductVectors(self.rho_T[rows], self.rho_I[rows], self.image_mask[rows])


class SumPool(nn.Module):
    """The sum over places; what is masked is zero already."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[R, L, D], bool [R, L] -> [R, D]."""
        del mask
        return x.sum(dim=1)


class MeanPool(nn.Module):
    """The mean over real places."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[R, L, D], bool [R, L] -> [R, D]."""
        return x.sum(dim=1) / mask.sum(dim=1, keepdim=True)


def activation_of(config: Config) -> nn.Module:
    """What follows the pooling of words and of images: nothing (paper), or a LeakyReLU (release)."""
    return nn.LeakyReLU() if config.text.activation == "leaky_relu" else nn.Identity()


class TextEncoder(FromWords):
    """U^T_t = SumPool[SelfAttn(w W_emb + PE)]: texts [R, L] -> [R, D].

    A text that occurs several times is encoded once, and texts are packed one after the other: padding costs nothing.
    """

    def __init__(self, config: Config, words: WordTable | WholeBert, max_tokens: int) -> None:
        super().__init__()
        self.words = words
        self.width = config.model.width
        self.positions = NoPositions() if config.text.full_bert else Positions(max_tokens, self.width)
        self.brought_positions = config.text.positions == "brought"
        self.attention = AttentionStack(config.model, config.text_layers)
        self.dropout = Dropout(config.model.dropout)
        self.pool = MeanPool() if config.text.pool == "mean" else SumPool()
        self.activation = activation_of(config)

    def start_from(self, words: Vocabulary) -> None:
        """Begin with the position embeddings that came along, if there are any and they are asked for."""
        if self.brought_positions and words.positions is not None and isinstance(self.positions, Positions):
            self.positions.start_from(self.words.project(torch.from_numpy(words.positions)))

    def forward(self, tokens: Tensor) -> Tensor:
        distinct, place = torch.unique(tokens, dim=0, return_inverse=True)
        packing = pack((distinct != PAD).sum(dim=1))
        if not packing.spans:
            return torch.zeros(len(tokens), self.width, device=tokens.device)
        return unpack(self._encode(distinct[packing.order], packing), packing.order, len(distinct))[place]

    def _encode(self, tokens: Tensor, packing: Packing) -> Tensor:
        """Texts [r, L], shortest first -> [r, D]."""
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)[tokens != PAD]
        x = self.dropout(self.positions(self.words.packed(tokens), places))  # [P, D]
        return self.pooled(self.attention.packed(x, packing.spans), packing)

    def pooled(self, x: Tensor, packing: Packing) -> Tensor:
        """One vector a text: [P, D] -> [r, D]."""
        pooled = [
            self.pool(part, torch.ones_like(part[..., 0], dtype=torch.bool)) for part in sequences(x, packing.spans)
        ]
        found: Tensor = self.activation(torch.cat(pooled))
        return found


class ImageEncoder(StandardizedImages):
    """U^I_t = SumPool[SelfAttn(Linear(ResNet(v)))]: images [B, .., M, F] -> [B, .., D], zeros where there is none.

    Only real images are read, packed one turn after the other. The images are features of a frozen
    network, or pixels for one that trains along.
    """

    def __init__(self, config: Config, feature_width: int) -> None:
        super().__init__(config.image, (feature_width,))
        self.width = config.model.width
        self.linear = nn.Linear(self.shape[0], self.width)
        layers = config.model.layers if config.image.turn_attention else 0
        self.attention = AttentionStack(config.model, layers)
        self.activation = activation_of(config)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        if not mask.any():
            return torch.zeros(*mask.shape[:-1], self.width, device=mask.device)
        there = mask.reshape(-1, mask.shape[-1])  # [R, M]
        real = images[mask] if self.network is None else self.network(images, mask)
        v = self.linear(self.standardized(real))  # [P, D], turn after turn
        packing = pack(there.sum(dim=1))
        number = there.flatten().cumsum(dim=0).reshape(there.shape) - 1  # of each real image
        v = v[number[packing.order][there[packing.order]]]  # turns with few images first
        pooled = [part.sum(dim=1) for part in sequences(self.attention.packed(v, packing.spans), packing.spans)]
        encoded = unpack(self.activation(torch.cat(pooled)), packing.order, len(there))
        return encoded.reshape(*mask.shape[:-1], self.width)


class TurnPositions(nn.Embedding):
    """A learned vector a turn, the last turn's first, added to the turns' texts."""

    def __init__(self, turns: int, width: int) -> None:
        super().__init__(turns, width)
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, U_T: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        return U_T + self.weight.flip(0)[-U_T.shape[1] :]


def every_turn(batch: ContextBatch) -> Tensor:
    """Turns [B, T] whose images are attended to: all that there are, as zeros where they show none."""
    return batch.turn_mask


def turns_with_images(batch: ContextBatch) -> Tensor:
    """Turns [B, T] whose images are attended to: those that show some."""
    return batch.turn_mask & batch.image_mask.any(dim=2)


class ContextEncoder(nn.Module):
    """Turns, then C^T = SelfAttn(C^T, C^T, C^T) and C^I = CrossAttn(C^T, C^I, C^I) over them."""

    def __init__(self, config: TeacherStudentConfig, text: TextEncoder, image: ImageEncoder) -> None:
        super().__init__()
        self.text = text
        self.image = image
        turns = (config.context.window, config.model.width)
        self.positions: nn.Module = TurnPositions(*turns) if config.context.turn_positions else nn.Identity()
        self.over_texts = AttentionStack(config.model)
        self.over_images = AttentionStack(config.model)
        self.seen = every_turn if config.context.attend_imageless else turns_with_images

    def forward(self, batch: ContextBatch) -> Context:
        """Encode contexts; c^T and c^I are the last turn's representations."""
        U_T = self.text(batch.tokens.flatten(0, 1)).unflatten(0, batch.turn_mask.shape)  # [B, T, D]
        U_I = self.image(batch.images, batch.image_mask)  # [B, T, D]
        C_T = self.over_texts(self.positions(U_T), batch.turn_mask)
        C_I = self.over_images(C_T, batch.turn_mask, U_I, self.seen(batch))
        return Context(C_T, C_I, C_T[:, -1], C_I[:, -1], batch.turn_mask)


class ProductEncoder(nn.Module):
    """rho^T and rho^I, as the texts and images of a turn."""

    def __init__(self, text: TextEncoder, image: ImageEncoder) -> None:
        super().__init__()
        self.text = text
        self.image = image

    def forward(self, batch: ProductBatch) -> ProductVectors:
        """Encode products."""
        rho_I = self.image(batch.image[:, None], batch.image_mask[:, None])
        return ProductVectors(self.text(batch.tokens), rho_I, batch.image_mask)
