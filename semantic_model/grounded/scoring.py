"""What grounded models bring to the scoring of a catalogue, exact and chunk by chunk as the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from semantic_model.data.rows import Sliced
from semantic_model.grounded.beliefs import Beliefs
from semantic_model.grounded.matching import Shown
from semantic_model.ranking.chunked_scoring import Scratch
from semantic_model.ranking.ranker import TablePrecision
from semantic_model.semantic.encoders import Context, ProductVectors
from semantic_model.semantic.scoring import MatchQuery, ProductTable

if TYPE_CHECKING:
    from semantic_model.grounded.model import GroundedSemantic, GroundedVectors, State


@dataclass
class Patterns:
    """The distinct subsets of a slot's values that products have, numbered over all slots.

    How well a product fits a dialogue is a sum over slots, and a slot's part depends on nothing but its pattern: it is
    computed once a pattern, of which a catalogue has hardly more than values, rather than once a product.
    """

    columns: Sequence[slice]  # of each slot's values
    # which values each pattern has, bool [V] each, none of other slots
    rows: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)  # the slot of each
    _numbers: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def number(self, attributes: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """The patterns of products with these values: bool [N, V] -> [N, n]; new ones are kept."""
        found = np.zeros((len(attributes), len(self.columns)), dtype=np.int32)
        for slot, columns in enumerate(self.columns):
            first, which = _distinct_rows(attributes[:, columns])
            found[:, slot] = np.array([self._find(slot, attributes[at]) for at in first], dtype=np.int32)[which]
        return found

    def _find(self, slot: int, attributes: npt.NDArray[np.bool_]) -> int:
        mine = attributes[self.columns[slot]]
        number = self._numbers.setdefault((slot, mine.tobytes()), len(self.rows))
        if number == len(self.rows):
            row = np.zeros_like(attributes)
            row[self.columns[slot]] = mine
            self.rows.append(row)
            self.slots.append(slot)
        return number


def _distinct_rows(rows: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each distinct row stands first, and which of them each row is; 64 columns at a time, as one number."""
    packed = np.packbits(rows, axis=1)
    padded = np.zeros((len(rows), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    first, which = np.zeros(min(len(rows), 1), dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    for word in padded.view(np.uint64).T:
        _, of_word = np.unique(word, return_inverse=True)
        _, first, which = np.unique(which * len(rows) + of_word, return_index=True, return_inverse=True)
    return first, which


@dataclass(frozen=True)
class GroundedTable:
    """N encoded products with the values they have."""

    vectors: ProductTable
    patterns: tuple[Tensor, Tensor]  # bool [U, V], and the slot of each [U]; see :class:`Patterns`
    pattern_of: Tensor  # of each product and slot, int32 [N, n]
    image_row: Tensor  # rows of the products' images [N]

    def __len__(self) -> int:
        return len(self.image_row)

    def __getitem__(self, part: slice) -> GroundedTable:
        """The products of a slice; nothing is copied."""
        return GroundedTable(self.vectors[part], self.patterns, self.pattern_of[part], self.image_row[part])

    def take(self, rows: Tensor, scratch: Scratch) -> GroundedTable:
        """The products ``rows`` [C]."""
        return GroundedTable(
            self.vectors.take(rows, scratch), self.patterns, self.pattern_of[rows], self.image_row[rows]
        )

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.image_row.device

    @classmethod
    def collect(
        cls,
        parts: Iterable[GroundedVectors],
        count: int,
        width: int,
        columns: Sequence[slice],
        *,
        precision: TablePrecision,
        device: torch.device,
    ) -> GroundedTable:
        """Fill a table of ``count`` products part by part, so that nothing is held twice; see :class:`ProductTable`."""
        patterns = Patterns(columns)
        pattern_of = torch.empty(count, len(columns), dtype=torch.int32)
        image_row = torch.empty(count, dtype=torch.int64, device=device)
        filled = 0

        def plain() -> Iterable[ProductVectors]:
            nonlocal filled
            for part in parts:
                rows = slice(filled, filled + len(part.image_row))
                pattern_of[rows] = torch.from_numpy(patterns.number(part.attributes.cpu().numpy()))
                image_row[rows] = part.image_row
                filled = rows.stop
                yield part.plain

        vectors = ProductTable.collect(plain(), count, width, precision=precision, device=device)
        values = max((column.stop for column in columns), default=0)
        rows = np.array(patterns.rows, dtype=np.bool_).reshape(len(patterns.rows), values)
        slots = torch.tensor(patterns.slots, dtype=torch.int64, device=device)
        return cls(vectors, (torch.from_numpy(rows).to(device), slots), pattern_of.to(device), image_row)


@dataclass(frozen=True)
class EncodedDialogues(Sliced):
    """Contexts with a state."""

    context: Context
    state: State
    read: Beliefs  # what is read off as the state: the tracker's beliefs, where there is one, else those of ``state``
    worth: Tensor  # of having been shown [B, 2]; see :class:`Shown`
    shown: Tensor  # rows of the images shown [B, R]
    shown_last: Tensor  # which of them the last turn with images showed [B, R]


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
