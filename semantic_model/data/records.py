"""What rankers are asked about: products, and dialogues at a recommendation turn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Utterance(NamedTuple):
    """One merged utterance: who speaks (``user`` or ``system``), the text, and the images shown with it."""

    speaker: str
    text: str
    image_ids: tuple[str, ...]


class Query(NamedTuple):
    """One recommendation turn: what was said before it, and which products were right and wrong there."""

    dialogue_id: str  # the dialogue
    turn: int  # merged index of the system turn that recommends
    split: str  # train, valid or test
    history: tuple[Utterance, ...]  # all merged utterances before that turn, oldest first; models take their own window
    positives: tuple[int, ...]  # product rows of the products recommended
    negatives: tuple[int, ...]  # product rows of the listed wrong candidates; may be empty


class Product(NamedTuple):
    """One product of the catalogue."""

    product_id: str  # its id
    name: str  # its display name
    text: str  # name, then ``attribute value`` pairs, as rankers read it
    attributes: Mapping[str, tuple[str, ...]]  # attribute -> values
    image_id: str | None  # its first image that can be read; None without one, or when images are blanked
    image_file: Path | None  # the file of that image
    description: str = ""  # what else the catalogue says of it
    price: float | None = None  # what it costs, where the catalogue says so in numbers
    currency: str | None = None  # of the price, as the catalogue writes it
