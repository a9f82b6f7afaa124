"""Candidates as the corpus lists them: repeated ones, and wrong ones that are right, too, are left in (release)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import CorpusError
from schemas.tables import IMAGES, PRODUCTS, RECOMMENDATIONS, read_table
from semantic_model.data.records import Query

__all__ = ["CandidateTables", "as_listed"]


class CandidateTables(NamedTuple):
    """The files that say what was listed, and which product a reference names."""

    recommendations: Path
    products: Path
    images: Path


def as_listed(
    queries: list[Query],
    tables: CandidateTables | None,
    product_rows: Mapping[str, int],
    *,
    positives: int,
    negatives: int,
) -> list[Query]:
    """Queries with the first ``positives`` and ``negatives`` references that name a product, in the order listed.

    Args:
        queries: as imported, their candidates distinct and disjoint.
        tables: where the references are.
        product_rows: product id -> product row.

    Raises:
        CorpusError: this corpus keeps no references.
    """
    if tables is None:
        raise CorpusError("this corpus does not say what was listed", fix="run `semctl import` again")
    row_of = _rows_by_reference(tables, product_rows)
    asked = {(query.dialogue_id, query.turn) for query in queries}
    found: dict[tuple[str, int], tuple[tuple[int, ...], tuple[int, ...]]] = {}
    columns = ["dialogue_id", "turn", "positives_listed", "negatives_listed"]
    for batch in read_table(tables.recommendations, RECOMMENDATIONS).select(columns).to_batches(max_chunksize=1024):
        for record in batch.to_pylist():
            key = record["dialogue_id"], record["turn"]
            if key in asked:
                right, wrong = (
                    tuple(row_of[reference] for reference in record[column] if reference in row_of)
                    for column in ("positives_listed", "negatives_listed")
                )
                found[key] = right[:positives], wrong[:negatives]
    return [
        query._replace(positives=found[key][0], negatives=found[key][1])
        for query in queries
        if (key := (query.dialogue_id, query.turn)) in found
    ]


def _rows_by_reference(tables: CandidateTables, product_rows: Mapping[str, int]) -> dict[str, int]:
    """A reference is a product's id, or the id or the address of one of its images."""
    row_of: dict[str, int] = {}
    for record in _records(tables.products, PRODUCTS, ["product_id", "image_ids"]):
        for image_id in record["image_ids"]:
            row_of.setdefault(image_id, product_rows[record["product_id"]])
    for record in _records(tables.images, IMAGES, ["image_id", "url"]):
        if record["url"] and record["image_id"] in row_of:
            row_of.setdefault(record["url"], row_of[record["image_id"]])
    return {**row_of, **product_rows}


def _records(path: Path, table: Any, columns: list[str]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = read_table(path, table).select(columns).to_pylist()
    return records
