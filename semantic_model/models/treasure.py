"""TREASURE, the relational graph-based question understanding of Zhang, Liu, Gao, Lei, Wang and Nie (ACM MM 2021).

Re-implemented from the published description of "Multimodal Dialog System: Relational Graph-based Context-aware
Question Understanding", as no code is public. It names the parts: several attribute matrices guide the text encoder to
the words that tell of products, and a sparse graph attention network gathers, for each utterance, the context that
helps. The equations are a reading of it:

    h_l  = SelfAttn(words of the text + PE), its token l
    k_l  = sum_m softmax(h_l A_m^T) A_m                     (A_m: a learned row for each value of attribute m)
    u    = mean over tokens of h_l + g_l * k_l, g_l = sigmoid(W_g [h_l; k_l])
    v    = mean over images of Linear(image features)
    n_t  = W [u_t; v_t], a node for each turn of the dialogue
    n   <- n + ELU(n + GAT(n)), layer by layer              (each turn looks at all; shares by sparsemax: many are 0)
    c    = n_T, the node of the user's last turn
    rho  = W [u; v] of the product's text, its attributes among it, and its image
    f    = cos(c, rho)

Rows of A_m begin as the word vectors of their values, and are projected as words are.

Departures: what is published leaves open how the matrices guide, what the nodes and a product are and how many layers
there are; all of that is chosen here. Its decoder of textual responses takes no part in ranking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from schemas.errors import ModelError
from schemas.files import read_json, write_json
from semantic_model.config.sections import Config, RankLossConfig, Section
from semantic_model.data.attributes import read_attributes
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.tokenizer import PAD, TokenArray, Vocabulary
from semantic_model.layers.attention import Dropout
from semantic_model.layers.graph import GraphAttention
from semantic_model.layers.images import ImageFeatures
from semantic_model.layers.pooling import masked_mean, masked_softmax
from semantic_model.layers.token_states import TokenStates
from semantic_model.layers.word_vectors import FromWords, WholeBert, WordTable, word_vectors
from semantic_model.ranking.cosine import CosineRanker, rank_objective
from semantic_model.ranking.model_spec import ModelSpec, Sizes, Sources

_FILE = "attribute_values.json"
_VALUE_TOKENS = 8  # word pieces of a value that are read


class TreasureConfig(Section):
    """TREASURE."""

    matrices: int = Field(default=16, ge=1, description="M at most: the attributes that most products have")
    values: int = Field(default=64, ge=1, description="rows of a matrix at most: an attribute's commonest values")
    graph_layers: int = Field(default=2, ge=1, description="layers of the graph attention over turns")
    shares: Literal["sparsemax", "softmax"] = Field(
        default="sparsemax", description="of a turn's neighbours: sparsemax leaves most out, softmax none"
    )


class Settings(Config):
    """All settings of TREASURE."""

    loss: RankLossConfig = RankLossConfig()
    treasure: TreasureConfig = TreasureConfig()


class AttributeValues:
    """The attributes of a catalogue that have a matrix, the most frequent first, and the values that are its rows."""

    def __init__(self, values: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        self.values = tuple(values)

    @classmethod
    def fit(cls, config: Settings, sources: Sources) -> Self:
        """Count what products have; ties are in the order of names."""
        has: Counter[str] = Counter()
        counts: dict[str, Counter[str]] = {}
        for product in sources.corpus.products:
            for attribute, values in read_attributes(product, config.text).items():
                has[attribute] += 1
                counts.setdefault(attribute, Counter()).update(set(values))
        if not has:
            raise ModelError(
                "no attribute of the catalogue is read, and TREASURE has a matrix for each of them",
                fix="import a catalogue with attributes, loosen text.product_fields and text.product_ignore, "
                "or train another model",
            )
        most = config.treasure
        return cls([(name, _commonest(counts[name], most.values)) for name in _commonest(has, most.matrices)])

    def save(self, folder: Path) -> None:
        """Write ``attribute_values.json``."""
        write_json(folder / _FILE, self.values)

    @classmethod
    def load(cls, folder: Path, sources: Sources | None = None) -> Self:
        """Read :meth:`save` back.

        Raises:
            ModelError: missing or damaged.
        """
        shape = list[tuple[str, tuple[str, ...]]]
        found = read_json(folder / _FILE, error=ModelError, fix="train again", shape=shape)
        if not found or not all(values for _, values in found):
            raise ModelError("an attribute without values, or none at all", where=folder / _FILE, fix="train again")
        return cls(found)


def _commonest(counts: Counter[str], most: int) -> tuple[str, ...]:
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:most])


class AttributeMatrices(FromWords):
    """k = sum_m softmax(h A_m^T) A_m: vectors of tokens [.., D] -> [.., D].

    Args:
        words: rows begin as its word vectors, and are projected as these are.
        values: of each attribute, word pieces [n, V] of its values, padded.
    """

    place: Tensor
    mask: Tensor

    def __init__(self, words: WordTable | WholeBert, values: Sequence[TokenArray]) -> None:
        super().__init__()
        self.words = words
        self.values = values
        count = np.array([len(pieces) for pieces in values])
        self.rows = nn.Parameter(torch.zeros(int(count.sum()), words.table.embedding_dim))
        column = np.arange(count.max())
        mask = column < count[:, None]  # [M, most values]: matrices side by side, so that one softmax does for all
        place = np.where(mask, column + (count.cumsum() - count)[:, None], 0)
        self.register_buffer("place", torch.from_numpy(place), persistent=False)
        self.register_buffer("mask", torch.from_numpy(mask), persistent=False)

    @torch.no_grad()
    def start_from(self, words: Vocabulary) -> None:
        """Each row is the mean of the vectors of its value's word pieces."""
        del words
        means = [
            masked_mean(self.words.table.weight[pieces], pieces != PAD) for pieces in map(torch.from_numpy, self.values)
        ]
        self.rows.copy_(torch.cat(means))

    def forward(self, h: Tensor) -> Tensor:
        A = self.words.project(self.rows)[self.place]  # [M, most values, D]
        scores = h @ A.flatten(0, 1).T
        shares = masked_softmax(scores.unflatten(-1, self.mask.shape), self.mask)
        found: Tensor = shares.flatten(-2) @ A.flatten(0, 1)
        return found


class Treasure(CosineRanker):
    """Contexts and products as vectors of length one."""

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__(config.loss)
        D, heads = config.model.width, config.model.heads
        reader = sizes.reader
        self.words = word_vectors(config, sizes.vocabulary, sizes.word_width)
        known: AttributeValues = reader.fitted
        values = [reader.words.encode(names, _VALUE_TOKENS) for _, names in known.values]
        self.matrices = AttributeMatrices(self.words, values)
        longest = max(config.text.max_tokens, config.text.product_max_tokens)
        self.states = TokenStates(config, self.words, longest)
        self.gate = nn.Linear(2 * D, D)
        self.images = ImageFeatures(config.image, sizes.image_shape)
        self.image = nn.Linear(self.images.shape[0], D)
        self.node = nn.Linear(2 * D, D)
        self.graph = nn.ModuleList(
            GraphAttention(
                D, D // heads, heads, dropout=config.model.dropout, residual=True, shares=config.treasure.shares
            )
            for _ in range(config.treasure.graph_layers)
        )
        self.dropout = Dropout(config.model.dropout)

    def encode_contexts(self, batch: ContextBatch) -> Tensor:
        """c [B, D], of length one."""
        B, T = batch.turn_mask.shape
        u = self.text(batch.tokens.flatten(0, 1)).view(B, T, self.node.out_features)
        v = masked_mean(self.image(self.images(batch.images, batch.image_mask)), batch.image_mask)
        n = self.node(self.dropout(torch.cat([u, v], dim=2)))
        sees = batch.turn_mask[:, :, None] & batch.turn_mask[:, None, :]
        for layer in self.graph:
            n = n + F.elu(layer(n, sees))
        return F.normalize(n[:, -1], dim=-1)

    def encode_products(self, batch: ProductBatch) -> Tensor:
        """rho [N, D], of length one."""
        v = self.image(self.images(batch.image, batch.image_mask)) * batch.image_mask[:, None]
        both = torch.cat([self.text(batch.tokens), v], dim=1)
        return F.normalize(self.node(self.dropout(both)), dim=-1)

    def text(self, tokens: Tensor) -> Tensor:
        """u of texts: [R, L] -> [R, D], zeros for one without a token."""
        mask = tokens != PAD
        h = self.states(self.dropout(self.words(tokens)), mask)
        k = self.matrices(h)
        g = torch.sigmoid(self.gate(torch.cat([h, k], dim=-1)))
        return masked_mean(h + g * k, mask)


MODEL = ModelSpec(
    "treasure",
    "TREASURE, a text encoder guided by product attributes and a sparse graph attention over turns",
    Treasure,
    rank_objective,
    fitted=AttributeValues,
    preset="tuned",
    reimplemented=True,
)
