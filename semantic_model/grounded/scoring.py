"""What grounded models bring to the scoring of a catalogue, exact and chunk by chunk as the paper's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from semantic_model.data.rows import Sliced
from semantic_model.grounded.matching import Shown
from semantic_model.grounded.table import GroundedTable
from semantic_model.ranking.workers import Scratch
from semantic_model.semantic.encoders import Context
from semantic_model.semantic.scoring import MatchQuery

if TYPE_CHECKING:
    from semantic_model.grounded.model import GroundedSemantic, State

__all__ = ["EncodedDialogues", "GroundedQuery"]


@dataclass(frozen=True)
class EncodedDialogues(Sliced):
    """Contexts with a state.

    Attributes:
        worth: of having been shown [B, 2]; see :class:`Shown`.
        shown: rows of the images shown [B, R].
        shown_last: which of them the last turn with images showed [B, R].
    """

    context: Context
    state: State
    worth: Tensor
    shown: Tensor
    shown_last: Tensor


@dataclass(frozen=True)
class GroundedQuery:
    """What B contexts bring to the scoring of products."""

    match: MatchQuery | None  # None: the cosines take no part
    scale: float  # of the cosines
    fits: Tensor  # how well each pattern of values fits [U, B]
    worth: Tensor  # [B, 2]
    shown: Tensor  # [B, R]
    shown_last: Tensor  # [B, R]

    @classmethod
    def of(cls, model: GroundedSemantic, some: EncodedDialogues, table: GroundedTable) -> GroundedQuery:
        match = MatchQuery.of(model.semantic, some.context, some.state.S) if model.similarity else None
        fits = model.value_match.of_patterns(some.state.beliefs, *table.patterns)
        return cls(match, float(model.log_scale.exp()), fits, some.worth, some.shown, some.shown_last)

    def __len__(self) -> int:
        return len(self.worth)

    def __getitem__(self, part: slice) -> GroundedQuery:
        match = None if self.match is None else self.match[part]
        fits = self.fits[:, part].contiguous()
        return GroundedQuery(match, self.scale, fits, self.worth[part], self.shown[part], self.shown_last[part])

    def score(self, products: GroundedTable, scratch: Scratch, scores: Tensor) -> None:
        scores.copy_(F.embedding_bag(products.pattern_of, self.fits, mode="sum").T)
        if self.match is not None:
            scores.add_(self.match.match(products.vectors, scratch), alpha=self.scale)
        scores.add_(Shown.add(self.worth, self.shown, self.shown_last, products.image_row))
