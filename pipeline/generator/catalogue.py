"""The drawn catalogue: products in families of colour variants, part of whose looks only their image tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from pipeline.generator.vocabulary import (
    BRANDS,
    CARE_OF,
    COLLECTIONS,
    COLOUR_WEIGHTS,
    GARMENTS,
    PALETTE,
    PRINTS,
    STYLES,
    VISIBLE,
    Garment,
)

FAULTS = ("dead_link", "missing_image", "broken_image", "missing_json", "broken_json")
"""What can be wrong with a product's files.

``dead_link``: its link has no file name and no file; ``missing_image``: a file name without the file;
``broken_image``: a file that is no image; ``missing_json``, ``broken_json``: an image without readable attributes.
"""

_SHOP = "http://shop.example.invalid/p/"


@dataclass(frozen=True)
class CatalogueProduct:
    """One product as it really is, and what its JSON file leaves out."""

    stem: str  # name of its JSON file and of its image, without suffix
    url: str  # link that dialogues use for it
    image: str  # file name of its image
    name: str  # title; says nothing that ``unwritten`` hides
    attributes: Mapping[str, tuple[str, ...]]  # attribute -> values, the whole truth
    unwritten: frozenset[str] = frozenset()  # attributes that can only be seen in the image
    taxonomy: str = ""  # place in the shop's tree
    # in ``currency``; of a real product as its catalogue writes it, for the import to read; None when unknown
    price: float | str | None = None
    currency: str = "USD"  # ISO code; "" when unknown
    details: tuple[str, ...] = ()  # sentences of its description
    photo: Path | None = None  # the image to copy, for a real catalogue; None when it is to be drawn
    fault: str = ""  # one of :data:`FAULTS`, or empty

    def value(self, attribute: str) -> str | None:
        """The first value of an attribute, or None."""
        values = self.attributes.get(attribute)
        return values[0] if values else None


def drawn_catalogue(count: int, rng: Random) -> list[CatalogueProduct]:
    """``count`` products; about half of them leave colour, print or sleeves to their image."""
    products: list[CatalogueProduct] = []
    stems = rng.sample(range(1_000_000, 10_000_000), count)
    shares = _shares(count)
    for garment, share in zip(GARMENTS, shares, strict=True):
        made = 0
        while made < share:
            design = _design(garment, rng)
            collection = rng.choice(COLLECTIONS)
            variants = min(share - made, rng.choice((1, 1, 2, 2, 3, 4)))
            price = float(rng.randint(*garment.prices)) - rng.choice((0.0, 0.01, 0.05, 0.5))
            for colour in _weighted_sample(_colour_weights(), variants, rng):
                stem = str(stems[len(products)])
                attributes = {"type": (garment.type,), "color": (colour,), **design}
                attributes["available_sizes"] = _sizes(garment.sizes, rng)
                products.append(_written(stem, garment, attributes, collection, price, rng))
                made += 1
    rng.shuffle(products)
    return products


def plant_faults(products: Iterable[CatalogueProduct], each: int, rng: Random) -> list[CatalogueProduct]:
    """The same products, ``each`` of them (in different ones) with each of the :data:`FAULTS`."""
    products = list(products)
    chosen = rng.sample(range(len(products)), each * len(FAULTS))
    for place, index in enumerate(chosen):
        products[index] = replace(products[index], fault=FAULTS[place % len(FAULTS)])
    return products


def link_of(stem: str, suffix: str) -> str:
    """The link under which dialogues show an image."""
    return f"{_SHOP}{stem}{suffix}"


def _shares(count: int) -> list[int]:
    total = sum(garment.weight for garment in GARMENTS)
    shares = [max(1, count * garment.weight // total) for garment in GARMENTS]
    for index in range(abs(count - sum(shares))):
        shares[index % len(shares)] += 1 if sum(shares) < count else -1
    return shares


def _colour_weights() -> dict[str, int]:
    return {colour: COLOUR_WEIGHTS.get(colour, 2) for colour in PALETTE}


def _weighted_sample(weights: Mapping[str, int], count: int, rng: Random) -> list[str]:
    left = dict(weights)
    chosen = []
    for _ in range(count):
        value = _weighted(left, rng)
        chosen.append(value)
        del left[value]
    return chosen


def _weighted(weights: Mapping[str, int], rng: Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _skewed(values: Sequence[str], rng: Random) -> str:
    """The first values oftener than the last, as in shops."""
    return rng.choices(values, [1 / (rank + 2) for rank in range(len(values))])[0]


def _design(garment: Garment, rng: Random) -> dict[str, tuple[str, ...]]:
    """What the colour variants of one design share."""
    material = _skewed(garment.materials, rng)
    design = {"print": _weighted(PRINTS, rng)}
    for attribute, values in (("sleeves", garment.sleeves), ("neck", garment.necks), ("length", garment.lengths)):
        if values:
            design[attribute] = rng.choice(values)
    if garment.fits:
        design["fit"] = _skewed(("regular", "slim", "loose"), rng)
    design |= {
        "material": material,
        "style": _weighted(STYLES, rng),
        "brand": _skewed(BRANDS, rng),
        "gender": rng.choice(garment.genders),
        "care": CARE_OF[material],
    }
    return {attribute: (value,) for attribute, value in design.items()}


def _sizes(sizes: Sequence[str], rng: Random) -> tuple[str, ...]:
    if len(sizes) == 1:
        return tuple(sizes)
    kept = [size for size in sizes if rng.random() < 0.6]
    return tuple(kept) or (rng.choice(sizes),)


def _written(
    stem: str, garment: Garment, attributes: Mapping[str, tuple[str, ...]], collection: str, price: float, rng: Random
) -> CatalogueProduct:
    unwritten: frozenset[str] = frozenset()
    if rng.random() < 0.55:
        unwritten = frozenset(name for name in VISIBLE if name in attributes and rng.random() < 0.85)
    suffix = ".png" if rng.random() < 0.08 else ".jpg"
    link = f"look%20{stem}" if rng.random() < 0.02 else stem
    return CatalogueProduct(
        stem=stem,
        url=link_of(link, suffix),
        image=f"{stem}{suffix}",
        name=_name(attributes, unwritten, collection, rng),
        attributes=attributes,
        unwritten=unwritten,
        taxonomy=f"{attributes['gender'][0]}/{garment.taxonomy}",
        price=price,
        details=_details(attributes, rng),
    )


def _name(attributes: Mapping[str, tuple[str, ...]], unwritten: frozenset[str], collection: str, rng: Random) -> str:
    words = [attributes["brand"][0], collection]
    if rng.random() < 0.5:
        words.append(attributes["gender"][0])
    for attribute in ("color", "print", "length", "sleeves", "material"):
        value = attributes.get(attribute, ("",))[0]
        if value and value != "plain" and attribute not in unwritten and rng.random() < 0.5:
            words.append(f"{value} sleeve" if attribute == "sleeves" and value != "sleeveless" else value)
    return " ".join([*words, attributes["type"][0]])


def _details(attributes: Mapping[str, tuple[str, ...]], rng: Random) -> tuple[str, ...]:
    kind, material, style = (attributes[name][0] for name in ("type", "material", "style"))
    first = rng.choice((f"Made of soft {material}.", f"Fine {material}, made to last.", f"{material.capitalize()}."))
    plural = kind if kind.endswith("s") and kind != "dress" else f"A {kind}"
    second = rng.choice((f"{plural.capitalize()} for {style} days.", f"A {style} favourite.", f"For {style} wear."))
    return (first, second)
