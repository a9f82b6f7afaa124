"""MMD's catalogue: one JSON file a product (or a view of one), as raw records or as ``knowledge/products_format``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.corpora.layout import UNREADABLE, HashedFiles, names_below
from pipeline.corpora.ledger import Ledger
from pipeline.corpora.parsing import as_text, snake_case
from pipeline.corpora.product_fields import attributes_of, description_of, price_of
from pipeline.corpora.records import ProductRecord

__all__ = ["product_record", "read_catalogue"]

STEM_FOLDERS = frozenset({"products_format"})
"""Folders whose files are named after the picture of their product."""


def read_catalogue(folder: Path, files: HashedFiles, ledger: Ledger) -> Iterator[ProductRecord]:
    """Read every JSON file below the catalogue folder; a file may also hold a list of records."""
    line = ledger["product_records"]
    for path in names_below(str(folder), ".json"):
        content = files.read_json(path, line)
        if content is UNREADABLE:
            continue
        place, name = os.path.split(path)
        stem, by_stem = name.removesuffix(".json"), _is_stem_folder(place)
        for raw in content if isinstance(content, list) else [content]:
            if not isinstance(raw, dict) or not raw:
                line.drop("not_an_object")
                continue
            yield product_record(raw, stem, by_stem=by_stem)


@lru_cache(maxsize=1_000)
def _is_stem_folder(path: str) -> bool:
    return not STEM_FOLDERS.isdisjoint(Path(path).parts)


def product_record(raw: Mapping[str, Any], stem: str, *, by_stem: bool = False) -> ProductRecord:
    """One product out of its JSON record.

    The flat keys are attributes; so are those of a nested record under the name of the product's ``site``, under
    ``attributes`` or ``metadata``: these are the source's own and win where both speak.

    Args:
        raw: the record.
        stem: the file's name without suffix, the product's id where the record has none.
        by_stem: the file is named after the product's picture.
    """
    site = as_text(raw.get("site"))
    own: dict[str, tuple[str, ...]] = {}
    nested: dict[str, Any] = {}
    for key in (site, snake_case(site), "attributes", "metadata"):
        value = raw.get(key) if key else None
        if isinstance(value, dict):
            nested = {**value, **nested}
            own = {**attributes_of(value), **own}
    flat = attributes_of(raw)
    if any(name in own for name in flat if name == "category") or "type" in own:
        flat.pop("category", None)
    pictures = tuple(_pictures(raw))
    price, price_text = price_of(raw.get("price"), nested.get("price"))
    attributes = {**flat, **own}
    if price_text:
        attributes["price"] = (price_text,)
    return ProductRecord(
        product_id=as_text(str(raw.get("id") or raw.get("product_id") or "")) or stem,
        name=as_text(raw.get("name")) or as_text(nested.get("name")),
        description=description_of(raw) or description_of(nested),
        attributes=attributes,
        own=frozenset(own),
        price=price,
        price_text=price_text,
        currency=as_text(raw.get("currency")) or None,
        pictures=pictures,
        keys=(stem,) if by_stem or not pictures else (),
        source=site or "mmd",
    )


def _pictures(raw: Mapping[str, Any]) -> Iterator[str]:
    for field in ("image_filename", "image_url"):
        value = raw.get(field)
        if isinstance(value, str) and value.strip():
            yield value
    views = raw.get("image_filename_all")
    for urls in views.values() if isinstance(views, dict) else [views]:
        for url in urls if isinstance(urls, list) else [urls]:
            if isinstance(url, str) and url.strip():
                yield url
