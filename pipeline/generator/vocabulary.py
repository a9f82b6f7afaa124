"""What there is in the generated world: garments and their attributes, colours, prints, brands.

Attribute names are the product keys of MMD's catalogue (``type``, ``color``, ``sleeves`` ...), plus ``print``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "BRANDS",
    "CARE_OF",
    "COLLECTIONS",
    "GARMENTS",
    "PALETTE",
    "PRINTS",
    "SLOT_OF",
    "STYLES",
    "VISIBLE",
    "Garment",
]

SLOT_OF: Mapping[str, str] = {
    "type": "types",
    "gender": "gender",
    "color": "colors",
    "print": "print",
    "sleeves": "sleeves",
    "neck": "neck",
    "length": "length",
    "material": "materials",
    "style": "styles",
    "fit": "fit",
    "brand": "brand",
    "care": "care",
    "available_sizes": "sizes",
    "season": "season",
    "age": "age",
}
"""Product attribute -> slot of the belief state, named as MMD-v3 names them (``sleeves``, ``neck`` and ``season`` are
ours; the paper's Figure 1 has sleeves)."""

VISIBLE = ("color", "print", "sleeves")
"""Attributes that every image shows and that the text of some products leaves out."""

PALETTE: Mapping[str, tuple[int, int, int]] = {
    "black": (38, 38, 42),
    "white": (250, 250, 248),
    "grey": (146, 149, 154),
    "red": (205, 38, 46),
    "pink": (243, 152, 182),
    "orange": (240, 132, 36),
    "yellow": (247, 210, 62),
    "green": (50, 146, 80),
    "blue": (62, 130, 214),
    "navy": (34, 48, 106),
    "purple": (128, 72, 166),
    "brown": (118, 76, 48),
    "beige": (226, 198, 150),
}
"""Colour name -> sRGB of the cloth."""

COLOUR_WEIGHTS = {"black": 5, "white": 4, "blue": 4, "red": 4, "navy": 3, "green": 3, "grey": 3, "pink": 3}
PRINTS: Mapping[str, int] = {"plain": 10, "striped": 6, "checked": 4, "dotted": 4, "floral": 4, "zigzag": 2}
"""Print -> weight with which it occurs."""

STYLES: Mapping[str, int] = {"casual": 6, "formal": 4, "party": 3, "sporty": 3, "vintage": 2}
BRANDS = (
    "Norrvik",
    "Casa Lumo",
    "Feldmark",
    "Ostra Lane",
    "Pilu",
    "Haldenby",
    "Verano Blu",
    "Quillon",
    "Mirabelle & Co",
    "Tarnside",
)
COLLECTIONS = (
    *("Ada", "Alba", "Aspen", "Birch", "Briar", "Calla", "Cedar", "Clio", "Coral", "Dara", "Delta", "Ebba", "Elm"),
    *("Esme", "Fern", "Flint", "Freya", "Gala", "Hazel", "Heath", "Ida", "Iris", "Isla", "Ivy", "Juno", "Kaia"),
    *("Lark", "Lena", "Linnea", "Luna", "Mabel", "Marlow", "Maud", "Mira", "Nell", "Nova", "Odette", "Opal", "Orla"),
    *("Pearl", "Petra", "Quinn", "Remy", "Rhea", "Rowan", "Ruth", "Sable", "Saga", "Skye", "Sorrel", "Talia", "Tess"),
    *("Thea", "Tilda", "Una", "Vela", "Vera", "Wilma", "Wren", "Xenia", "Yara", "Yves", "Zara May", "Zelda"),
)
CARE_OF: Mapping[str, str] = {
    "cotton": "machine wash",
    "denim": "machine wash",
    "polyester": "machine wash",
    "linen": "machine wash",
    "canvas": "machine wash",
    "viscose": "hand wash",
    "wool": "hand wash",
    "straw": "hand wash",
    "silk": "dry clean",
    "cashmere": "dry clean",
    "leather": "wipe clean",
    "suede": "wipe clean",
}

_CLOTHES_SIZES = ("XS", "S", "M", "L", "XL", "XXL")
_SHOE_SIZES = ("36", "37", "38", "39", "40", "41", "42", "43", "44")


@dataclass(frozen=True)
class Garment:
    """One kind of product.

    Attributes:
        type: its name, the value of the attribute ``type``.
        taxonomy: its place in a shop's tree.
        weight: how often it occurs.
        genders: whom it is made for.
        materials: what it can be made of.
        prices: lowest and highest price.
        sleeves, necks, lengths, fits: what varies of it; empty where it has no such thing.
        sizes: sizes it is sold in.
    """

    type: str
    taxonomy: str
    weight: int
    materials: tuple[str, ...]
    prices: tuple[int, int]
    genders: tuple[str, ...] = ("women", "men")
    sleeves: tuple[str, ...] = ()
    necks: tuple[str, ...] = ()
    lengths: tuple[str, ...] = ()
    fits: tuple[str, ...] = ()
    sizes: tuple[str, ...] = field(default=_CLOTHES_SIZES)


_FITS = ("slim", "regular", "loose")
_ALL_SLEEVES = ("sleeveless", "short", "long")

GARMENTS: tuple[Garment, ...] = (
    Garment(
        "dress",
        "clothing/dresses",
        8,
        ("cotton", "silk", "linen", "viscose", "polyester"),
        (35, 180),
        genders=("women",),
        sleeves=_ALL_SLEEVES,
        necks=("round neck", "v-neck"),
        lengths=("mini", "knee-length", "maxi"),
    ),
    Garment(
        "skirt",
        "clothing/skirts",
        6,
        ("cotton", "denim", "wool", "silk", "leather"),
        (25, 110),
        genders=("women",),
        lengths=("mini", "knee-length", "maxi"),
    ),
    Garment(
        "shirt",
        "clothing/tops/shirts",
        8,
        ("cotton", "linen", "silk", "polyester", "denim"),
        (25, 120),
        sleeves=("short", "long"),
        fits=_FITS,
    ),
    Garment(
        "t-shirt",
        "clothing/tops/t-shirts",
        8,
        ("cotton", "linen", "viscose", "polyester"),
        (10, 60),
        sleeves=_ALL_SLEEVES,
        necks=("round neck", "v-neck"),
        fits=_FITS,
    ),
    Garment(
        "sweater",
        "clothing/tops/knitwear",
        7,
        ("wool", "cashmere", "cotton", "polyester"),
        (30, 190),
        sleeves=_ALL_SLEEVES,
        necks=("round neck", "v-neck", "turtleneck"),
        fits=_FITS,
    ),
    Garment(
        "jacket",
        "clothing/outerwear/jackets",
        6,
        ("denim", "leather", "polyester", "cotton", "suede"),
        (50, 320),
        sleeves=("sleeveless", "long"),
        fits=_FITS,
    ),
    Garment(
        "coat",
        "clothing/outerwear/coats",
        5,
        ("wool", "cashmere", "polyester", "cotton"),
        (80, 420),
        lengths=("knee-length", "maxi"),
        fits=("slim", "regular", "loose"),
    ),
    Garment(
        "trousers",
        "clothing/bottoms/trousers",
        6,
        ("cotton", "wool", "linen", "denim", "polyester"),
        (30, 140),
        lengths=("cropped", "full-length"),
        fits=_FITS,
    ),
    Garment("shorts", "clothing/bottoms/shorts", 5, ("cotton", "linen", "denim", "polyester"), (15, 70), fits=_FITS),
    Garment("sneakers", "shoes/sneakers", 6, ("canvas", "leather", "suede", "polyester"), (35, 160), sizes=_SHOE_SIZES),
    Garment("boots", "shoes/boots", 4, ("leather", "suede", "canvas"), (60, 280), sizes=_SHOE_SIZES),
    Garment(
        "heels",
        "shoes/heels",
        4,
        ("leather", "suede", "silk"),
        (45, 240),
        genders=("women",),
        sizes=_SHOE_SIZES[:6],
    ),
    Garment(
        "handbag", "accessories/handbags", 5, ("leather", "suede", "canvas", "cotton"), (30, 350), sizes=("one size",)
    ),
    Garment("hat", "accessories/hats", 4, ("straw", "wool", "cotton", "leather"), (15, 90), sizes=("S", "M", "L")),
)
"""Every garment of the drawn catalogue."""
