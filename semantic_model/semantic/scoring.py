"""f(tau, rho) of candidates or of a whole catalogue, by the Gram form (section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semantic_model.data.rows import Sliced
from semantic_model.ranking.workers import Scratch
from semantic_model.semantic.encoders import Context, ProductVectors
from semantic_model.semantic.gram import gram_cosine
from semantic_model.semantic.gram_in_place import GramQuery, gram_cosine_
from semantic_model.semantic.product_table import ProductTable

if TYPE_CHECKING:
    from semantic_model.semantic.model import Semantic

__all__ = ["EncodedContexts", "MatchQuery", "gram_cosine", "match_all"]


def match_all(model: Semantic, context: Context, products: ProductVectors, S: Tensor) -> Tensor:
    """cos(x_CT, x_PT) + cos(x_CI, x_PI) of every product with every context: [B, N]; with gradients.

    ``products`` may also be candidates of their own for each context, [B, C, D]: then [B, C].
    """
    found = []
    for dsi, c, X_0 in ((model.dsi_T, context.c_T, products.rho_T), (model.dsi_I, context.c_I, products.rho_I)):
        stack = dsi.states(S)
        found.append(gram_cosine(dsi, dsi.interact(c[:, None], stack).x[:, 0], stack, X_0))
    w = model.modality_weights
    return w[0] * found[0] + w[1] * found[1]


@dataclass(frozen=True)
class EncodedContexts(Sliced):
    """Contexts with a state, ready to score."""

    context: Context
    S: Tensor  # [B, n, D]


@dataclass(frozen=True)
class MatchQuery:
    """What B contexts bring to the scoring of products, of both modalities.

    Attributes:
        weights: of the text and the image cosine.
    """

    text: GramQuery
    image: GramQuery
    weights: tuple[float, float]

    @classmethod
    def of(cls, model: Semantic, context: Context, S: Tensor) -> MatchQuery:
        """Of contexts with their states, as :func:`match_all` takes them."""
        queries = []
        for dsi, c in ((model.dsi_T, context.c_T), (model.dsi_I, context.c_I)):
            stack = dsi.states(S)
            queries.append(GramQuery.of(dsi, dsi.interact(c[:, None], stack).x[:, 0], stack))
        text, image = model.modality_weights.tolist()
        return cls(queries[0], queries[1], (text, image))

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, part: slice) -> MatchQuery:
        return MatchQuery(self.text[part], self.image[part], self.weights)

    def match(self, products: ProductTable, scratch: Scratch) -> Tensor:
        """As :func:`match_all`, without gradients: [B, N], in memory that the next call uses again."""
        found = scratch.tensor("match", len(self), len(products))
        w = self.weights
        torch.mul(gram_cosine_(self.text, *products.text, scratch), w[0], out=found)
        return found.add_(gram_cosine_(self.image, *products.image, scratch), alpha=w[1])

    def score(self, products: ProductTable, scratch: Scratch, scores: Tensor) -> None:
        """f(tau, rho) = tanh of the match (section 3.3), into ``scores`` [B, N]."""
        torch.tanh(self.match(products, scratch), out=scores)
