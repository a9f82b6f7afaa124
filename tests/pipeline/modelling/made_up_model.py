"""A ranker of one file: the words that the user said last against each word of a product, and how popular it is.

It has settings of its own, reads other fields than other models, one of them by a reader of its own, and fits something
beside its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from schemas.errors import ModelError
from schemas.files import read_json, write_json
from semantic_model.config.sections import Config, RankLossConfig, Section
from semantic_model.data.batch import SPEAKERS, Inputs, Reader
from semantic_model.data.tokenizer import PAD
from semantic_model.layers.losses import softmax_rank_loss
from semantic_model.models.popularity import Popularity
from semantic_model.ranking.candidates import Scored
from semantic_model.ranking.model_spec import ModelSpec, Objective, Sizes, Sources, StepBatch


class Fondness(Section):
    of_popular: float = Field(default=0.5, ge=0, description="first weight of the logarithm of a product's count")


class Settings(Config):
    loss: RankLossConfig = RankLossConfig(rank="softmax")
    fondness: Fondness = Fondness()


class Said(NamedTuple):
    tokens: Tensor  # [B, T, L]
    speakers: Tensor  # [B, T]


class Wares(NamedTuple):
    tokens: Tensor  # [N, L]
    popularity: Tensor  # [N]


class Counts(Popularity):
    def save(self, folder: Path) -> None:
        write_json(folder / "counts.json", self.counts)

    @classmethod
    def load(cls, folder: Path, sources: Sources) -> Counts:
        return cls(read_json(folder / "counts.json", error=ModelError, fix="train again", shape=dict[str, int]))

    @classmethod
    def fit(cls, config: Settings, sources: Sources) -> Counts:
        return cls(Popularity.fit(sources.corpus).counts)


class WareReader(Reader):
    product_fields: ClassVar = {
        **Reader.product_fields,
        "popularity": lambda reader, products: np.log1p(reader.fitted.encode_products(products)),
    }


class Asked(NamedTuple):
    vector: Tensor  # [B, D]
    said: Tensor  # bool [B]


class Encoded(NamedTuple):
    words: Tensor  # [N, L, D]: as many vectors as words
    popularity: Tensor  # [N]


class BestWord(nn.Module):
    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes.vocabulary, config.model.width, padding_idx=PAD)
        self.fondness = nn.Parameter(torch.tensor(config.fondness.of_popular))

    def encode_contexts(self, batch: Said) -> Asked:
        by_user = batch.tokens * (batch.speakers == SPEAKERS.index("user"))[..., None]
        return Asked(self.words(by_user[:, -1]).sum(dim=1), (by_user[:, -1] != PAD).any(dim=1))

    def encode_products(self, batch: Wares) -> Encoded:
        return Encoded(F.normalize(self.words(batch.tokens), dim=-1), batch.popularity)

    def score(self, contexts: Asked, products: Encoded) -> Tensor:
        own = "bcld" if products.words.dim() == 4 else "cld"
        found = torch.einsum(f"bd,{own}->bcl", contexts.vector, products.words).amax(dim=2)
        return found * contexts.said[:, None] + self.fondness * products.popularity


def objective(model: BestWord, step: StepBatch) -> Objective:
    contexts = model.encode_contexts(step.contexts)
    loss = softmax_rank_loss(*Scored.of(step.choices, step.products, lambda some: model.score(contexts, some)))
    return Objective(loss, {"rank": loss})


MODEL = ModelSpec(
    "best-word", "The best of a product's words", BestWord, objective, Inputs(Said, Wares), WareReader, Counts
)
