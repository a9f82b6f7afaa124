"""From a catalogue record's fields to a product's attributes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pipeline.corpora.parsing import UNKNOWN, as_text, snake_case, split_values
from pipeline.corpora.slots import CATEGORY_ATTRIBUTES
from schemas.numbers import number_text

__all__ = ["attributes_of", "description_of", "price_of"]

NOT_ATTRIBUTES = frozenset(
    {
        *("id", "product_id", "name", "title", "site", "source", "currency", "url", "link"),
        *("image", "images", "image_type", "image_url", "image_filename", "image_filename_all", "similar_items"),
        *("description", "more_info", "details", "review", "reviews", "review_stars", "best_seller_rank", "model_worn"),
        *("prefab", "prefab_path", "asset_type", "scene_class", "domain", "obj_id", "position", "bbox"),
    }
)
"""Fields that say nothing a shopper could ask for: identity, links, long texts, and marks of a 3-D scene."""

_DESCRIPTION_FIELDS = ("description", "more_info", "moreinfo", "details")
_DESCRIPTION_LENGTH = 300
_LONGEST_VALUE = 120


def attributes_of(fields: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The attributes among a record's fields, in snake case: lists of values, unknown and empty ones left out.

    A style sheet's colour gives way to ``color_name``; where there is no category, the taxonomy's last part that is
    not the product's own name becomes one.
    """
    attributes: dict[str, tuple[str, ...]] = {}
    for field, value in fields.items():
        name = snake_case(field)
        if not name or name in NOT_ATTRIBUTES or isinstance(value, dict) or value is None:
            continue
        if name == "taxonomy":
            continue
        values = tuple(v for v in split_values(name, value) if len(v) <= _LONGEST_VALUE and not _is_markup(v))
        if values:
            attributes[name] = tuple(dict.fromkeys((*attributes.get(name, ()), *values)))
    if "color" not in attributes and "color_name" in attributes:
        attributes["color"] = attributes.pop("color_name")
    category = _category(fields)
    if category and not any(name in attributes for name in CATEGORY_ATTRIBUTES):
        attributes["category"] = (category,)
    return attributes


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

    What only a text says is read with the whole catalogue: :func:`~pipeline.corpora.catalogue_numbers.read_prices`.
    """
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value), number_text(float(value))
        text = as_text(value)
        if text and text.casefold() not in UNKNOWN:
            return None, text
    return None, ""
