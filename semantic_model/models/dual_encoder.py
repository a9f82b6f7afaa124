"""A plain multimodal dual encoder: the same words, images and turns as the paper's model, but no belief state at all.

What the states of the teacher and the student are worth is what SeMANTIC ranks better than this.

    u_t = mean over tokens of SelfAttn(w W_emb + PE) + mean over images of Linear(v)
    c   = SelfAttn(u_1 + p_1, ..., u_T + p_T) of the last turn
    rho = the same text and image encoders on the product
    P(rho | c) = softmax over products of s cos(c, rho), with a learned s

Products are encoded without the attention over turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semantic_model.config.config import Config
from semantic_model.data.batch import ContextArrays, ContextBatch, ProductBatch, Reader
from semantic_model.data.ranker import FloatArray, Product, Query
from semantic_model.layers.attention import AttentionStack
from semantic_model.layers.losses import softmax_rank_loss
from semantic_model.layers.word_vectors import word_vectors
from semantic_model.semantic.encoders import ImageEncoder, TextEncoder
from semantic_model.semantic.objective import Choices, Objective

__all__ = ["DualEncoder", "DualEncoderRanker", "dual_encoder_objective"]


class DualEncoder(nn.Module):
    """Contexts and products as vectors of length one.

    Args:
        config: all settings; those of states, DSI and the paper's losses are not looked at.
        vocabulary: how many word pieces there are.
        word_width: width of their vectors.
        feature_width: F, numbers an image.
    """

    def __init__(self, config: Config, *, vocabulary: int, word_width: int, feature_width: int) -> None:
        super().__init__()
        self.config = config
        self.words = word_vectors(config, vocabulary, word_width)
        longest = max(config.text.max_tokens, config.text.product_max_tokens)
        self.text = TextEncoder(config, self.words, longest)
        self.image = ImageEncoder(config, feature_width)
        turns = (config.context.window, config.model.width)
        self.positions = nn.Parameter(0.02 * torch.randn(turns)) if config.context.turn_positions else None
        self.over_turns = AttentionStack(config.model)
        self.log_scale = nn.Parameter(torch.tensor(config.loss.scale).log())

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


def dual_encoder_objective(model: DualEncoder, batch: ContextBatch, products: Tensor, choices: Choices) -> Objective:
    """Cross-entropy of the positives among the encoded products [N, D], or among each context's own candidates."""
    contexts = model.encode_contexts(batch)
    if choices.relevant is not None:
        scores, relevant = contexts @ products.T, choices.relevant  # [B, N]
        valid = torch.ones_like(relevant)
    else:
        rows = torch.cat([choices.positives, choices.negatives], dim=1)  # [B, C]
        scores = torch.einsum("bd,bcd->bc", contexts, products[rows.clamp(min=0)])
        valid = rows >= 0
        relevant = valid & (torch.arange(rows.shape[1], device=rows.device) < choices.positives.shape[1])
    loss = softmax_rank_loss(model.log_scale.exp() * scores, relevant, valid)
    return Objective(loss, {"rank": loss})


class DualEncoderRanker:
    """A trained dual encoder; implements :class:`semantic_model.data.ranker.Ranker`."""

    chunk = 256

    def __init__(self, model: DualEncoder, reader: Reader, name: str = "dual-encoder") -> None:
        self.model = model.eval()
        self.reader = reader
        self.name = name

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.log_scale.device

    @torch.inference_mode()
    def encode_products(self, products: Sequence[Product]) -> Tensor:
        """rho [N, D] of products, once."""
        self.model.eval()
        parts = []
        for start in range(0, len(products), self.chunk):
            batch = self.reader.products(products[start : start + self.chunk])
            parts.append(self.model.encode_products(type(batch)(*(field.to(self.device) for field in batch))))
        return torch.cat(parts) if parts else torch.zeros(0, self.model.config.model.width, device=self.device)

    def encode_contexts(self, queries: Sequence[Query]) -> Tensor:
        """c [Q, D] of contexts, once."""
        return self.encode_arrays(self.reader.contexts(queries))

    @torch.inference_mode()
    def encode_arrays(self, arrays: ContextArrays) -> Tensor:
        """:meth:`encode_contexts`, of contexts that have been read already."""
        self.model.eval()
        parts = [
            self.model.encode_contexts(
                arrays.batch(slice(start, start + self.chunk), self.reader.features, self.device)
            )
            for start in range(0, len(arrays), self.chunk)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, self.model.config.model.width, device=self.device)

    @torch.inference_mode()
    def score(self, contexts: Tensor, table: Tensor, candidates: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Cosines of every product, or of each context's candidates; see :class:`Ranker`."""
        if candidates is None:
            found: FloatArray = (contexts @ table.T).cpu().numpy()
            return found
        rows = torch.from_numpy(candidates.clip(min=0)).to(self.device)
        scores: FloatArray = torch.einsum("bd,bcd->bc", contexts, table[rows]).cpu().numpy()
        scores[candidates < 0] = -np.inf
        return scores
