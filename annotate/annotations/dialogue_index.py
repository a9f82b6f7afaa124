"""Which user turns each dialogue of the workspace has, kept small enough for hundreds of thousands of dialogues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from schemas.files import sha256_bytes
from schemas.tables import TURNS, dialogue_rows

_FOR_THE_HASH = ["dialogue_id", "turn", "speaker", "text", "image_ids", "split"]
_WITHOUT = ["dialogue_id", "turn", "speaker", "split"]


class IndexedDialogue(NamedTuple):
    """One dialogue."""

    split: str  # train, valid or test
    user_turns: tuple[int, ...]  # its user turns, ascending
    sha256: bytes  # hash of what it says, see :func:`dialogue_sha256`; empty when it was not asked for


def dialogue_sha256(rows: Sequence[Mapping[str, Any]]) -> str:
    """Hash of what a dialogue says: turn, speaker, text and images of each row of ``turns.parquet``, in order."""
    said = [[int(row["turn"]), row["speaker"], row["text"], list(row["image_ids"])] for row in rows]
    return sha256_bytes(orjson.dumps(said))


def read_dialogue_index(turns: Path, *, with_hashes: bool) -> dict[str, IndexedDialogue]:
    """Dialogue id -> its user turns, sorted by id, of ``turns.parquet``; hashing what is said reads all text."""
    index: dict[str, IndexedDialogue] = {}
    for dialogue_id, rows in dialogue_rows(turns, TURNS, _FOR_THE_HASH if with_hashes else _WITHOUT):
        user_turns = tuple(row["turn"] for row in rows if row["speaker"] == "user")
        fingerprint = bytes.fromhex(dialogue_sha256(rows)) if with_hashes else b""
        index[dialogue_id] = IndexedDialogue(rows[0]["split"], user_turns, fingerprint)
    return dict(sorted(index.items()))
