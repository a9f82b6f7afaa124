"""From a catalogue record's fields to a product's attributes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.parsing import UNKNOWN, as_text, pairs, snake_case, split_values, structure
from pipeline.ontology.derivation import CATEGORY_ATTRIBUTES
from schemas.numbers import number_text

NOT_ATTRIBUTES = frozenset(
    {
        *("id", "product_id", "name", "title", "site", "source", "currency", "url", "link"),
        *("image", "images", "image_type", "image_url", "image_filename", "image_filename_all", "similar_items"),
        *("description", "more_info", "details", "review", "reviews", "review_stars", "best_seller_rank", "model_worn"),
        *("prefab", "prefab_path", "asset_type", "scene_class", "domain", "obj_id", "position", "bbox"),
    }
)
"""Fields that say nothing a user could ask for: identity, links, long texts, and marks of a 3-D scene."""

RECORDS_WITHIN = frozenset(
    {
        *("attributes", "metadata", "features", "properties", "details", "product_details", "characteristics"),
        *("specs", "specifications", "technical_details", "facets", "item_specifics"),
    }
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
    if not isinstance(taxonomy, str):
        return None
    parts = [as_text(part) for part in re.split(r"[/>]", taxonomy)]
    parts = [part for part in parts if part]
    if len(parts) > 1 and (len(parts) > 2 or parts[-1].casefold() == as_text(fields.get("name")).casefold()):
        return parts[-2] if _names_product(parts[-1], as_text(fields.get("name"))) else parts[-1]
    return parts[-1] if parts else None


def _names_product(part: str, name: str) -> bool:
    return part.casefold() == name.casefold() or len(part.split()) > 3


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
        if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
            return (float(value), number_text(value)) if math.isfinite(value) else (None, str(value))
        text = as_text(value)
        if text and text.casefold() not in UNKNOWN:
            return None, text
    return None, ""
