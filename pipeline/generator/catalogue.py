"""The catalogue: products drawn in families of colour variants, or read from a CSV file and a folder of images.

Part of what a product looks like only its image tells.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from random import Random
from urllib.parse import quote

from pipeline.corpus.csv_files import read_csv
from pipeline.corpus.images import canonical_url, file_name, place_of
from pipeline.generator.vocabulary import (
    BRANDS,
    CARE_OF,
    COLLECTIONS,
    COLOUR_WEIGHTS,
    GARMENTS,
    PALETTE,
    PRINTS,
    SLOT_OF,
    STYLES,
    VISIBLE,
    Garment,
    load,
)
from schemas.errors import CorpusError, UsageError
from schemas.folding import fold, fold_name
from schemas.validation import did_you_mean

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
        values = self.attributes.get(attribute)
        return values[0] if values else None


def drawn_catalogue(count: int, rng: Random) -> list[CatalogueProduct]:
    """``count`` products; about half of them leave colour, print or sleeves to their image."""
    products: list[CatalogueProduct] = []
    stems = rng.sample(range(1_000_000, 10_000_000), count)
    colours = {colour: COLOUR_WEIGHTS.get(colour, 2) for colour in PALETTE}
    for garment, share in zip(GARMENTS, _shares(count), strict=True):
        made = 0
        while made < share:
            design = _design(garment, rng)
            collection = rng.choice(COLLECTIONS)
            variants = min(share - made, rng.choice((1, 1, 2, 2, 3, 4)))
            price = float(rng.randint(*garment.prices)) - rng.choice((0.0, 0.01, 0.05, 0.5))
            for colour in _weighted_sample(colours, variants, rng):
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


_KNOWN_NAMES: Mapping[str, Sequence[str]] = load("columns.toml")
FIELDS = tuple(_KNOWN_NAMES)
"""What a column can be mapped to: a field of the product, or an attribute that dialogues speak of."""

_UNKNOWN = frozenset(("", "na", "n/a", "nan", "none", "null", "unknown", "-", "other"))
_IMAGES = frozenset((".jpg", ".jpeg", ".png", ".webp"))
_HIDDEN_SHARE = 0.45


@dataclass(frozen=True)
class RealCatalogue:
    """Products read from a file, and what became of its rows."""

    products: tuple[CatalogueProduct, ...]  # those that can be used, in the order of the file
    columns: Mapping[str, str]  # field -> column it was read from
    rows: int  # rows in the file
    dropped: Mapping[str, int]  # reason -> rows that could not be used


def parse_columns(options: Sequence[str]) -> dict[str, str]:
    """``["color=baseColour"]`` -> ``{"color": "baseColour"}``; an empty column leaves the field out.

    Raises:
        UsageError: not of that form, or a field that products do not have.
    """
    columns: dict[str, str] = {}
    for option in options:
        field, equals, column = option.partition("=")
        if not equals:
            raise UsageError(f"'{option}' maps nothing", fix="write --column FIELD=COLUMN, as in color=baseColour")
        if field not in FIELDS:
            fix = did_you_mean(field, FIELDS, f"fields: {', '.join(FIELDS)}")
            raise UsageError(f"no such product field '{field}'", fix=fix)
        columns[field] = column
    return columns


def read_catalogue(
    file: Path, images: Path, *, columns: Mapping[str, str] | None = None, count: int | None = None, seed: int = 0
) -> RealCatalogue:
    """Read a catalogue; about half of its products leave colour, print and sleeves to their images.

    What a product leaves out is also taken out of its name here; the file itself stays as it is.

    Args:
        file: CSV with a header line, UTF-8, commas between cells.
        images: folder of images, named in the column mapped to ``image``, by file or by links that end in it, else
            ``<id>.jpg`` (or png, webp). Where different links or paths end in one name, nobody knows whose file it is.
        columns: field -> column; fields not named are guessed from common column names, "" leaves one out.
        count: keep about so many products, of the commonest types; None keeps all.
        seed: chooses which products are kept and what is left out.

    Raises:
        CorpusError: the file or folder cannot be read, or holds nothing of use.
        UsageError: a mapped column does not exist, or no column was found for ``id``, ``name`` or ``type``.
    """
    table = read_csv(file)
    mapped = _map_columns(table.header, columns or {}, file)
    photos = _Photos(images, (row[table.header.index(mapped["image"])] for _, row in table.rows if "image" in mapped))
    dropped = Counter({"columns do not match the header": len(table.ragged)} if table.ragged else {})
    products: dict[str, CatalogueProduct] = {}
    for _, row in table.rows:
        cells = dict(zip(table.header, row, strict=True))
        product = _product({field: cells[column].strip() for field, column in mapped.items()}, photos)
        if isinstance(product, str):
            dropped[product] += 1
        elif product.stem in products:
            dropped["repeated id"] += 1
        else:
            products[product.stem] = product
    if not products:
        reasons = ", ".join(f"{reason}: {number}" for reason, number in sorted(dropped.items()))
        raise CorpusError(
            f"no product can be used ({reasons or 'no rows'})", where=file, fix="see --column and --images"
        )
    kept = list(products.values())
    if count is not None and count < len(kept):
        dropped["not sampled"] = len(kept) - count
        kept = _sample(kept, count, Random(f"{seed}/sample"))
    rows = len(table.rows) + len(table.ragged)
    return RealCatalogue(tuple(_hide(kept, Random(f"{seed}/hidden"))), mapped, rows, dict(sorted(dropped.items())))


def _map_columns(header: Sequence[str], given: Mapping[str, str], file: Path) -> dict[str, str]:
    by_name = {fold_name(column): column for column in reversed(header)}
    mapped: dict[str, str] = {}
    for field, names in _KNOWN_NAMES.items():
        if field in given:
            column = given[field]
            if column and column not in header:
                fix = did_you_mean(column, header, f"columns: {', '.join(header)}")
                raise UsageError(f"no column '{column}'", where=file, fix=fix)
            if column:
                mapped[field] = column
            continue
        found = next((by_name[fold_name(name)] for name in names if fold_name(name) in by_name), None)
        if found is not None:
            mapped[field] = found
    for field in ("id", "name", "type"):
        if field not in mapped:
            raise UsageError(f"no column for '{field}' found", where=file, fix=f"name it with --column {field}=COLUMN")
    return mapped


class _Photos:
    """The files of a folder of images, and which row each is of."""

    def __init__(self, folder: Path, references: Iterable[str]) -> None:
        if not folder.is_dir():
            raise CorpusError("no such folder of images", where=folder)
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
        self._of_name = {path.name: path for path in files}
        self._of_stem: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files:
            self._of_stem[path.stem].append(path)
        self._places: defaultdict[str, set[str]] = defaultdict(set)
        for reference in references:
            self._places[self._name(reference)].add(place_of(canonical_url(reference)))

    def find(self, reference: str, number: str) -> Path | str:
        """The image of a row by what it names, else by its id; or why there is none."""
        name = self._name(reference)
        several = False
        for named in (name, number):
            found = [self._of_name[named]] if named in self._of_name else self._of_stem.get(named, [])
            if len(found) == 1 and (named != name or len(self._places[name]) < 2):
                return found[0]
            several = several or bool(found)
        return "an image of several" if several else "no image"

    def _name(self, reference: str) -> str:
        reference = reference.strip()
        return PurePosixPath(reference).name if reference in self._of_name else file_name(canonical_url(reference))


def _product(cells: Mapping[str, str], photos: _Photos) -> CatalogueProduct | str:
    """The product of a row, or the reason why it is none."""
    number, kind, name = (_known(cells[field]) for field in ("id", "type", "name"))
    if not number or not kind or not name:
        return "no id, type or name"
    photo = photos.find(cells.get("image", ""), number)
    if isinstance(photo, str):
        return photo
    attributes: dict[str, tuple[str, ...]] = {}
    for attribute in SLOT_OF:
        value = _known(cells.get(attribute, ""))
        if attribute == "available_sizes" and value:
            attributes[attribute] = tuple(
                dict.fromkeys(part.strip() for part in re.split(r"[,;|]", value) if part.strip())
            )
        elif value:
            attributes[attribute] = (value,)
    stem = re.sub(r"[^\w-]", "_", number)
    suffix = photo.suffix.lower()
    description = _known(cells.get("description", ""))
    return CatalogueProduct(
        stem=stem,
        url=link_of(quote(stem), suffix),
        image=f"{stem}{suffix}",
        name=name,
        attributes=attributes,
        taxonomy="/".join(part for part in (cells.get("gender", ""), cells.get("taxonomy", ""), kind) if part),
        price=_known(cells.get("price", "")) or None,
        currency=_known(cells.get("currency", "")),
        details=(description,) if description else (),
        photo=photo,
    )


def _known(text: str) -> str:
    return "" if fold(text) in _UNKNOWN else " ".join(text.split())


def _sample(products: Sequence[CatalogueProduct], count: int, rng: Random) -> list[CatalogueProduct]:
    """``count`` products of the commonest types, about thirty or more of each type, in their own order."""
    by_type: dict[str, list[int]] = defaultdict(list)
    for index, product in enumerate(products):
        by_type[product.value("type") or ""].append(index)
    kinds = sorted(by_type, key=lambda kind: (-len(by_type[kind]), kind))[: max(3, count // 30)]
    available = [index for kind in kinds for index in by_type[kind]]
    rest = sorted(set(range(len(products))) - set(available))
    if len(available) < count:
        available += rest[: count - len(available)]
    return [products[index] for index in sorted(rng.sample(available, count))]


def _hide(products: Sequence[CatalogueProduct], rng: Random) -> Iterable[CatalogueProduct]:
    words = {attribute: _words_of(products, attribute) for attribute in VISIBLE}
    for product in products:
        hidden = frozenset(name for name in VISIBLE if name in product.attributes and rng.random() < _HIDDEN_SHARE)
        name, details = product.name, product.details
        for attribute in sorted(hidden):
            name = " ".join(words[attribute].sub(" ", name).split()) or product.attributes["type"][0]
            details = tuple(" ".join(words[attribute].sub(" ", text).split()) for text in details)
        yield replace(product, unwritten=hidden, name=name, details=details)


def _words_of(products: Sequence[CatalogueProduct], attribute: str) -> re.Pattern[str]:
    """Matches every word of every value of an attribute."""
    values = {value for product in products for value in product.attributes.get(attribute, ())}
    words = {word for value in values for word in re.findall(r"\w+", value) if len(word) > 2}
    if not words:
        return re.compile(r"(?!)")
    return re.compile(r"\b(?:" + "|".join(re.escape(word) for word in sorted(words)) + r")\b", re.IGNORECASE)
