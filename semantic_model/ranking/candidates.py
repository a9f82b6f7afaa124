"""The candidates of a training step, and how a model's scores of them become a ranking loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from semantic_model.data.rows import Rows, map_rows


class Choices(NamedTuple):
    """The candidates of a batch, as rows of its encoded products."""

    positives: Tensor  # [B, P], -1 for padding
    negatives: Tensor  # [B, N], -1 for padding
    # bool [B, products], every positive of a context; None unless the ranking loss looks at all of them
    relevant: Tensor | None = None

    def to(self, device: torch.device) -> Choices:
        """The same, where ``device`` can compute with it."""
        relevant = None if self.relevant is None else self.relevant.to(device)
        return Choices(self.positives.to(device), self.negatives.to(device), relevant)


class Scored(NamedTuple):
    """What ranking losses (:mod:`semantic_model.layers.losses`) take."""

    scores: Tensor  # [B, C], as the model gives them
    positives: Tensor  # bool [B, C]
    candidates: Tensor  # bool [B, C], which columns take part; holds the positives

    @classmethod
    def of(cls, choices: Choices, products: Rows, score: Callable[[Rows], Tensor]) -> Scored:
        """The candidates that the settings ask for, scored.

        Args:
            products: the encoded products that ``choices`` refers to.
            score: of products [N, ..] with every context, [B, N], or of candidates [B, C, ..] with their own, [B, C].
        """
        if choices.relevant is not None:
            return cls(score(products), choices.relevant, torch.ones_like(choices.relevant))
        rows = torch.cat([choices.positives, choices.negatives], dim=1)
        columns = torch.arange(rows.shape[1], device=rows.device)
        there = rows >= 0
        own = map_rows(lambda part: part[rows.clamp(min=0)], products)
        return cls(score(own), there & (columns < choices.positives.shape[1]), there)
