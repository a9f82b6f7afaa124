"""A ranker of one file: the words of the last turn against each word of a product, the best one counts."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semantic_model.config.config import Config
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.tokenizer import PAD
from semantic_model.layers.losses import softmax_rank_loss
from semantic_model.ranking.model_spec import ModelSpec, Objective, Sizes, StepBatch


class Asked(NamedTuple):
    vector: Tensor  # [B, D]
    said: Tensor  # bool [B]


class BestWord(nn.Module):
    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes.vocabulary, config.model.width, padding_idx=PAD)

    def encode_contexts(self, batch: ContextBatch) -> Asked:
        last = batch.tokens[:, -1]
        return Asked(self.words(last).sum(dim=1), (last != PAD).any(dim=1))

    def encode_products(self, batch: ProductBatch) -> Tensor:
        return F.normalize(self.words(batch.tokens), dim=-1)  # [N, L, D]: as many vectors as words

    def score(self, contexts: Asked, products: Tensor) -> Tensor:
        own = "bcld" if products.dim() == 4 else "cld"
        found = torch.einsum(f"bd,{own}->bcl", contexts.vector, products).amax(dim=2)
        return found * contexts.said[:, None]


def objective(model: BestWord, step: StepBatch) -> Objective:
    scores = model.score(model.encode_contexts(step.contexts), step.products)
    assert step.choices.relevant is not None
    loss = softmax_rank_loss(scores, step.choices.relevant, torch.ones_like(step.choices.relevant))
    return Objective(loss, {"rank": loss})


MODEL = ModelSpec(
    "best-word",
    "The best of a product's words",
    BestWord,
    objective,
    reads=("text", "image", "context", "model", "loss.rank"),
    reads_states=False,
)
