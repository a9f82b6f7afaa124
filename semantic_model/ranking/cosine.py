"""Networks that rank by a cosine: a vector a context, a vector a product, and the losses that these train with."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from semantic_model.config.sections import RankLossConfig
from semantic_model.data.rows import Encoded, Rows, first_tensor, map_rows
from semantic_model.layers.losses import rank_loss_of_all, softmax_rank_loss
from semantic_model.ranking.candidates import Scored
from semantic_model.ranking.model_spec import Objective, StepBatch


class CosineRanker(nn.Module):
    """Scores are cosines; contexts [B, D] and products [N, D] are encoded with length one.

    Trained with the softmax, scores are log-odds once a learned s multiplies them; with the hinge there is no s.
    """

    def __init__(self, loss: RankLossConfig) -> None:
        super().__init__()
        self.loss = loss
        self.log_scale = nn.Parameter(torch.tensor(loss.scale).log()) if loss.rank == "softmax" else None

    def score(self, contexts: Rows, products: Rows) -> Tensor:
        """Cosines of all products [N, D], or of each context's own candidates [B, C, D]."""
        if products.dim() == 2:
            found: Tensor = contexts @ products.T
            return found
        return torch.einsum("bd,bcd->bc", contexts, products)

    def log_odds(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What training takes the softmax of; cosines as they are after a hinge."""
        return scores if self.log_scale is None else scores * float(self.log_scale.detach().exp())

    vectors_are_exact = True

    def product_vectors(self, table: Encoded) -> Tensor:
        """What cosines are taken with [N, D]."""
        return first_tensor(table.rows)

    def query_vectors(self, contexts: Encoded) -> Tensor:
        """What cosines are taken of [B, D]."""
        return first_tensor(contexts.rows)

    def places(self, contexts: Encoded) -> Tensor:
        """Where contexts lie: their vectors."""
        return first_tensor(contexts.rows)


class LateCosineRanker(CosineRanker, ABC):
    """A :class:`CosineRanker` whose products depend on the query: their vectors are made for each context.

    The first tensor of an encoded context is its vector [B, D], of length one; that of an encoded product has two
    axes [N, ..], so that products shared by all contexts are told from each context's own.

    Attributes:
        pair_width: how many numbers are held of a context and a product while a pair of them is scored.
    """

    pair_width: int

    @abstractmethod
    def products_for(self, contexts: Rows, products: Rows) -> Tensor:
        """Vectors of length one [B, C, D] of products [B, C, ..], or of products of all contexts [1, C, ..]."""

    def score(self, contexts: Rows, products: Rows) -> Tensor:
        """Cosines [B, N] of all products, or [B, C] of each context's own candidates."""
        if first_tensor(products).dim() == 2:
            products = map_rows(lambda tensor: tensor[None], products)
        return torch.einsum("bd,bcd->bc", first_tensor(contexts), self.products_for(contexts, products))


def rank_objective(model: CosineRanker, step: StepBatch) -> Objective:
    """L_rank: the hinge of the paper (section 3.4), or cross-entropy, over the candidates that the settings ask for."""
    contexts, choices = model.encode_contexts(step.contexts), step.choices  # type: ignore[operator]
    scale = 1.0 if model.log_scale is None else model.log_scale.exp()
    found = Scored.of(choices, step.products, lambda some: scale * model.score(contexts, some))
    if model.log_scale is None:
        most = None if choices.relevant is not None else choices.positives.shape[1]
        loss = rank_loss_of_all(*found, margin=model.loss.margin, most=most)
    else:
        loss = softmax_rank_loss(*found)
    return Objective(loss, {"rank": loss})
