"""f(tau, rho) of candidates or of a whole catalogue, by the Gram form (section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from semantic_model.data.rows import Sliced
from semantic_model.ranking.chunked_scoring import Scratch
from semantic_model.ranking.ranker import TablePrecision
from semantic_model.semantic.encoders import Context, ProductVectors
from semantic_model.semantic.gram import GramQuery, gram_cosine, gram_cosine_

if TYPE_CHECKING:
    from semantic_model.semantic.model import Semantic


_ROWS = 1 << 12  # rows whose squares are held at a time


class Modality(NamedTuple):
    """rho of one modality."""

    vectors: Tensor  # [N, D], float32 or bfloat16
    square: Tensor  # |rho|^2 [N], float32, of the vectors as they are stored

    @classmethod
    def of(cls, vectors: Tensor) -> Modality:
        """Squared norms, a few rows at a time."""
        square = torch.empty(len(vectors), device=vectors.device)
        for start in range(0, len(vectors), _ROWS):
            part = vectors[start : start + _ROWS].float()
            torch.linalg.vecdot(part, part, out=square[start : start + _ROWS])
        return cls(vectors, square)

    def take(self, rows: Tensor, scratch: Scratch, name: str) -> Modality:
        """The rows [C], in memory of ``scratch`` under that name."""
        width = self.vectors.shape[1]
        vectors = scratch.tensor(name, len(rows), width, dtype=self.vectors.dtype)
        return Modality(torch.index_select(self.vectors, 0, rows, out=vectors), self.square[rows])


@dataclass(frozen=True)
class ProductTable:
    """N encoded products."""

    text: Modality
    image: Modality  # zeros without an image
    image_mask: Tensor  # bool [N]

    def __len__(self) -> int:
        return len(self.image_mask)

    def __getitem__(self, part: slice) -> ProductTable:
        """The products of a slice; nothing is copied."""
        text, image = (Modality(m.vectors[part], m.square[part]) for m in (self.text, self.image))
        return ProductTable(text, image, self.image_mask[part])

    def take(self, rows: Tensor, scratch: Scratch) -> ProductTable:
        """The products ``rows`` [C], in memory of ``scratch``."""
        return ProductTable(
            self.text.take(rows, scratch, "text"), self.image.take(rows, scratch, "image"), self.image_mask[rows]
        )

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.text.vectors.device

    @classmethod
    def of(cls, products: ProductVectors) -> ProductTable:
        """Encoded products in the precision they come in."""
        return cls(Modality.of(products.rho_T), Modality.of(products.rho_I), products.image_mask)

    @classmethod
    def collect(
        cls, parts: Iterable[ProductVectors], count: int, width: int, *, precision: TablePrecision, device: torch.device
    ) -> ProductTable:
        """Fill a table of ``count`` products part by part, so that nothing is held twice."""
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        text, image = (torch.empty(count, width, dtype=dtype, device=device) for _ in range(2))
        image_mask = torch.empty(count, dtype=torch.bool, device=device)
        start = 0
        for part in parts:
            rows = slice(start, start + len(part.image_mask))
            for stored, encoded in zip((text, image, image_mask), part, strict=True):
                stored[rows] = encoded
            start = rows.stop
        return cls(Modality.of(text), Modality.of(image), image_mask)


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
    """What B contexts bring to the scoring of products, of both modalities."""

    text: GramQuery
    image: GramQuery
    weights: tuple[float, float]  # of the text and the image cosine

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
