"""Cosine similarity."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["EPSILON", "cosine"]

EPSILON = 1e-8
"""Smallest norm that cosines divide by: a zero vector has cosine 0 with everything."""


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """cos(x, y) over the last axis."""
    return F.cosine_similarity(x, y, dim=-1, eps=EPSILON)
