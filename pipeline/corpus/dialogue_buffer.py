"""Dialogues of files that hold many, put in the order of their ids without holding them all in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.corpus.ledger import Ledger

__all__ = ["DialogueBuffer"]


class DialogueBuffer:
    """Keeps raw dialogues in a temporary file and gives them back sorted by id.

    An id found in two splits becomes ``<split>/<id>`` for every dialogue, one found in two domains
    ``<domain>/<id>``; found twice in one split of a domain, the later one is dropped and counted.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the buffer
        self._index: dict[tuple[str, str, str], tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._index)

    def add(self, dialogue_id: str, split: str, domain: str, dialogue: Any, ledger: Ledger) -> None:
        """Keep a dialogue."""
        if (split, domain, dialogue_id) in self._index:
            ledger["dialogues"].drop("id_found_twice")
            return
        content = orjson.dumps(dialogue)
        self._index[split, domain, dialogue_id] = (self._file.tell(), len(content))
        self._file.write(content)

    def sorted(self) -> Iterator[tuple[str, str, str, Any]]:
        """(dialogue_id, split, domain, dialogue), sorted by id."""
        forms = ("{2}", "{0}/{2}", "{1}/{2}", "{1}/{0}/{2}")
        named = ([form.format(*key) for key in self._index] for form in forms)
        ids = next(ids for ids in named if len(set(ids)) == len(ids))
        entries = sorted(zip(ids, self._index.items(), strict=True))
        for dialogue_id, ((split, domain, _), (offset, length)) in entries:
            self._file.seek(offset)
            yield dialogue_id, split, domain, orjson.loads(self._file.read(length))
