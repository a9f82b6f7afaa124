"""What there is in the generated world, of ``data/vocabulary.toml``: garments, their attributes, colours, brands.

Attribute names are the product keys of MMD's catalogue (``type``, ``color``, ``sleeves`` ...), plus ``print``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def load(name: str) -> dict[str, Any]:
    """A file of ``data``; keys are in its order."""
    return tomllib.loads(Path(__file__).with_name("data").joinpath(name).read_text("utf-8"))


_given = load("vocabulary.toml")

SLOT_OF: Mapping[str, str] = _given["slot_of"]
"""Product attribute -> slot of the belief state."""
VISIBLE: Sequence[str] = _given["visible"]
"""Attributes that every image shows and that the text of some products leaves out."""
PALETTE: Mapping[str, tuple[int, int, int]] = {name: (r, g, b) for name, (r, g, b) in _given["palette"].items()}
"""Colour name -> sRGB of the cloth."""
COLOUR_WEIGHTS: Mapping[str, int] = _given["colour_weights"]
PRINTS: Mapping[str, int] = _given["prints"]
"""Print -> weight with which it occurs."""
STYLES: Mapping[str, int] = _given["styles"]
BRANDS: Sequence[str] = _given["brands"]
COLLECTIONS: Sequence[str] = _given["collections"]
CARE_OF: Mapping[str, str] = _given["care_of"]


@dataclass(frozen=True)
class Garment:
    """One kind of product."""

    type: str  # its name, the value of the attribute ``type``
    taxonomy: str  # its place in a shop's tree
    weight: int  # how often it occurs
    materials: Sequence[str]  # what it can be made of
    prices: tuple[int, int]  # lowest and highest price
    genders: Sequence[str] = ("women", "men")  # whom it is made for
    # sleeves, necks, lengths, fits: what varies of it; empty where it has no such thing
    sleeves: Sequence[str] = ()
    necks: Sequence[str] = ()
    lengths: Sequence[str] = ()
    fits: Sequence[str] = ()
    sizes: Sequence[str] = ("XS", "S", "M", "L", "XL", "XXL")  # sizes it is sold in


GARMENTS = tuple(Garment(**garment) for garment in _given["garments"])
"""Every garment of the drawn catalogue."""
