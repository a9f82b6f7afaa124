"""What a run of dialogues becomes: rows of the tables, and what is counted and remembered for the whole corpus.

A chunk depends on its dialogues and the catalogue alone, not on the chunks before it, so that several processes can
make chunks and the corpus comes out the same however many there are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.catalogue import Setting
from pipeline.corpus.images import ImageReferences, ReferencedImage
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.recommendations import Recommendations, lists_of
from pipeline.corpus.records import SPLITS, Dialogue
from pipeline.corpus.slots import Said
from pipeline.corpus.updates import CorpusUpdates, UpdateTable
from schemas.tables import TURNS

_FULL_ROWS = 20_000
_FULL_REFERENCES = 250_000


@dataclass
class Chunk:
    """A run of dialogues."""

    turns: pa.Table  # rows of the table ``turns``
    recommendations: pa.Table  # rows in the form :data:`pipeline.corpus.recommendations.RECOMMENDATION_COLUMNS`
    updates: pa.Table  # rows in the form :data:`pipeline.corpus.updates.UPDATE_COLUMNS`
    splits: dict[str, int]  # split -> dialogues
    user_turns: int  # how many of the turns are users'
    ledger: dict[str, Any]  # what was counted, as :meth:`Ledger.as_json` gives it
    said: list[Said]  # the slots that states name
    image_refs: list[ReferencedImage]  # those that the maker of the chunk had not met before
    sums: str = ""  # of the files read, as :meth:`pipeline.corpus.layout.HashedFiles.take_sums` gives them

    def to_bytes(self) -> list[bytes | pa.Buffer]:
        """Itself for another process, in parts."""
        rest = [self.splits, self.user_turns, self.ledger, self.said, self.image_refs, self.sums]
        return [json.dumps(rest).encode(), *map(_table_bytes, (self.turns, self.recommendations, self.updates))]

    @classmethod
    def from_bytes(cls, parts: list[bytes]) -> Chunk:
        splits, user_turns, ledger, said, image_refs, sums = json.loads(parts[0])
        turns, recommendations, updates = map(_table, parts[1:])
        found = [ReferencedImage(*image) for image in image_refs]
        return cls(turns, recommendations, updates, splits, user_turns, ledger, said, found, sums)


def _table_bytes(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _table(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()


class ChunkMaker:
    """Makes chunks of the dialogues it is given."""

    def __init__(self, setting: Setting) -> None:
        self.ledger = Ledger()
        self._split = setting.split
        self._images = setting.image_refs
        self._images_given = len(setting.image_refs.found)
        self._turns = TurnTable(setting.image_refs)
        self._recommendations = Recommendations(setting, self.ledger)
        self._updates = CorpusUpdates(setting, self.ledger)
        self._rows = UpdateTable()
        self._splits = dict.fromkeys(SPLITS, 0)

    def add(self, dialogue: Dialogue) -> None:
        if self._split is not None:
            dialogue = dialogue._replace(split=self._split.of(dialogue.dialogue_id))
        self._splits[dialogue.split] += 1
        self._turns.add(dialogue)
        self._recommendations.add(dialogue)
        if dialogue.turns.states:
            self._rows.add(dialogue.dialogue_id, *self._updates.of(dialogue))

    @property
    def is_full(self) -> bool:
        """Whether there is enough for a row group of some table."""
        return (
            len(self._turns) >= _FULL_ROWS
            or len(self._rows) >= _FULL_ROWS
            or self._recommendations.references >= _FULL_REFERENCES
        )

    def take(self) -> Chunk:
        """The dialogues added since the last call."""
        recommendations, said = self._recommendations.take(), self._updates.take_said()
        found = self._images.found
        image_refs = list(found.values())[self._images_given :] if len(found) > self._images_given else []
        self._images_given = len(found)
        splits, self._splits = self._splits, dict.fromkeys(SPLITS, 0)
        user_turns = self._turns.user_turns
        turns, updates = self._turns.take(), self._rows.take()
        return Chunk(turns, recommendations, updates, splits, user_turns, self.ledger.take(), said, image_refs)


class TurnTable:
    """Gathers the turns of dialogues by column."""

    def __init__(self, image_refs: ImageReferences) -> None:
        self._images = image_refs
        self._clear()

    def __len__(self) -> int:
        return len(self._texts)

    def _clear(self) -> None:
        self._dialogue_ids: list[str] = []
        self._splits: list[str] = []
        self._lengths: list[int] = []
        self._speakers: list[str] = []
        self._acts: list[str] = []
        self._texts: list[str] = []
        self._image_ids: list[Sequence[str]] = []

    def add(self, dialogue: Dialogue) -> None:
        turns = dialogue.turns
        self._dialogue_ids.append(dialogue.dialogue_id)
        self._splits.append(dialogue.split)
        self._lengths.append(len(turns.speakers))
        self._speakers += turns.speakers
        self._acts += turns.acts
        self._texts += turns.texts
        image_ids = self._images.image_ids
        self._image_ids += [image_ids(images) if images else images for images in turns.images]

    @property
    def user_turns(self) -> int:
        return self._speakers.count("user")

    def take(self) -> pa.Table:
        """The rows gathered so far; afterwards there are none."""
        lengths = np.array(self._lengths, np.int32)
        dialogue_of_row = pa.array(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths))
        starts = np.cumsum(lengths, dtype=np.int32) - lengths
        image_ids = pa.array(list(chain.from_iterable(self._image_ids)), pa.string())
        columns = [
            pa.array(self._dialogue_ids, pa.string()).take(dialogue_of_row),
            pa.array(np.arange(len(self._texts), dtype=np.int32) - np.repeat(starts, lengths)),
            pa.array(self._speakers, pa.string()),
            pa.array(self._acts, pa.string()),
            pa.array(self._texts, pa.string()),
            lists_of(np.fromiter(map(len, self._image_ids), np.int32), image_ids),
            pa.array(self._splits, pa.string()).take(dialogue_of_row),
        ]
        self._clear()
        return pa.table(columns, schema=TURNS.columns)
