"""Croissant 1.0 metadata of an exported dataset, https://docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.files import sha256_file

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification lists."""


class Part(NamedTuple):
    """A file of a table."""

    table: str
    split: str
    path: Path
    columns: pa.Schema

    @property
    def name(self) -> str:
        """Of its records."""
        return f"{self.table}_{self.split}"


def croissant(
    name: str, folder: Path, parts: Sequence[Part], about: Mapping[str, str], *, licence: str | None
) -> dict[str, Any]:
    """The JSON-LD of a folder: its files with their hashes, a record set for each.

    Args:
        name: of the dataset.
        folder: where the files are.
        parts: the files.
        about: table -> what a row of it is.
        licence: as given; without one, none is named.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": "Shopping dialogues with belief states, keyed to the products of a catalogue.",
        **({"license": licence} if licence is not None else {}),
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": _file(part, folder),
                "name": _file(part, folder),
                "contentUrl": _file(part, folder),
                "encodingFormat": "application/x-parquet",
                "sha256": sha256_file(part.path),
            }
            for part in parts
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": part.name,
                "name": part.name,
                "description": f"{about[part.table]} ({part.split})",
                "field": [_field(part, folder, column) for column in part.columns],
            }
            for part in parts
        ],
    }


def _file(part: Part, folder: Path) -> str:
    return part.path.relative_to(folder).as_posix()


def _field(part: Part, folder: Path, column: pa.Field) -> dict[str, Any]:
    kind, repeated = (column.type.value_type, True) if pa.types.is_list(column.type) else (column.type, False)
    source = {"fileObject": {"@id": _file(part, folder)}, "extract": {"column": column.name}}
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{part.name}/{column.name}",
        "name": column.name,
        "source": source,
        **({"repeated": True} if repeated else {}),
    }
    if not pa.types.is_struct(kind):
        return found | {"dataType": _data_type(kind)}
    return found | {
        "subField": [
            {
                "@type": "cr:Field",
                "@id": f"{part.name}/{column.name}/{inner.name}",
                "name": inner.name,
                "dataType": _data_type(inner.type.value_type if pa.types.is_list(inner.type) else inner.type),
                "source": {**source, "transform": {"jsonPath": f"$[*].{inner.name}"}},
                **({"repeated": True} if pa.types.is_list(inner.type) else {}),
            }
            for inner in (kind.field(number) for number in range(kind.num_fields))
        ]
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
