"""What rankers are asked about: products, and dialogues at a recommendation turn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "Product", "Query", "Utterance"]

FloatArray = npt.NDArray[np.float32]


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
