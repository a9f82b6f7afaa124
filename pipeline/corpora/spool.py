"""Dialogues of files that hold many, put in the order of their ids without holding them all in memory."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.corpora.ledger import Ledger

__all__ = ["Spool"]


class Spool:
    """Keeps raw dialogues in a temporary file and gives them back sorted by id.

    An id found in two splits becomes ``<split>/<id>`` for every dialogue; found twice in one split, the later one is
    dropped and counted.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
        self._index: dict[tuple[str, str], tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._index)

    def add(self, dialogue_id: str, split: str, dialogue: Any, ledger: Ledger) -> None:
        """Keep a dialogue."""
        if (split, dialogue_id) in self._index:
            ledger["dialogues"].drop("id_found_twice")
            return
        content = orjson.dumps(dialogue)
        self._index[split, dialogue_id] = (self._file.tell(), len(content))
        self._file.write(content)

    def sorted(self) -> Iterator[tuple[str, str, Any]]:
        """(dialogue_id, split, dialogue), sorted by id."""
        ids = Counter(dialogue_id for _, dialogue_id in self._index)
        shared = len(ids) < len(self._index)
        entries = sorted(
            (f"{split}/{dialogue_id}" if shared else dialogue_id, split, place)
            for (split, dialogue_id), place in self._index.items()
        )
        for dialogue_id, split, (offset, length) in entries:
            self._file.seek(offset)
            yield dialogue_id, split, orjson.loads(self._file.read(length))
