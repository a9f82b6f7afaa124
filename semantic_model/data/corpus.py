"""The imported corpus as rankers see it: products by row, recommendation turns with what was said before them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import CorpusError
from schemas.tables import IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, read_table
from semantic_model.data.records import Product, Query, Utterance


def product_text(name: str, attributes: Mapping[str, tuple[str, ...]]) -> str:
    """A product as text: its name, then ``attribute value value`` for each attribute in order."""
    parts = [name, *(f"{key} {' '.join(values)}" for key, values in attributes.items() if values)]
    return ". ".join(part for part in parts if part)


@dataclass(frozen=True)
class _Turn:
    index: int
    utterance: Utterance


@dataclass(frozen=True)
class Corpus:
    """Dialogues, recommendation turns, products and images of a workspace."""

    products: tuple[Product, ...]  # sorted by ``product_id``; a "product row" is an index into it
    image_files: Mapping[str, Path]  # image id -> file, for the images that can be read
    image_hashes: Mapping[str, str]  # image id -> sha256 of its file, for the same images where the import recorded it
    splits: Mapping[str, str]  # dialogue id -> train, valid or test, in the order of the turns table
    blank_images: bool  # every image is left out, of contexts and of products
    _turns: Mapping[str, tuple[_Turn, ...]]
    _recommendations: tuple[tuple[str, int, str, tuple[int, ...], tuple[int, ...]], ...]
    listed: CandidateTables | None = None  # where the candidates as listed are; None for a corpus made in memory
    # image id -> product row, of all images of products, whether they can be read or not; none, when left out
    image_products: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def load(
        cls, *, turns: Path, recommendations: Path, products: Path, images: Path, blank_images: bool = False
    ) -> Corpus:
        """Read the four tables of a workspace's ``data`` folder.

        Image files with a relative path are looked for under the workspace, the folder above the table's.

        Args:
            turns, recommendations, products, images: the Parquet files.
            blank_images: leave every image out.

        Raises:
            WorkspaceError: a table is missing.
            SchemaError: a table of another kind or version.
            CorpusError: a recommendation turn names a product that is not in the catalogue.
        """
        files, hashes = ({}, {}) if blank_images else _read_images(images)
        catalogue, images_of = read_products(products, files, blank_images=blank_images)
        row_of = {product.product_id: row for row, product in enumerate(catalogue)}
        image_products: dict[str, int] = {}
        for name, its_images in images_of.items():
            for image in its_images:
                image_products.setdefault(image, row_of[name])
        told: dict[str, list[_Turn]] = {}
        splits: dict[str, str] = {}
        for record in _rows(turns, TURNS):
            shown = () if blank_images else tuple(record["image_ids"])
            utterance = Utterance(record["speaker"], record["text"], shown)
            told.setdefault(record["dialogue_id"], []).append(_Turn(record["turn"], utterance))
            splits.setdefault(record["dialogue_id"], record["split"])
        asked = []
        for record in _rows(recommendations, RECOMMENDATIONS):
            dialogue, turn = record["dialogue_id"], record["turn"]
            try:
                positives = tuple(row_of[product] for product in record["positives"])
                negatives = tuple(row_of[product] for product in record["negatives"])
            except KeyError as missing:
                raise CorpusError(
                    f"a recommendation turn names the product {missing}, which the catalogue does not have",
                    where=f"{recommendations}, dialogue {dialogue}, turn {turn}",
                    fix="run `semctl import` again",
                ) from None
            asked.append((dialogue, turn, record["split"], positives, negatives))
        in_order = {dialogue: tuple(sorted(rows, key=lambda row: row.index)) for dialogue, rows in told.items()}
        where = CandidateTables(recommendations, products, images)
        recommended = tuple(sorted(asked))
        return cls(catalogue, files, hashes, splits, blank_images, in_order, recommended, where, image_products)

    def with_splits(self, splits: Mapping[str, str]) -> Corpus:
        """The same dialogues and images, divided otherwise: dialogue -> split for every dialogue."""
        asked = tuple(
            (dialogue, turn, splits[dialogue], right, wrong)
            for dialogue, turn, _, right, wrong in self._recommendations
        )
        return replace(self, splits={name: splits[name] for name in self.splits}, _recommendations=asked)

    @cached_property
    def product_rows(self) -> Mapping[str, int]:
        """Product id -> product row."""
        return {product.product_id: row for row, product in enumerate(self.products)}

    def dialogues(self, split: str) -> list[str]:
        """Ids of the dialogues of a split, in the order of the turns table."""
        return [dialogue for dialogue, its_split in self.splits.items() if its_split == split]

    def queries(self, split: str) -> list[Query]:
        """The recommendation turns of a split, sorted by dialogue and turn."""
        return [
            Query(dialogue, turn, its_split, self.history(dialogue, turn), positives, negatives)
            for dialogue, turn, its_split, positives, negatives in self._recommendations
            if its_split == split
        ]

    def history(self, dialogue_id: str, turn: int) -> tuple[Utterance, ...]:
        """All merged utterances of a dialogue before ``turn``, oldest first.

        Raises:
            CorpusError: there is no such dialogue.
        """
        rows = self._of(dialogue_id)
        return tuple(row.utterance for row in rows[: bisect_left(rows, turn, key=lambda row: row.index)])

    def utterances(self, dialogue_id: str) -> tuple[tuple[int, Utterance], ...]:
        """All merged utterances of a dialogue with their turn index, in order."""
        return tuple((row.index, row.utterance) for row in self._of(dialogue_id))

    def _of(self, dialogue_id: str) -> tuple[_Turn, ...]:
        try:
            return self._turns[dialogue_id]
        except KeyError:
            raise CorpusError(f"there is no dialogue '{dialogue_id}' in this workspace") from None


def _rows(path: Path, table: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(path, table).to_pylist()
    return rows


def _read_images(path: Path) -> tuple[dict[str, Path], dict[str, str]]:
    root = path.resolve().parent.parent
    files: dict[str, Path] = {}
    hashes: dict[str, str] = {}
    for record in _rows(path, IMAGES):
        if record["status"] == "ok" and record["file"]:
            files[record["image_id"]] = root / record["file"]  # an absolute path stays as it is
            if record["sha256"]:
                hashes[record["image_id"]] = record["sha256"]
    return files, hashes


def read_products(
    path: Path, files: Mapping[str, Path], *, blank_images: bool = False
) -> tuple[tuple[Product, ...], dict[str, Sequence[str]]]:
    """The products, sorted by id, and the images that each is listed with.

    Args:
        files: of the images that can be read; a product's image is the first of these.
        blank_images: leave every image out.

    Raises:
        WorkspaceError: the table is missing.
        SchemaError: a table of another kind or version.
    """
    catalogue, images_of = [], dict[str, Sequence[str]]()
    for record in _rows(path, PRODUCTS):
        attributes = {key: tuple(values or ()) for key, values in record["attributes"]}
        listed = () if blank_images else record["image_ids"]
        images_of[record["product_id"]] = listed
        image = next((name for name in listed if name in files), None)
        catalogue.append(
            Product(
                record["product_id"],
                record["name"],
                product_text(record["name"], attributes),
                attributes,
                image,
                None if image is None else files[image],
                record["description"] or "",
                record["price"],
                record["currency"],
            )
        )
    return tuple(sorted(catalogue, key=lambda product: product.product_id)), images_of


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
