"""A catalogue: fields of records as attributes, one product per id, attributes under one name each, prices and numbers.

It tells which product a reference in a dialogue means.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from pipeline.corpus.images import ImageReferences, file_stem, place_of
from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.parsing import UNKNOWN, as_text, pairs, snake_case, split_values, structure
from pipeline.corpus.records import CandidateKind, ProductRecord, SplitShares
from schemas.errors import CorpusError
from schemas.folding import fold, fold_name
from schemas.numbers import (
    THREE_DECIMALS,
    DecimalMark,
    Number,
    currency_of,
    decimal_mark_of,
    number_text,
    read_number,
    same_currency,
)
from schemas.ontology import CATEGORY_ATTRIBUTES

NOT_ATTRIBUTES = frozenset(
    "id product_id name title site source currency url link image images image_type image_url image_filename "
    "image_filename_all similar_items description more_info details review reviews review_stars best_seller_rank "
    "model_worn prefab prefab_path asset_type scene_class domain obj_id position bbox".split()
)
"""Fields that say nothing a user could ask for: identity, links, long texts, and marks of a 3-D scene."""

RECORDS_WITHIN = frozenset(
    "attributes metadata features properties details product_details characteristics specs specifications "
    "technical_details facets item_specifics".split()
)
"""Fields that hold attributes by name."""

_DESCRIPTION_FIELDS = ("description", "more_info", "moreinfo", "details")
_DESCRIPTION_LENGTH = 300
_LONGEST_VALUE = 120
_SINGLE_VALUE = ("value", "name", "label", "title")


def records_of(content: object) -> Iterator[tuple[str, object]]:
    """(id, record) of a catalogue file that holds a record, a list of them, or ``{id: record}``.

    The id is "" where the record has to say it.
    """
    if isinstance(content, list):
        yield from (("", record) for record in content)
    elif (
        isinstance(content, dict)
        and content
        and all(isinstance(record, dict) for record in content.values())
        and not all(snake_case(key) in RECORDS_WITHIN for key in content)
    ):
        yield from content.items()
    else:
        yield "", content


def add_values(attributes: dict[str, tuple[str, ...]], name: str, values: Sequence[str], ledger: Ledger) -> None:
    """Give a product the values of one more name; the values of one that it has already are added to these, counted."""
    if not values:
        return
    if not name:
        ledger["product_keys"].drop("no_letter_in_it")
        return
    if name in attributes:
        ledger["product_keys"].drop("merged_into_one_spelled_alike")
    attributes[name] = tuple(dict.fromkeys((*attributes.get(name, ()), *values)))


def attributes_of(fields: Mapping[str, Any], ledger: Ledger) -> dict[str, tuple[str, ...]]:
    """The attributes among a record's fields, in snake case: lists of values, unknown and empty ones left out.

    A style sheet's colour gives way to ``color_name``; where there is no category, the taxonomy's last part that is
    not the product's own name becomes one.
    """
    line = ledger["product_values"]
    attributes: dict[str, tuple[str, ...]] = {}
    for name, value in _named_values(fields, line):
        values = split_values(name, value)
        kept = []
        for text in values:
            if len(text) > _LONGEST_VALUE:
                line.drop("text_too_long_for_a_value")
            elif _is_markup(text):
                line.drop("link_or_style_sheet")
            else:
                kept.append(text)
        line.keep(len(kept) if name else 0)
        add_values(attributes, name, kept, ledger)
    if "color" not in attributes and "color_name" in attributes:
        attributes["color"] = attributes.pop("color_name")
    category = _category(fields)
    if category and not any(name in attributes for name in CATEGORY_ATTRIBUTES):
        attributes["category"] = (category,)
    return attributes


def _named_values(fields: Mapping[str, Any], line: LedgerLine, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(attribute, value or values) in a record's fields and in the records within it."""
    for field, given in fields.items():
        name, value = snake_case(field), structure(given)
        has_objects = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))
        named = pairs(value) if has_objects or name in RECORDS_WITHIN else None
        is_plain = named is None and not has_objects
        if name == "taxonomy" or name in (NOT_ATTRIBUTES if is_plain else NOT_ATTRIBUTES - RECORDS_WITHIN):
            continue
        if is_plain:
            yield name, value
        elif depth > 1 or (isinstance(value, dict) and name not in RECORDS_WITHIN):
            line.drop("object_within_the_record")
        elif named is not None:
            yield from _named_values(value if isinstance(value, dict) else _grouped(named), line, depth + 1)
        elif isinstance(value, list):
            yield name, [text for part in value if (text := _single(part, line)) is not None]


def _grouped(named: list[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value in named:
        found.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return found


def _single(part: object, line: LedgerLine) -> object:
    """What an element of a list says: of ``{"name": "red", "hex": "#f00"}`` the name."""
    if not isinstance(part, dict):
        return part
    said = next((part[key] for key in _SINGLE_VALUE if isinstance(part.get(key), str | int | float)), None)
    if said is None:
        line.drop("object_in_a_list")
    return said


def _is_markup(value: str) -> bool:
    if value[:1] in ("b", "#") and re.fullmatch(r"background:.*|#[0-9a-fA-F]{3,8}", value) is not None:
        return True
    return "://" in value


def _category(fields: Mapping[str, Any]) -> str | None:
    taxonomy = fields.get("taxonomy")
    parts = [*filter(None, map(as_text, re.split(r"[/>]", taxonomy)))] if isinstance(taxonomy, str) else []
    if not parts:
        return None
    last = parts[-1]
    is_name = last.casefold() == as_text(fields.get("name")).casefold()
    names_product = (is_name and len(parts) > 1) or (len(parts) > 2 and len(last.split()) > 3)
    return parts[-2] if names_product else last


def description_of(fields: Mapping[str, Any]) -> str:
    """The first of the record's descriptive texts, cut at a word's end after 300 characters."""
    folded = {snake_case(field): value for field, value in fields.items()}
    name = as_text(folded.get("name"))
    for field in _DESCRIPTION_FIELDS:
        text = as_text(folded.get(field))
        if " " in text and text != name:
            return text if len(text) <= _DESCRIPTION_LENGTH else text[:_DESCRIPTION_LENGTH].rpartition(" ")[0] + " …"
    return ""


def price_of(*values: object) -> tuple[float | None, str]:
    """The first of the values that says something of a price: a number where it is one, and as a text.

    What only a text says is read with the whole catalogue: :func:`~pipeline.corpus.catalogue.read_prices`.
    """
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:  # not NaN
            is_beyond = abs(value) > sys.float_info.max
            return (None, str(value)) if is_beyond else (float(value), number_text(value))
        text = as_text(value)
        if text and text.casefold() not in UNKNOWN:
            return None, text
    return None, ""


def name_key(name: str) -> str:
    """The form in which attribute names are compared: folded, without a plural s (``hemLength``, ``hem_lengths``)."""
    folded = fold_name(name)
    return folded[:-1] if len(folded) > 3 and folded.endswith("s") and not folded.endswith("ss") else folded


class Catalogue:
    """Products sorted by ``product_id``, one record each."""

    def __init__(self, records: Iterable[ProductRecord], ledger: Ledger) -> None:
        merged = _merge_views(records, ledger)
        if not merged:
            raise CorpusError("the catalogue has no readable product", fix="see --products, and --format")
        self.currencies = read_prices(merged, ledger["prices"])
        settle_numbers(merged, ledger["attribute_numbers"])
        renamed = _one_spelling(merged, ledger)
        self.products, self.aliases = _one_name(renamed)  # attribute -> other names of the same thing
        self.products.sort(key=lambda product: product.product_id)
        self._by_reference: dict[str, str] = {}

    @property
    def attributes(self) -> list[str]:
        return sorted({name for product in self.products for name in product.attributes})

    def link_images(self, image_refs: ImageReferences) -> dict[str, tuple[str, ...]]:
        """Images of each product, ``product_id -> image ids``; afterwards images can be looked up."""
        image_ids: dict[str, tuple[str, ...]] = {}
        product_of_file: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for product in self.products:
            ids: dict[str, None] = {}
            for reference in product.image_refs:
                self._by_reference.setdefault(image_refs.key_of(reference), product.product_id)
                image = image_refs.resolve(reference)
                ids[image.image_id] = None
                if image.file is not None:
                    product_of_file[image.file].setdefault(place_of(image.image_id), product.product_id)
            for key in product.keys:
                self._by_reference.setdefault(key, product.product_id)
                files = image_refs.files_by_stem(key)
                if files and not ids:
                    ids[image_refs.resolve(files[0] if len(files) == 1 else key).image_id] = None
            for image_id in ids:
                self._by_reference.setdefault(image_id, product.product_id)
            image_ids[product.product_id] = tuple(ids)
        for file, products in product_of_file.items():
            if len(products) == 1:  # else: links to different places that end in one file name
                self._by_reference.setdefault(file, *products.values())
        return image_ids

    def lookup(self) -> ProductLookup:
        """What dialogues are read with, once the images are linked."""
        return ProductLookup(
            [product.product_id for product in self.products],
            self._by_reference,
            {product.product_id: product.attributes for product in self.products},
        )


@dataclass(frozen=True)
class ProductLookup:
    """What reading dialogues asks of a catalogue."""

    product_ids: Sequence[str]  # sorted
    by_reference: Mapping[str, str]  # links, files and stems of images -> product id
    attributes: Mapping[str, Mapping[str, Sequence[str]]]  # product id -> its attributes

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Product id -> its place among the ids."""
        return {product_id: row for row, product_id in enumerate(self.product_ids)}

    def of_image(self, reference: str, image_refs: ImageReferences) -> str | None:
        """The id of the product that an image shows, by its link, its file or its file's stem."""
        known = self.by_reference.get
        found = known(image_refs.key_of(reference))
        if found is None:
            image = image_refs.resolve(reference)
            found = known(image.image_id) or known(file_stem(image.file or image.url or image.image_id))
        return found

    def as_json(self) -> list[Any]:
        return [self.product_ids, self.by_reference, self.attributes]


TopicChange = Literal["reset", "keep"]
"""Whether a per-turn state that names another category than before starts a new topic."""


@dataclass(frozen=True)
class Setting:
    """What making rows out of dialogues takes."""

    # candidates, negatives_needed, not_slots: see :class:`pipeline.corpus.records.Reader`
    candidates: CandidateKind
    negatives_needed: bool
    not_slots: frozenset[str]
    topic_change: TopicChange
    split: SplitShares | None  # draws the splits; None: the corpus's own
    attributes: list[str]  # names of the catalogue's attributes
    products: ProductLookup
    image_refs: ImageReferences

    def as_json(self) -> dict[str, Any]:
        parts = {"products": self.products.as_json(), "image_refs": self.image_refs.as_json()}
        return {
            **vars(self),
            "not_slots": sorted(self.not_slots),
            "split": self.split and self.split.as_json(),
            **parts,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Setting:
        products, image_refs = ProductLookup(*value["products"]), ImageReferences(**value["image_refs"])
        split = value["split"] and SplitShares(**value["split"])
        not_slots = frozenset(value["not_slots"])
        return cls(**{**value, "not_slots": not_slots, "split": split, "products": products, "image_refs": image_refs})


def _merge_views(records: Iterable[ProductRecord], ledger: Ledger) -> list[ProductRecord]:
    line = ledger["product_records"]
    merged: dict[tuple[str, str], ProductRecord] = {}
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        key = (record.source, record.product_id)
        known = merged.get(key)
        if known is None:
            merged[key] = record
            sources[record.product_id].add(record.source)
            line.keep()
            continue
        line.drop("view_of_a_product_merged")
        for name, values in record.attributes.items():
            known.attributes[name] = tuple(dict.fromkeys((*known.attributes.get(name, ()), *values)))
        known.own |= record.own
        known.name = known.name or record.name
        known.description = known.description or record.description
        if not known.price_text:
            known.price, known.price_text = record.price, record.price_text
        known.currency = known.currency or record.currency
        known.image_refs = tuple(dict.fromkeys((*known.image_refs, *record.image_refs)))
        known.keys = tuple(dict.fromkeys((*known.keys, *record.keys)))
    return [
        replace(record, product_id=f"{source}/{product_id}") if len(sources[product_id]) > 1 else record
        for (source, product_id), record in merged.items()
    ]


def _one_spelling(products: Sequence[ProductRecord], ledger: Ledger) -> list[ProductRecord]:
    """Attributes whose names differ only in spelling become one, under the commonest spelling (then the longest).

    So do singular and plural where their values overlap: ``rating`` (stars) and ``ratings`` (how many) are two things.
    """
    counts = Counter(name for product in products for name in product.attributes)
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for name in counts:
        spellings[fold_name(name)].append(name)
    numbers: defaultdict[str, list[str]] = defaultdict(list)
    for folded in spellings:
        numbers[name_key(folded)].append(folded)
    for folded, others in [(one, rest) for one, *rest in numbers.values() if rest]:
        for other in others:
            if _overlap(products, spellings[folded], spellings[other]):
                spellings[folded] += spellings.pop(other)
    chosen = {name: max(names, key=lambda n: (counts[n], len(n), n)) for names in spellings.values() for name in names}
    if all(name == new for name, new in chosen.items()):
        return list(products)
    renamed = []
    for product in products:
        attributes: dict[str, tuple[str, ...]] = {}
        for name, values in product.attributes.items():
            add_values(attributes, chosen[name], values, ledger)
        renamed.append(
            replace(product, attributes=attributes, own=frozenset(chosen[n] for n in product.own if n in chosen))
        )
    return renamed


_NEARLY_ALL = 0.9
_ENOUGH = 0.5


def _overlap(products: Sequence[ProductRecord], one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two attributes say the same kind of thing.

    Products that have both give a value in common, nearly all of them; and half of what is said under one name is said
    under the other, too, of numbers in both directions, as some are shared by chance.
    """
    said: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    both = alike = 0
    for product in products:
        here = [{fold(value) for name in names for value in product.attributes.get(name, ())} for names in (one, other)]
        said[0].update(here[0])
        said[1].update(here[1])
        if all(here):
            both += 1
            alike += not here[0].isdisjoint(here[1])
    shares = [
        sum(n for value, n in mine.items() if value in theirs) / mine.total() for mine, theirs in (said, reversed(said))
    ]
    are_numbers = all(read_number(value) is not None for side in said for value in side)
    return alike >= _NEARLY_ALL * both and (min if are_numbers else max)(shares) >= _ENOUGH


def _one_name(products: Sequence[ProductRecord]) -> tuple[list[ProductRecord], dict[str, tuple[str, ...]]]:
    """Attributes that say the same of every product become one, under the source's own name where it has one."""
    columns: defaultdict[tuple[tuple[int, tuple[str, ...]], ...], list[str]] = defaultdict(list)
    rows: defaultdict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    own: set[str] = set()
    for index, product in enumerate(products):
        own |= product.own
        for name, values in product.attributes.items():
            rows[name].append((index, tuple(sorted(values))))
    for name, row in rows.items():
        columns[tuple(row)].append(name)
    aliases: dict[str, tuple[str, ...]] = {}
    gone: set[str] = set()
    for column, names in columns.items():
        # one product, or one value everywhere, proves nothing about two names
        if len(names) < 2 or len({values for _, values in column}) < 2:
            continue
        kept = min(names, key=lambda n: (n not in own, names.index(n)))
        others = tuple(sorted(name for name in names if name != kept))
        aliases[kept] = others
        gone.update(others)
    if not gone:
        return list(products), {}
    kept_products = [
        replace(p, attributes={name: values for name, values in p.attributes.items() if name not in gone})
        for p in products
    ]
    return kept_products, dict(sorted(aliases.items()))


_ONE_OF_TWO = re.compile(r"\d[.,]\d{3}(?!\d)")


def read_prices(products: Sequence[ProductRecord], line: LedgerLine) -> dict[str, int]:
    """Read the prices of a whole catalogue, as each source writes them.

    Fills in ``price`` and ``currency``, and writes the attribute ``price`` as a number that can be read in one way
    only, with its currency where the catalogue has several; what is no price, or may be one of two, stays as it is
    written there, what is below zero is left out, and all of them are counted.

    Returns:
        Currency -> products with a price in it, the commonest first; "unknown" where none is named.
    """
    texts: defaultdict[str, set[str]] = defaultdict(set)
    for product in products:
        texts[product.source].update(product.attributes.get("price", ()))
    marks = {source: decimal_mark_of(written) for source, written in texts.items()}
    for product in products:
        if product.currency is not None:
            product.currency = currency_of(product.currency) or product.currency
        if product.price_text:
            reason = _read_price(product, marks.get(product.source))
            if reason is None:
                line.keep()
            else:
                line.drop(reason)
    priced = [product for product in products if product.price is not None]
    _name_signs(priced)
    found = Counter(product.currency or "unknown" for product in priced)
    several = len(found.keys() - {"unknown"}) > 1
    for product in products:
        written = product.attributes.get("price", ())
        if written:
            mark = marks[product.source]
            product.attributes["price"] = tuple(dict.fromkeys(_rewritten(t, product, mark, several) for t in written))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _read_price(product: ProductRecord, mark: DecimalMark | None) -> str | None:
    """Fill in the price and the currency; the reason why there is no price."""
    number = Number(product.price) if product.price is not None else _number(product.price_text, product, mark)
    product.price = None
    if number is None or number.of is not None:
        return "not_a_price"
    if number.value is None:
        return "price_may_be_one_of_two"
    if number.value < 0:
        product.attributes.pop("price", None)  # it would lie in the lowest range
        return "price_below_zero"
    if number.currency and product.currency and not same_currency(number.currency, product.currency):
        return "price_in_another_currency_than_named"
    product.price = number.value
    # of two names of one currency the code rather than the sign
    product.currency = max(filter(None, (number.currency, product.currency)), key=len, default=None)
    return None


def _number(text: str, product: ProductRecord, mark: DecimalMark | None) -> Number | None:
    return read_number(text, decimal_mark=mark, thousands=product.currency not in THREE_DECIMALS)


def _rewritten(text: str, product: ProductRecord, mark: DecimalMark | None, several: bool) -> str:
    """A price so that it can be read in one way only; what is none stays as it is."""
    number = _number(text, product, mark)
    if number is None or number.value is None or number.of is not None:
        return text
    if number.currency and product.currency and not same_currency(number.currency, product.currency):
        return text
    currency = product.currency or number.currency
    return f"{number_text(number.value)} {currency}" if several and currency else number_text(number.value)


def settle_numbers(products: Sequence[ProductRecord], line: LedgerLine) -> None:
    """Rewrite attribute values such as ``1,299`` where the others of their source and column tell what they are.

    In columns of numbers that do not tell, they stay as they are and are counted.
    """
    columns: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for product in products:
        for name, values in product.attributes.items():
            columns[product.source, name].update(values)
    settled: dict[tuple[str, str], dict[str, str]] = {}
    for key, texts in columns.items():
        unclear = [text for text in texts if _ONE_OF_TWO.search(text) and (n := read_number(text)) and n.is_ambiguous]
        if unclear and 2 * sum(read_number(text) is not None for text in texts) >= len(texts):
            mark = decimal_mark_of(sorted(texts))
            settled[key] = {text: _settled(text, mark) for text in unclear}
    if not settled:
        return
    for product in products:
        for name, values in product.attributes.items():
            told = settled.get((product.source, name), {})
            for text in filter(told.__contains__, values):
                if told[text] == text:
                    line.drop("number_may_be_one_of_two")
                else:
                    line.keep()
            if told:
                product.attributes[name] = tuple(dict.fromkeys(told.get(text, text) for text in values))


def _settled(text: str, mark: DecimalMark | None) -> str:
    number = read_number(text, decimal_mark=mark)
    return text if number is None or number.value is None else number_text(number.value)


def _name_signs(priced: Sequence[ProductRecord]) -> None:
    """A sign that currencies share stands for the only one of them that the catalogue names."""
    present = {product.currency for product in priced if product.currency is not None}
    codes: dict[str, str] = {}
    for sign in present:
        meant = [other for other in present if other != sign and same_currency(sign, other)]
        if len(meant) == 1 and len(sign) < len(meant[0]):
            codes[sign] = meant[0]
    for product in priced:
        if product.currency in codes:
            product.currency = codes[product.currency]
