"""The Parquet tables of a workspace: how such files are read and written, and the columns and versions of each.

Every file carries ``semctl.table``, ``semctl.schema_version`` and ``semctl.inputs`` (a JSON object of
``name -> sha256``) in its metadata. A reader refuses another table or another version instead of guessing. Every page
has a checksum, so that a file that was damaged on the disk is refused, too.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import SchemaError, WorkspaceError
from schemas.files import atomic_path, json_bytes


@dataclass(frozen=True)
class Table:
    """One kind of Parquet file: its name, its schema version and its columns."""

    name: str  # as its metadata says
    version: int  # of the columns that are written
    columns: pa.Schema
    made_by: str  # the command that writes it
    earlier: Mapping[int, pa.Schema] = field(default_factory=dict)  # older versions that are still read
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of columns that no earlier version has; else null

    def as_now(self, rows: pa.Table) -> pa.Table:
        """Rows of this or an earlier version with the columns of this one."""
        found = [
            rows[column.name].cast(column.type)
            if column.name in rows.column_names
            else pa.repeat(pa.scalar(self.defaults.get(column.name), column.type), rows.num_rows)
            for column in self.columns
        ]
        return pa.table(found, schema=self.columns)

    def metadata(self, inputs: Mapping[str, str] | None) -> dict[bytes, bytes]:
        """The key-value metadata that marks a file as this table; without inputs, they are added on closing."""
        found = {b"semctl.table": self.name.encode(), b"semctl.schema_version": str(self.version).encode()}
        if inputs is not None:
            found[b"semctl.inputs"] = _inputs_as_json(inputs)
        return found


def _inputs_as_json(inputs: Mapping[str, str]) -> bytes:
    return json_bytes(dict(inputs), orjson.OPT_SORT_KEYS)


class TableWriter:
    """Streams rows of one table into a file; made by :func:`open_writer`."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, batch_rows: int) -> None:
        self._writer = writer
        self._schema = schema
        self._batch_rows = batch_rows
        self._rows: list[Mapping[str, Any]] = []
        self._tables: list[pa.Table] = []
        self.rows_written = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        self._rows.append(row)
        if len(self._rows) >= self._batch_rows:
            self.flush()

    def write_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows in order."""
        for row in rows:
            self.write(row)

    def gather_arrow(self, rows: pa.Table) -> None:
        """Add rows that are in Arrow's form already; row groups are made of several calls' rows."""
        self._tables.append(rows)
        if sum(table.num_rows for table in self._tables) >= self._batch_rows:
            self.flush()

    def write_arrow(self, rows: pa.Table) -> None:
        """Add rows that are in Arrow's form already, as a row group of their own."""
        self.flush()
        self._write(rows)

    def _write(self, rows: pa.Table) -> None:
        if rows.num_rows:
            same = rows.schema.equals(self._schema)
            self._writer.write_table(
                rows.replace_schema_metadata(self._schema.metadata) if same else rows.cast(self._schema)
            )
            self.rows_written += rows.num_rows

    def add_inputs(self, inputs: Mapping[str, str]) -> None:
        """Name what the table was made from, where that is known only once it was read; at most once."""
        self._writer.add_key_value_metadata({"semctl.inputs": _inputs_as_json(inputs).decode()})

    def flush(self) -> None:
        """Turn the rows gathered so far into a row group."""
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self.rows_written += len(self._rows)
            self._rows = []
        if self._tables:
            tables, self._tables = self._tables, []
            self._write(pa.concat_tables(tables))


@contextmanager
def open_writer(
    path: Path,
    table: Table,
    *,
    inputs: Mapping[str, str] | None = None,
    batch_rows: int = 20_000,
    given_as: pa.Schema | None = None,
) -> Iterator[TableWriter]:
    """Stream rows into ``path`` with bounded memory; the file appears whole when the block ends well.

    Args:
        given_as: the columns as :meth:`TableWriter.write_arrow` gets them, where strings come as dictionaries: Parquet
            takes these over as they are instead of looking every string up. The file's columns are the table's.
    """
    metadata = table.metadata(inputs)
    schema = (given_as or table.columns).with_metadata(metadata)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            write_statistics=False,
            write_page_checksum=True,
            store_schema=given_as is None,
        ) as parquet,
    ):
        if given_as is not None:
            arrow = base64.b64encode(table.columns.with_metadata(metadata).serialize().to_pybytes())
            parquet.add_key_value_metadata({**metadata, b"ARROW:schema": arrow})
        writer = TableWriter(parquet, schema, batch_rows)
        yield writer
        writer.flush()


def write_table(
    path: Path, table: Table, rows: Sequence[Mapping[str, Any]] | pa.Table, *, inputs: Mapping[str, str] | None = None
) -> None:
    """Write a whole table atomically: the same rows and inputs give the same bytes."""
    schema = table.columns.with_metadata(table.metadata(inputs or {}))
    if isinstance(rows, pa.Table):
        data = rows.cast(table.columns).replace_schema_metadata(schema.metadata)
    else:
        data = pa.Table.from_pylist(list(rows), schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(data, temporary, compression="zstd", write_page_checksum=True)


class TableFile(pq.ParquetFile):  # type: ignore[misc]
    """An open Parquet file of one table; made by :func:`open_table`.

    Whatever of it is read is checked. Damaged data is a :class:`~schemas.errors.SchemaError` that names the file.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self._path = path
        self._table = table
        with self.readable():
            super().__init__(path, page_checksum_verification=True)
            groups = (self.metadata.row_group(number).num_rows for number in range(self.metadata.num_row_groups))
            if sum(groups) != self.metadata.num_rows:
                raise ValueError("its parts have another number of rows than the whole")

    def read(self, *arguments: Any, **options: Any) -> pa.Table:
        """As :meth:`pyarrow.parquet.ParquetFile.read`."""
        with self.readable():
            return self.checked(super().read(*arguments, **options))

    def read_row_group(self, *arguments: Any, **options: Any) -> pa.Table:
        """As :meth:`pyarrow.parquet.ParquetFile.read_row_group`."""
        with self.readable():
            return self.checked(super().read_row_group(*arguments, **options))

    def iter_batches(self, *arguments: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        """As :meth:`pyarrow.parquet.ParquetFile.iter_batches`."""
        with self.readable():
            batches = super().iter_batches(*arguments, **options)
        while True:
            with self.readable():
                batch = next(batches, None)
                if batch is None:
                    return
                self.checked(batch)
            yield batch

    def checked(self, rows: Any) -> Any:
        """``rows``, which are of this file, once their content is found to be valid."""
        rows.validate(full=True)  # files from before the checksums
        return rows

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Around what reads this file: whatever fails is damage."""
        try:
            yield
        except UnicodeEncodeError:  # what is looked for, not the file
            raise
        except (pa.ArrowException, OSError, ValueError, MemoryError) as problem:
            raise SchemaError(
                f"not a readable Parquet file: {problem}",
                where=self._path,
                fix=f"write it again with `{self._table.made_by}`",
            ) from None


def open_table(path: Path, table: Table) -> TableFile:
    """Open a Parquet file for reading after checking that it is this table in this version.

    Raises:
        WorkspaceError: the file is not there.
        SchemaError: not Parquet, another table, another version, or other columns; and later, when data is damaged.
    """
    if not path.is_file():
        raise WorkspaceError(f"the table '{table.name}' is missing", where=path, fix=f"run `{table.made_by}` first")
    file = TableFile(path, table)
    found = file.schema_arrow.metadata or {}
    name = found.get(b"semctl.table", b"?").decode(errors="replace")
    version = found.get(b"semctl.schema_version", b"?").decode(errors="replace")
    fix = f"write it again with `{table.made_by}`"
    if name != table.name:
        raise SchemaError(f"expected the table '{table.name}', found '{name}'", where=path, fix=fix)
    readable = {str(number): columns for number, columns in {**table.earlier, table.version: table.columns}.items()}
    if version not in readable:
        is_newer = version.isdecimal() and len(version) < 9 and int(version) > table.version
        raise SchemaError(
            f"table '{table.name}' has schema version {version}, this semctl reads {' and '.join(readable)}",
            where=path,
            fix=f"a newer semctl wrote it: update this one, or {fix}" if is_newer else fix,
        )
    if not file.schema_arrow.remove_metadata().equals(readable[version]):
        raise SchemaError(f"table '{table.name}' has other columns than its version says", where=path, fix=fix)
    return file


def read_table(
    path: Path,
    table: Table,
    *,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, Any]] | None = None,
) -> pa.Table:
    """Read a whole table after the checks of :func:`open_table`, with their errors.

    Of ``filters``, as (column, comparison, value), all hold in the rows; the rest is not kept in memory.
    """
    with open_table(path, table) as file:
        wanted = None if columns is None else list(columns)
        if filters is None:
            return file.read(columns=wanted)
        with file.readable():
            found = pq.read_table(path, columns=wanted, filters=list(filters), page_checksum_verification=True)
            return file.checked(found)


def dialogue_rows(path: Path, table: Table, columns: Sequence[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each dialogue's rows of a table in which they follow each other."""
    with open_table(path, table) as file:
        rows = (row for batch in file.iter_batches(10_000, columns=list(columns)) for row in batch.to_pylist())
        for dialogue_id, group in groupby(rows, key=lambda row: str(row["dialogue_id"])):
            yield dialogue_id, list(group)


_STRINGS = pa.list_(pa.string())
_KINDS = {
    "text": pa.string(),
    "texts": _STRINGS,
    "map": pa.map_(pa.string(), _STRINGS),
    "int": pa.int32(),
    "float": pa.float64(),
    "bool": pa.bool_(),
}


def _columns(text: str) -> list[pa.Field]:
    """Columns given as ``name:kind``, with a ``?`` after the kind where they may be null."""
    named = (entry.split(":") for entry in text.split())
    return [pa.field(name, _KINDS[kind.rstrip("?")], nullable=kind.endswith("?")) for name, kind in named]


def _table(name: str, version: int, columns: str, made_by: str) -> Table:
    return Table(name, version, pa.schema(_columns(columns)), made_by)


PRODUCTS = _table(
    "products",
    1,
    "product_id:text name:text description:text attributes:map price:float? currency:text? image_ids:texts source:text",
    "semctl import",
)
"""One row per product, sorted by ``product_id``; attribute names and values sorted within a row."""

_IMAGES_1 = pa.schema(_columns("image_id:text file:text? url:text? sha256:text? width:int? height:int? status:text"))

IMAGES = Table("images", 2, pa.schema([*_IMAGES_1, *_columns("link:text?")]), "semctl import", earlier={1: _IMAGES_1})
"""One row per image; ``status`` is ok, missing (no such file), dead (a link without a file) or broken.

``file`` is an absolute path, or one below the workspace where ``semctl fetch-images`` put it. ``url`` is the link as
links are compared; ``link`` is the link as the corpus writes it, where that is not the same.
"""

FETCHED = _table(
    "fetched",
    1,
    "link:text host:text status:text reason:text detail:text http_status:int? came_from:text? file:text? sha256:text? "
    "bytes:int? width:int? height:int? seconds:float tries:int at:text",
    "semctl fetch-images",
)
"""One row per link that was asked for, sorted by ``link``; ``status`` is ok, dead (no answer that may be taken) or
broken (what came is no image that may be taken), ``reason`` a code, ``came_from`` the address that it led to at last.

``file`` is a path below the workspace; ``seconds`` are those of the last of the ``tries``, ``at`` is when it ended.
"""

TURNS = _table(
    "turns", 1, "dialogue_id:text turn:int speaker:text act:text text:text image_ids:texts split:text", "semctl import"
)
"""One row per merged utterance (``speaker`` is user or system), turns counted from 0, a dialogue's rows in order."""

RECOMMENDATIONS = _table(
    "recommendations",
    1,
    "dialogue_id:text turn:int positives:texts negatives:texts positives_listed:texts negatives_listed:texts "
    "split:text",
    "semctl import",
)
"""One row per recommendation turn: product ids kept as candidates, and the image or item references as listed."""

RECOMMENDED = _table(
    "recommended",
    1,
    "line:int dialogue_id:text turn:int rank:int product_id:text name:text score:float images:texts run:text",
    "semctl recommend --batch",
)
"""One row per conversation and product shown, ranks counted from 1; ``line`` is the conversation's in the file."""

_STATE = pa.list_(
    pa.struct(_columns("slot:text attribute:text? value:text polarity:text catalogue_value:text? in_catalogue:bool"))
)
_STATE_COLUMNS = pa.schema(
    [
        *_columns("dialogue_id:text turn:int split:text"),
        pa.field("state", _STATE),
        *_columns("labelled_slots:texts annotators:texts source_annotations:texts"),
    ]
)

STATES = Table(
    "states",
    2,
    pa.schema([*_STATE_COLUMNS, *_columns("decided_by:text? disputed_slots:texts")]),
    "semctl ingest-labels",
    earlier={1: _STATE_COLUMNS},
)
"""One row per user turn; ``state`` is null where the turn is unlabelled and empty where it asks for nothing.

``decided_by`` says what made the turn's update (null where nobody speaks of it): corpus, one (its only annotator),
agreement, majority, dawid-skene, verdict, or disputed; ``disputed_slots`` are unknown from this turn on.
"""

D_F = Table("D_F", 1, _STATE_COLUMNS, "semctl ingest-labels")
"""Dialogues whose every user turn is labelled in every slot."""

D_P = Table("D_P", 1, _STATE_COLUMNS, "semctl ingest-labels")
"""All other dialogues, with whatever labels they have."""

_ANNOTATIONS_1 = pa.schema(
    _columns(
        "annotation_id:text task_uid:text? dialogue_id:text turn:int op:text slot:text? value:text? polarity:text? "
        "origin:text annotator:text lead_time:float? created_at:text? updated_at:text? project:text? "
        "export_sha256:text? ontology_version:int"
    )
)
_ANNOTATIONS_2 = pa.schema(
    [
        *_ANNOTATIONS_1,
        *_columns("role:text task_id:text? completed_by:text? config_sha256:text? prelabel:text?"),
        *_columns("prelabel_score:float? untouched:bool"),
    ]
)

ANNOTATIONS = Table(
    "annotations",
    3,
    pa.schema([*_ANNOTATIONS_2, *_columns("server:text? in_force:bool?")]),
    "semctl import or semctl ingest-labels",
    earlier={1: _ANNOTATIONS_1, 2: _ANNOTATIONS_2},
    defaults={"role": "label", "untouched": False},
)
"""One row per (annotation, turn, operation, slot, value); see :mod:`schemas.belief` for the operations.

``in_force`` says whether this version of the annotation counts; null until the first ingest after an import.
"""

QUARANTINE = _table(
    "quarantine",
    1,
    "reason:text annotation_id:text? task_uid:text? dialogue_id:text? turn:int? annotator:text? detail:text raw:text? "
    "export_sha256:text",
    "semctl ingest-labels",
)
"""What was refused: a reason code, where it came from, and the raw JSON."""

FINDINGS = _table(
    "findings",
    1,
    "dialogue_id:text turn:int? slot:text? value:text? annotators:texts annotation_ids:texts code:text severity:text "
    "detail:text suggestion:text?",
    "semctl ingest-labels",
)
"""What the checks found in the labels in force, sorted by dialogue and turn; ``turn`` is null for a whole dialogue."""
