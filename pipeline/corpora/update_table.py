"""Updates as rows of the table ``annotations``, by the annotator ``corpus``."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.belief import Polarity, TurnUpdate
from schemas.tables import ANNOTATIONS, TableWriter

__all__ = ["NOTHING", "UpdateRows", "UpdateTable", "rows_of"]

_BATCH_ROWS = 20_000

UpdateRows = tuple[tuple[str, str | None, str | None, Polarity | None], ...]
"""(op, slot, value, polarity) of each row of one turn."""

NOTHING: UpdateRows = (("none", None, None, None),)
"""The row of a turn that changes nothing."""


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
    """Writes updates; they are gathered by turn, and become columns together."""

    def __init__(self, table: TableWriter) -> None:
        self._table = table
        self._clear()

    def _clear(self) -> None:
        self._dialogue_ids: list[str] = []
        self._turns: list[int] = []
        self._updates: list[UpdateRows] = []
        self._rows = 0

    def write(self, dialogue_id: str, turn: int, rows: UpdateRows) -> None:
        """Add one turn's update."""
        self._dialogue_ids.append(dialogue_id)
        self._turns.append(turn)
        self._updates.append(rows)
        self._rows += len(rows)
        if self._rows >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows gathered so far."""
        if not self._updates:
            return
        n = self._rows
        turn_of_row = pa.array(np.repeat(np.arange(len(self._updates)), [len(rows) for rows in self._updates]))
        columns: dict[str, pa.Array] = {field.name: pa.nulls(n, field.type) for field in ANNOTATIONS.columns}
        ids = pa.array(self._dialogue_ids, pa.string())
        columns["annotation_id"] = pc.binary_join_element_wise("corpus", ids, ":").take(turn_of_row)
        columns["dialogue_id"] = ids.take(turn_of_row)
        columns["turn"] = pa.array(self._turns, pa.int32()).take(turn_of_row)
        parts = zip(*chain.from_iterable(self._updates), strict=True)
        for name, part in zip(("op", "slot", "value", "polarity"), parts, strict=True):
            columns[name] = pa.array(part, pa.string())
        for name in ("origin", "annotator"):
            columns[name] = pa.repeat("corpus", n)
        columns["ontology_version"] = pa.repeat(pa.scalar(0, pa.int32()), n)
        self._table.write_arrow(pa.table(list(columns.values()), schema=ANNOTATIONS.columns))
        self._clear()
