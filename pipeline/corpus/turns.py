"""The table of turns, one row a merged utterance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from pipeline.corpus.images import ImageReferences
from pipeline.corpus.records import Dialogue
from schemas.tables import TURNS

__all__ = ["TurnTable"]


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
        """Add a dialogue."""
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
        """How many of them are users' turns."""
        return self._speakers.count("user")

    def take(self) -> pa.Table:
        """The rows gathered so far; afterwards there are none."""
        lengths = np.array(self._lengths, np.int32)
        dialogue_of_row = pa.array(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths))
        starts = np.cumsum(lengths, dtype=np.int32) - lengths
        columns = [
            pa.array(self._dialogue_ids, pa.string()).take(dialogue_of_row),
            pa.array(np.arange(len(self._texts), dtype=np.int32) - np.repeat(starts, lengths)),
            pa.array(self._speakers, pa.string()),
            pa.array(self._acts, pa.string()),
            pa.array(self._texts, pa.string()),
            _string_lists(self._image_ids),
            pa.array(self._splits, pa.string()).take(dialogue_of_row),
        ]
        self._clear()
        return pa.table(columns, schema=TURNS.columns)


def _string_lists(lists: Sequence[Sequence[str]]) -> pa.ListArray:
    """A column of lists of strings, made out of one long list."""
    ends = np.zeros(len(lists) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, lists), np.int32, len(lists)), out=ends[1:])
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(list(chain.from_iterable(lists)), pa.string()))
