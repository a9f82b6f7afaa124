"""What every ranker is: products are encoded once, contexts once, and scores are cheap.

The paper's model, its baselines and the baselines share this protocol, so that evaluation needs no special cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["ContextTable", "FloatArray", "Product", "ProductTable", "Query", "Ranker", "Utterance"]

FloatArray = npt.NDArray[np.float32]
ProductTable = Any
"""What :meth:`Ranker.encode_products` returns; opaque to callers."""


class Utterance(NamedTuple):
    """One merged utterance: who speaks (``user`` or ``system``), the text, and the images shown with it."""

    speaker: str
    text: str
    image_ids: tuple[str, ...]


class Query(NamedTuple):
    """One recommendation turn: what was said before it, and which products were right and wrong there.

    Attributes:
        dialogue_id: the dialogue.
        turn: merged index of the system turn that recommends.
        split: train, valid or test.
        history: all merged utterances before that turn, oldest first; models take their own window.
        positives: product rows of the products recommended.
        negatives: product rows of the listed wrong candidates; may be empty.
    """

    dialogue_id: str
    turn: int
    split: str
    history: tuple[Utterance, ...]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]


class Product(NamedTuple):
    """One product of the catalogue.

    Attributes:
        product_id: its id.
        name: its display name.
        text: name, then ``attribute value`` pairs, as rankers read it.
        attributes: attribute -> values.
        image_id: its first image that can be read; None without one, or when images are blanked.
        image_file: the file of that image.
    """

    product_id: str
    name: str
    text: str
    attributes: Mapping[str, tuple[str, ...]]
    image_id: str | None
    image_file: Path | None


class ContextTable(Protocol):
    """Encoded contexts; opaque but for their number and for slices of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> ContextTable: ...


class Ranker(Protocol):
    """Scores products for dialogue contexts."""

    name: str

    def encode_products(self, products: Sequence[Product]) -> ProductTable:
        """Encode a catalogue once."""

    def encode_contexts(self, queries: Sequence[Query]) -> Any:
        """Encode contexts; the result supports ``len()`` and slices (:class:`ContextTable`)."""

    def score(self, contexts: Any, table: ProductTable, candidates: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Relevance scores, higher is better.

        Args:
            contexts: B encoded contexts.
            table: N encoded products.
            candidates: product rows [B, C] to score, -1 for padding; None scores the whole table.

        Returns:
            float32 [B, N], or [B, C] with -inf where a candidate is padding.
        """
