"""Enteract, the multi-form product interactions of Du, Su, Nguyen and Sun (ACM MM 2023).

Re-implemented from the published description of "Enhancing Product Representation with Multi-form Interactions for
Multimodal Conversational Recommendation", as no code is public. It names the parts: a gated encoder of an image's
global and local views; two views of a product's text, its attributes (structure) and its description (sequence);
interactions of the global view with the structure and of the local view with the sequence; and a product that attends
to the latest request. The equations are a reading of it:

    x    = Linear(mean of the image's map),  x_i = Linear(mean of cell i of a grid) + P_i
    G    = g x + (1 - g) mean_i x_i,  L_i = g_i x_i + (1 - g_i) x,  each g = sigmoid(W [first; second])
    a_m  = mean of the word vectors of attribute m, its name and its values
    (G', a'_1, ..) = (G, a_1, ..), layer by layer n <- n + ELU(GAT(n))      (every node looks at all)
    s    = SelfAttn(words of name and description + PE)
    s'   = CrossAttn(s, L, L),  L' = CrossAttn(L, s, s)
    X    = LayerNorm of G', mean_m a'_m, mean s' and mean L'                (a product: four views)
    u_t  = mean of SelfAttn(words of turn t + PE) + mean over its images of G
    c    = SelfAttn(u_1, .., u_T), its last turn
    rho  = sum_v softmax_v(q X_v / sqrt(D)) X_v, q = Linear(u_T)            (u_T: the latest request)
    f    = cos(c, rho)

An encoded product is 4 D numbers, 512 at a width of 128, and four marks that say which views it has.

Departures: what is published leaves open how views are gated, crossed and attended to; all of that is chosen here. A
catalogue without descriptions or reviews has the product's name for a sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from schemas.errors import ModelError
from semantic_model.config.sections import AttributeTextConfig, Config, MapImageConfig, RankLossConfig, Section
from semantic_model.data.attributes import AttributeReader
from semantic_model.data.batch import ContextBatch, Inputs
from semantic_model.data.tokenizer import PAD
from semantic_model.layers.attention import AttentionStack, Dropout
from semantic_model.layers.fusion import GatedFusion
from semantic_model.layers.graph import GraphAttention
from semantic_model.layers.images import ImageFeatures
from semantic_model.layers.pooling import masked_mean, masked_softmax
from semantic_model.layers.token_states import TokenStates
from semantic_model.layers.word_vectors import Positions, word_vectors
from semantic_model.ranking.cosine import LateCosineRanker, rank_objective
from semantic_model.ranking.model_spec import ModelSpec, Sizes


class EnteractConfig(Section):
    """Enteract."""

    grid: int = Field(
        default=4, ge=1, description="cells a side of the local view, that an image's map of features is averaged to"
    )
    graph_layers: int = Field(default=2, ge=1, description="layers of the graph attention over attributes and image")


class Settings(Config):
    """All settings of Enteract."""

    text: AttributeTextConfig = AttributeTextConfig()
    image: MapImageConfig = MapImageConfig()
    loss: RankLossConfig = RankLossConfig()
    enteract: EnteractConfig = EnteractConfig()


class Products(NamedTuple):
    """What is read of products."""

    attribute_tokens: Tensor  # int [N, A, V]
    description_tokens: Tensor  # int [N, L]
    image: Tensor  # float [N, F]
    image_mask: Tensor  # bool [N]


class Request(NamedTuple):
    """Encoded contexts."""

    c: Tensor  # [B, D], of length one
    q: Tensor  # [B, D]


class Views(NamedTuple):
    """Encoded products."""

    there: Tensor  # bool [N, 4], which views a product has
    X: Tensor  # [N, 4, D]


class MultiViewImages(nn.Module):
    """G and L of images [.., F] of which ``mask`` [..] are real: [.., D] and [.., cells, D], zeros without."""

    def __init__(self, config: Settings, shape: tuple[int, ...]) -> None:
        super().__init__()
        D = config.model.width
        self.grid = config.enteract.grid
        self.features = ImageFeatures(config.image, shape)
        if len(self.features.shape) != 3:
            raise ModelError(
                "Enteract looks at places within an image, and these features are one vector an image",
                fix="leave image.features empty, or bring maps along",
            )
        channels = self.features.shape[0]
        self.whole = nn.Linear(channels, D)
        self.cell = nn.Linear(channels, D)
        self.places = Positions(self.grid**2, D)
        self.gate_whole = GatedFusion(D)
        self.gate_cell = GatedFusion(D)

    def forward(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x, cells = self._views(images, mask)
        local = self.gate_cell(cells, x[..., None, :].expand_as(cells))
        return self._gated(x, cells, mask), local * mask[..., None, None]

    def whole_view(self, images: Tensor, mask: Tensor) -> Tensor:
        """G alone."""
        return self._gated(*self._views(images, mask), mask)

    def _views(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.features(images, mask)  # [.., C, H, W]
        height, width = (min(side, self.grid) for side in maps.shape[-2:])
        cells = F.adaptive_avg_pool2d(maps.flatten(0, -4), (height, width)).flatten(2).transpose(1, 2)
        cells = self.places(self.cell(cells), torch.arange(height * width, device=cells.device))
        return self.whole(maps.mean(dim=(-2, -1))), cells.unflatten(0, mask.shape)

    def _gated(self, x: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = self.gate_whole(x, cells.mean(dim=-2)) * mask[..., None]
        return found


class Enteract(LateCosineRanker):
    """Contexts as a vector and a request, products as four views."""

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__(config.loss)
        D, heads, dropout = config.model.width, config.model.heads, config.model.dropout
        self.pair_width = D
        self.words = word_vectors(config, sizes.vocabulary, sizes.word_width)
        longest = max(config.text.max_tokens, config.text.product_max_tokens)
        self.text = TokenStates(config, self.words, longest)
        self.images = MultiViewImages(config, sizes.image_shape)
        self.structure = nn.ModuleList(
            GraphAttention(D, D // heads, heads, dropout=dropout) for _ in range(config.enteract.graph_layers)
        )
        self.norm = nn.LayerNorm(D)
        self.sequence_sees = AttentionStack(config.model)
        self.cells_see = AttentionStack(config.model)
        self.over_turns = AttentionStack(config.model)
        self.turns = config.context.window
        self.turn_places = Positions(self.turns, D) if config.context.turn_positions else None
        self.request = nn.Linear(D, D)
        self.dropout = Dropout(dropout)

    def encode_contexts(self, batch: ContextBatch) -> Request:
        """c and q."""
        B, T = batch.turn_mask.shape
        tokens = batch.tokens.flatten(0, 1)
        u = masked_mean(self._text(tokens), tokens != PAD).view(B, T, self.request.in_features)
        u = u + masked_mean(self.images.whole_view(batch.images, batch.image_mask), batch.image_mask)
        turns = u
        if self.turn_places is not None:
            turns = self.turn_places(u, torch.arange(self.turns, device=u.device).flip(0)[-u.shape[1] :])
        c = self.over_turns(self.dropout(turns), batch.turn_mask)[:, -1]
        return Request(F.normalize(c, dim=-1), self.request(u[:, -1]))

    def encode_products(self, batch: Products) -> Views:
        """The views of products, whatever is asked for."""
        G, L = self.images(batch.image, batch.image_mask)
        tokens = batch.description_tokens
        there = tokens != PAD
        seen = batch.image_mask[:, None].expand(L.shape[:2])
        s = self._text(tokens)
        s_seeing, L_seeing = self.sequence_sees(s, there, L, seen), self.cells_see(L, seen, s, there)
        G_seeing, structure, has = self._structure(G, batch)
        views = [G_seeing, structure, masked_mean(s_seeing, there), L_seeing.mean(dim=1)]
        marks = torch.stack([batch.image_mask, has, there.any(dim=1), batch.image_mask], dim=1)
        return Views(marks, self.norm(torch.stack(views, dim=1)) * marks[..., None])

    def products_for(self, contexts: Request, products: Views) -> Tensor:
        """rho [B, C, D], of length one, of products [B, C, ..] or [1, C, ..]."""
        X, there = products.X, products.there
        own = "bcvd"
        if len(X) == 1:  # without a copy for each context
            X, own = X[0], "cvd"
        scores = torch.einsum(f"bd,{own}->bcv", contexts.q, X) * X.shape[-1] ** -0.5
        shares = masked_softmax(scores, there.expand_as(scores))
        return F.normalize(torch.einsum(f"bcv,{own}->bcd", shares, X), dim=-1)

    def _text(self, tokens: Tensor) -> Tensor:
        return self.text(self.dropout(self.words(tokens)), tokens != PAD)  # type: ignore[no-any-return]

    def _structure(self, G: Tensor, batch: Products) -> tuple[Tensor, Tensor, Tensor]:
        """G', the mean of a', and which products have attributes."""
        tokens = batch.attribute_tokens
        a = masked_mean(self.words(tokens), tokens != PAD)  # [N, A, D]
        there = (tokens != PAD).any(dim=2)
        nodes, real = torch.cat([G[:, None], a], dim=1), torch.cat([batch.image_mask[:, None], there], dim=1)
        sees = real[:, :, None] & real[:, None, :]
        for layer in self.structure:
            nodes = nodes + F.elu(layer(nodes, sees))
        return nodes[:, 0], masked_mean(nodes[:, 1:], there), there.any(dim=1)


MODEL = ModelSpec(
    "enteract",
    "Enteract, whose products are views of image and text that attend to the latest request",
    Enteract,
    rank_objective,
    Inputs(ContextBatch, Products),
    AttributeReader,
    preset="tuned",
    reimplemented=True,
)
