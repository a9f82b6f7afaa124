"""The Parquet tables of a workspace: their columns, their versions, and how they are read and written.

Every file carries ``semctl.table``, ``semctl.schema_version`` and ``semctl.inputs`` (a JSON object of
``name -> sha256``) in its metadata. A reader refuses another table or another version instead of guessing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import SchemaError, WorkspaceError
from schemas.files import atomic_path

__all__ = [
    "ANNOTATIONS",
    "D_F",
    "D_P",
    "FINDINGS",
    "IMAGES",
    "PRODUCTS",
    "QUARANTINE",
    "RECOMMENDATIONS",
    "STATES",
    "TURNS",
    "Table",
    "TableWriter",
    "inputs_of",
    "open_table",
    "open_writer",
    "read_table",
    "write_table",
]


@dataclass(frozen=True)
class Table:
    """One kind of Parquet file: its name, its schema version and its columns.

    Attributes:
        name: as its metadata says.
        version: of the columns that are written.
        columns: those.
        made_by: the command that writes it.
        earlier: older versions that are still read, by their columns; their readers fill in what came later.
    """

    name: str
    version: int
    columns: pa.Schema
    made_by: str
    earlier: Mapping[int, pa.Schema] = field(default_factory=dict)

    def metadata(self, inputs: Mapping[str, str] | None) -> dict[bytes, bytes]:
        """The key-value metadata that marks a file as this table; without inputs, they are added on closing."""
        found = {
            b"semctl.table": self.name.encode(),
            b"semctl.schema_version": str(self.version).encode(),
        }
        if inputs is not None:
            found[b"semctl.inputs"] = _inputs_as_json(inputs)
        return found


def _inputs_as_json(inputs: Mapping[str, str]) -> bytes:
    return orjson.dumps(dict(inputs), option=orjson.OPT_SORT_KEYS)


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_STRINGS = pa.list_(pa.string())

PRODUCTS = Table(
    "products",
    1,
    pa.schema(
        [
            _required("product_id", pa.string()),
            _required("name", pa.string()),
            _required("description", pa.string()),
            _required("attributes", pa.map_(pa.string(), _STRINGS)),
            pa.field("price", pa.float64()),
            pa.field("currency", pa.string()),
            _required("image_ids", _STRINGS),
            _required("source", pa.string()),
        ]
    ),
    "semctl import",
)
"""One row per product, sorted by ``product_id``; attribute names and values sorted within a row."""

IMAGES = Table(
    "images",
    1,
    pa.schema(
        [
            _required("image_id", pa.string()),
            pa.field("file", pa.string()),
            pa.field("url", pa.string()),
            pa.field("sha256", pa.string()),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            _required("status", pa.string()),
        ]
    ),
    "semctl import",
)
"""One row per picture; ``status`` is ok, missing (no such file), dead (a link without a file) or broken."""

TURNS = Table(
    "turns",
    1,
    pa.schema(
        [
            _required("dialogue_id", pa.string()),
            _required("turn", pa.int32()),
            _required("speaker", pa.string()),
            _required("act", pa.string()),
            _required("text", pa.string()),
            _required("image_ids", _STRINGS),
            _required("split", pa.string()),
        ]
    ),
    "semctl import",
)
"""One row per merged utterance (``speaker`` is user or system), turns counted from 0, a dialogue's rows in order."""

RECOMMENDATIONS = Table(
    "recommendations",
    1,
    pa.schema(
        [
            _required("dialogue_id", pa.string()),
            _required("turn", pa.int32()),
            _required("positives", _STRINGS),
            _required("negatives", _STRINGS),
            _required("positives_listed", _STRINGS),
            _required("negatives_listed", _STRINGS),
            _required("split", pa.string()),
        ]
    ),
    "semctl import",
)
"""One row per recommendation turn: product ids kept as candidates, and the picture or item references as listed."""

_STATE = pa.list_(
    pa.struct(
        [
            pa.field("slot", pa.string(), nullable=False),
            pa.field("attribute", pa.string()),
            pa.field("value", pa.string(), nullable=False),
            pa.field("polarity", pa.string(), nullable=False),
            pa.field("catalogue_value", pa.string()),
            pa.field("in_catalogue", pa.bool_(), nullable=False),
        ]
    )
)

_STATE_COLUMNS = pa.schema(
    [
        _required("dialogue_id", pa.string()),
        _required("turn", pa.int32()),
        _required("split", pa.string()),
        pa.field("state", _STATE),
        _required("labelled_slots", _STRINGS),
        _required("annotators", _STRINGS),
        _required("source_annotations", _STRINGS),
    ]
)

STATES = Table("states", 1, _STATE_COLUMNS, "semctl ingest-labels")
"""One row per user turn; ``state`` is null where the turn is unlabelled and empty where it asks for nothing."""

D_F = Table("D_F", 1, _STATE_COLUMNS, "semctl ingest-labels")
"""Dialogues whose every user turn is labelled in every slot."""

D_P = Table("D_P", 1, _STATE_COLUMNS, "semctl ingest-labels")
"""All other dialogues, with whatever labels they have."""

_ANNOTATIONS_1 = pa.schema(
    [
        _required("annotation_id", pa.string()),
        pa.field("task_uid", pa.string()),
        _required("dialogue_id", pa.string()),
        _required("turn", pa.int32()),
        _required("op", pa.string()),
        pa.field("slot", pa.string()),
        pa.field("value", pa.string()),
        pa.field("polarity", pa.string()),
        _required("origin", pa.string()),
        _required("annotator", pa.string()),
        pa.field("lead_time", pa.float64()),
        pa.field("created_at", pa.string()),
        pa.field("updated_at", pa.string()),
        pa.field("project", pa.string()),
        pa.field("export_sha256", pa.string()),
        _required("ontology_version", pa.int32()),
    ]
)

ANNOTATIONS = Table(
    "annotations",
    2,
    pa.schema(
        [
            *_ANNOTATIONS_1,
            _required("role", pa.string()),
            pa.field("task_id", pa.string()),
            pa.field("completed_by", pa.string()),
            pa.field("config_sha256", pa.string()),
            pa.field("prelabel", pa.string()),
            pa.field("prelabel_score", pa.float64()),
            _required("untouched", pa.bool_()),
        ]
    ),
    "semctl import or semctl ingest-labels",
    earlier={1: _ANNOTATIONS_1},
)
"""One row per (annotation, turn, operation, slot, value); see :mod:`schemas.belief` for the operations."""

QUARANTINE = Table(
    "quarantine",
    1,
    pa.schema(
        [
            _required("reason", pa.string()),
            pa.field("annotation_id", pa.string()),
            pa.field("task_uid", pa.string()),
            pa.field("dialogue_id", pa.string()),
            pa.field("turn", pa.int32()),
            pa.field("annotator", pa.string()),
            _required("detail", pa.string()),
            pa.field("raw", pa.string()),
            _required("export_sha256", pa.string()),
        ]
    ),
    "semctl ingest-labels",
)
"""What was refused: a reason code, where it came from, and the raw JSON."""


FINDINGS = Table(
    "findings",
    1,
    pa.schema(
        [
            _required("dialogue_id", pa.string()),
            pa.field("turn", pa.int32()),
            pa.field("slot", pa.string()),
            pa.field("value", pa.string()),
            _required("annotators", _STRINGS),
            _required("annotation_ids", _STRINGS),
            _required("code", pa.string()),
            _required("severity", pa.string()),
            _required("detail", pa.string()),
            pa.field("suggestion", pa.string()),
        ]
    ),
    "semctl ingest-labels",
)
"""What the checks found in the labels in force, sorted by dialogue and turn; ``turn`` is null for a whole dialogue."""


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
            temporary, schema, compression="zstd", write_statistics=False, store_schema=given_as is None
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
        pq.write_table(data, temporary, compression="zstd")


def open_table(path: Path, table: Table) -> pq.ParquetFile:
    """Open a Parquet file for reading after checking that it is this table in this version.

    Raises:
        WorkspaceError: the file is not there.
        SchemaError: not Parquet, another table, another version, or other columns.
    """
    if not path.is_file():
        raise WorkspaceError(f"the table '{table.name}' is missing", where=path, fix=f"run `{table.made_by}` first")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as problem:
        raise SchemaError(
            f"not a readable Parquet file: {problem}", where=path, fix=f"write it again with `{table.made_by}`"
        ) from None
    found = file.schema_arrow.metadata or {}
    name = found.get(b"semctl.table", b"?").decode(errors="replace")
    version = found.get(b"semctl.schema_version", b"?").decode(errors="replace")
    fix = f"write it again with `{table.made_by}`"
    if name != table.name:
        raise SchemaError(f"expected the table '{table.name}', found '{name}'", where=path, fix=fix)
    readable = {str(number): columns for number, columns in {**table.earlier, table.version: table.columns}.items()}
    if version not in readable:
        raise SchemaError(
            f"table '{table.name}' has schema version {version}, this semctl reads {' and '.join(readable)}",
            where=path,
            fix=fix,
        )
    if not file.schema_arrow.remove_metadata().equals(readable[version]):
        raise SchemaError(f"table '{table.name}' has other columns than its version says", where=path, fix=fix)
    return file


def inputs_of(file: pq.ParquetFile) -> dict[str, str]:
    """What a table was made from, ``name -> sha256``."""
    found: dict[str, str] = orjson.loads((file.metadata.metadata or {}).get(b"semctl.inputs", b"{}"))
    return found


def read_table(path: Path, table: Table, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a whole table after the checks of :func:`open_table`, with their errors."""
    with open_table(path, table) as file:
        return file.read(columns=None if columns is None else list(columns))
