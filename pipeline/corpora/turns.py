"""The table of turns, one row a merged utterance."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.corpora.pictures import Pictures
from pipeline.corpora.records import Dialogue
from schemas.tables import TURNS, TableWriter

__all__ = ["TurnTable"]

_BATCH_ROWS = 20_000


class TurnTable:
    """Writes the turns of dialogues; rows are gathered by column.

    Attributes:
        user_turns: how many turns of users were written.
    """

    def __init__(self, table: TableWriter, pictures: Pictures) -> None:
        self._table = table
        self._pictures = pictures
        self._columns: dict[str, list[Any]] = {name: [] for name in TURNS.columns.names}
        self.user_turns = 0

    def write(self, dialogue: Dialogue) -> None:
        """Add a dialogue."""
        columns, utterances = self._columns, dialogue.utterances
        n = len(utterances)
        columns["dialogue_id"] += [dialogue.dialogue_id] * n
        columns["turn"] += range(n)
        columns["speaker"] += [utterance.speaker for utterance in utterances]
        columns["act"] += [utterance.act for utterance in utterances]
        columns["text"] += [utterance.text for utterance in utterances]
        columns["image_ids"] += [self._pictures.image_ids(utterance.images) for utterance in utterances]
        columns["split"] += [dialogue.split] * n
        if len(columns["turn"]) >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows gathered so far."""
        if self._columns["turn"]:
            self.user_turns += self._columns["speaker"].count("user")
            self._table.write_arrow(pa.table(self._columns, schema=TURNS.columns))
            self._columns = {name: [] for name in TURNS.columns.names}
