"""MMD's catalogue: one JSON file a product (or a view of one), as raw records or as ``knowledge/products_format``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.corpus.layout import UNREADABLE, HashedFiles, names_below
from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.parsing import as_text, id_text, references, snake_case
from pipeline.corpus.product_fields import add_values, attributes_of, description_of, price_of, records_of
from pipeline.corpus.records import ProductRecord
from schemas.safe_text import as_unicode

__all__ = ["product_record", "read_catalogue"]

STEM_FOLDERS = frozenset({"products_format"})
"""Folders whose files are named after the image of their product."""


def read_catalogue(folder: Path, files: HashedFiles, ledger: Ledger) -> Iterator[ProductRecord]:
    """Read every JSON file below the catalogue folder, or one such file.

    A file may also hold many records, as a list or by id.
    """
    line, keys = ledger["product_records"], ledger["product_keys"]
    for path in names_below(str(folder), ".json"):
        content = files.read_json(path, line, long_numbers=True, on_doubled=lambda _: keys.drop("merged_into_the_same"))
        if content is UNREADABLE:
            continue
        place, name = os.path.split(path)
        stem, by_stem = os.path.splitext(as_unicode(name))[0], _is_stem_folder(place)
        for product_id, raw in records_of(content):
            if not isinstance(raw, dict) or not raw:
                line.drop("not_an_object")
                continue
            yield product_record(raw, product_id or stem, ledger, by_stem=by_stem)


@lru_cache(maxsize=1_000)
def _is_stem_folder(path: str) -> bool:
    return not STEM_FOLDERS.isdisjoint(Path(path).parts)


def product_record(raw: Mapping[str, Any], stem: str, ledger: Ledger, *, by_stem: bool = False) -> ProductRecord:
    """One product out of its JSON record.

    The flat keys are attributes; so are those of a nested record under the name of the product's ``site``, under
    ``attributes`` or ``metadata``: these are the source's own and win where both speak.

    Args:
        raw: the record.
        stem: the file's name without suffix, the product's id where the record has none.
        ledger: values of its attributes and references to its images are counted in it.
        by_stem: the file is named after the product's image.
    """
    said = {snake_case(key): value for key, value in reversed(list(raw.items()))}  # keys differ in case by site
    site = as_text(said.get("site"))
    own: dict[str, tuple[str, ...]] = {}
    nested: dict[str, Any] = {}
    rest = dict(raw)
    for key in (site, snake_case(site), "attributes", "metadata"):
        value = rest.get(key) if key else None
        if isinstance(value, dict):
            nested = {**value, **nested}
            for name, values in attributes_of(value, ledger).items():
                add_values(own, name, values, ledger)
            rest.pop(key, None)
    flat = attributes_of(rest, ledger)
    if any(name in own for name in flat if name == "category") or "type" in own:
        flat.pop("category", None)
    image_refs = tuple(_images(said, ledger["images"]))
    price, price_text = price_of(said.get("price"), nested.get("price"))
    attributes = {**flat, **own}
    if price_text:
        attributes["price"] = (price_text,)
    return ProductRecord(
        product_id=next(filter(None, (id_text(said.get(key)) for key in ("id", "product_id"))), stem),
        name=as_text(said.get("name")) or as_text(nested.get("name")),
        description=description_of(raw) or description_of(nested),
        attributes=attributes,
        own=frozenset(own),
        price=price,
        price_text=price_text,
        currency=as_text(said.get("currency")) or None,
        image_refs=image_refs,
        keys=(stem,) if by_stem or not image_refs else (),
        source=site or "mmd",
    )


def _images(said: Mapping[str, Any], line: LedgerLine) -> Iterator[str]:
    for field in ("image_filename", "image_url", "image", "images", "image_filename_all"):
        if said.get(field):
            found, unread = references(said[field])
            line.drop("not_a_reference", unread)
            yield from found
