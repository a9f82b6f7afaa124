"""Updates as rows of the table ``annotations``, by the annotator ``corpus``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.belief import Polarity, TurnUpdate
from schemas.tables import ANNOTATIONS

__all__ = ["NOTHING", "UPDATE_COLUMNS", "UpdateRows", "UpdateTable", "annotation_rows", "rows_of"]

UpdateRows = tuple[tuple[str, str | None, str | None, Polarity | None], ...]
"""(op, slot, value, polarity) of each row of one turn."""

NOTHING: UpdateRows = (("none", None, None, None),)
"""The row of a turn that changes nothing."""

_STRING_CODES = pa.dictionary(pa.int32(), pa.string())

_SAID = ("op", "slot", "value", "polarity")

UPDATE_COLUMNS = pa.schema(
    [("dialogue_id", _STRING_CODES), ("turn", pa.int32()), *((name, _STRING_CODES) for name in _SAID)]
)
"""Updates before the ontology has named the slots: these are given by key."""


def rows_of(update: TurnUpdate) -> UpdateRows:
    """The rows of an update, in a fixed order."""
    rows: list[tuple[str, str | None, str | None, Polarity | None]] = []
    if update.new_topic:
        rows.append(("new_topic", None, None, None))
    if update.drop:
        rows += [("drop", slot, None, None) for slot in sorted(update.drop)]
    if update.want:
        rows += [("want", slot, value, "like") for slot in sorted(update.want) for value in update.want[slot]]
    if update.dislike:
        rows += [
            ("dislike", slot, value, "dislike") for slot, values in sorted(update.dislike.items()) for value in values
        ]
    return tuple(rows) or NOTHING


class UpdateTable:
    """Gathers updates by turn; a row that several turns have is kept once."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._dialogue_ids: list[str] = []
        self._lengths: list[int] = []
        self._turns: list[int] = []
        self._updates: list[UpdateRows] = []

    def __len__(self) -> int:
        """How many turns there are."""
        return len(self._updates)

    def add(self, dialogue_id: str, turns: list[int], updates: list[UpdateRows]) -> None:
        """Add the updates of a dialogue's labelled turns."""
        self._dialogue_ids.append(dialogue_id)
        self._lengths.append(len(turns))
        self._turns += turns
        self._updates += updates

    def take(self) -> pa.Table:
        """The rows gathered so far, as :data:`UPDATE_COLUMNS`; afterwards there are none."""
        rows = np.fromiter(map(len, self._updates), np.int64, len(self._updates))
        dialogues = np.repeat(np.arange(len(self._lengths), dtype=np.int32), self._lengths)
        places: dict[tuple[str | None, ...], int] = {}
        codes = pa.array(
            [places.setdefault(row, len(places)) for row in chain.from_iterable(self._updates)], pa.int32()
        )
        columns = [
            pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(dialogues, rows)), pa.array(self._dialogue_ids, pa.string())
            ),
            pa.array(np.repeat(np.array(self._turns, np.int32), rows)),
        ]
        for values in zip(*places, strict=True) if places else ((),) * len(_SAID):
            distinct = pa.array(values, pa.string()).dictionary_encode()
            columns.append(pa.DictionaryArray.from_arrays(distinct.indices.take(codes), distinct.dictionary))
        self._clear()
        return pa.table(columns, schema=UPDATE_COLUMNS)


def annotation_rows(updates: pa.Table, names: Mapping[str, str], ontology_version: int) -> pa.Table:
    """Rows of ``annotations``.

    Args:
        updates: as :meth:`UpdateTable.take` gives them, one chunk.
        names: slot key -> the ontology's name.
        ontology_version: of that ontology.
    """
    n = len(updates)
    columns: dict[str, pa.Array] = {field.name: pa.nulls(n, field.type) for field in ANNOTATIONS.columns}
    ids, keys = updates["dialogue_id"].combine_chunks(), updates["slot"].combine_chunks()
    annotation_ids = pc.binary_join_element_wise("corpus", ids.dictionary, ":")
    columns["annotation_id"] = annotation_ids.take(ids.indices)
    for name in ("dialogue_id", "op", "value", "polarity"):
        columns[name] = updates[name].cast(pa.string())
    spelled = pa.array([names.get(key, key) for key in keys.dictionary.to_pylist()], pa.string())
    columns["slot"] = spelled.take(keys.indices)
    columns["turn"] = updates["turn"]
    for name in ("origin", "annotator"):
        columns[name] = pa.repeat("corpus", n)
    columns["role"], columns["untouched"] = pa.repeat("label", n), pa.repeat(False, n)
    columns["ontology_version"] = pa.repeat(pa.scalar(ontology_version, pa.int32()), n)
    return pa.table(list(columns.values()), schema=ANNOTATIONS.columns)
