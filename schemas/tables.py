"""The Parquet tables of a workspace: their columns and their versions, one by one.

How they are read and written is :mod:`schemas.table_files`; its names can be imported from here too.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.table_files import (
    Table,
    TableFile,
    TableWriter,
    inputs_of,
    open_table,
    open_writer,
    read_table,
    write_table,
)

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
    "TableFile",
    "TableWriter",
    "inputs_of",
    "open_table",
    "open_writer",
    "read_table",
    "write_table",
]


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
"""One row per image; ``status`` is ok, missing (no such file), dead (a link without a file) or broken."""

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
"""One row per recommendation turn: product ids kept as candidates, and the image or item references as listed."""

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

STATES = Table(
    "states",
    2,
    pa.schema([*_STATE_COLUMNS, pa.field("decided_by", pa.string()), _required("disputed_slots", _STRINGS)]),
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

_ANNOTATIONS_2 = pa.schema(
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
)

ANNOTATIONS = Table(
    "annotations",
    3,
    pa.schema([*_ANNOTATIONS_2, pa.field("server", pa.string()), pa.field("in_force", pa.bool_())]),
    "semctl import or semctl ingest-labels",
    earlier={1: _ANNOTATIONS_1, 2: _ANNOTATIONS_2},
    defaults={"role": "label", "untouched": False},
)
"""One row per (annotation, turn, operation, slot, value); see :mod:`schemas.belief` for the operations.

``in_force`` says whether this version of the annotation counts; null until the first ingest after an import.
"""

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
