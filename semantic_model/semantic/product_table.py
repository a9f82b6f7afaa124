"""Encoded products as scoring wants them: float32 or bfloat16 vectors with their squared norms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from semantic_model.ranking.network import TablePrecision
from semantic_model.ranking.workers import Scratch
from semantic_model.semantic.encoders import ProductVectors

__all__ = ["Modality", "ProductTable"]

_ROWS = 1 << 12  # rows whose squares are held at a time


class Modality(NamedTuple):
    """rho of one modality.

    Attributes:
        vectors: [N, D], float32 or bfloat16.
        square: |rho|^2 [N], float32, of the vectors as they are stored.
    """

    vectors: Tensor
    square: Tensor

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
