"""What was said, shown and recommended in a dialogue, looked up dialogue by dialogue without keeping them in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from schemas.tables import RECOMMENDATIONS, TURNS, Table, open_table

__all__ = ["DialogueStore", "StoredDialogue"]

_READ_ROWS = 10_000


class StoredDialogue(NamedTuple):
    """One dialogue."""

    texts: dict[int, str]  # turn -> its text, of both speakers
    shown: dict[int, list[str]]  # turn -> image ids, of turns that have some
    recommended: dict[int, list[str]]  # turn -> product ids of the positives, of recommendation turns


class DialogueStore(AbstractContextManager["DialogueStore"]):
    """An anonymous database on disk, which the system removes with the process."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE turns (dialogue_id TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID;"
            "CREATE TABLE recommended (dialogue_id TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID;"
        )

    def __exit__(self, *exc: object) -> None:
        self._base.close()

    @classmethod
    def read(cls, turns: Path, recommendations: Path) -> DialogueStore:
        """Take in both tables, a dialogue's rows following each other; without recommendations there are none."""
        store = cls()
        for dialogue_id, rows in _dialogues(turns, TURNS, ["dialogue_id", "turn", "text", "image_ids"]):
            texts = [(row["turn"], row["text"]) for row in rows]
            shown = [(row["turn"], row["image_ids"]) for row in rows if row["image_ids"]]
            store._base.execute("INSERT INTO turns VALUES (?, ?)", (dialogue_id, orjson.dumps((texts, shown))))
        if recommendations.exists():
            for dialogue_id, rows in _dialogues(recommendations, RECOMMENDATIONS, ["dialogue_id", "turn", "positives"]):
                content = orjson.dumps([(row["turn"], row["positives"]) for row in rows])
                store._base.execute("INSERT INTO recommended VALUES (?, ?)", (dialogue_id, content))
        return store

    def of(self, dialogue_id: str) -> StoredDialogue:
        """What was said in a dialogue; nothing in one that is not there."""
        texts, shown = self._find("turns", dialogue_id) or ((), ())
        return StoredDialogue(dict(texts), dict(shown), dict(self._find("recommended", dialogue_id) or ()))

    def _find(self, table: str, dialogue_id: str) -> Any:
        """``table`` is one of the two above, never text from outside."""
        found = self._base.execute(f"SELECT content FROM {table} WHERE dialogue_id = ?", (dialogue_id,)).fetchone()
        return None if found is None else orjson.loads(found[0])


def _dialogues(path: Path, table: Table, columns: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    with open_table(path, table) as file:
        rows = (row for batch in file.iter_batches(_READ_ROWS, columns=columns) for row in batch.to_pylist())
        for dialogue_id, group in groupby(rows, key=lambda row: str(row["dialogue_id"])):
            yield dialogue_id, list(group)
