"""One dialogue as the checks see it: its answers in force, what they make of its states, and what was said."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from annotate.annotations.annotation import Annotation
from annotate.checks.findings import Finding
from annotate.resolution.resolve import Resolution
from schemas.belief import TurnUpdate
from schemas.folding import fold
from schemas.ontology import Ontology
from schemas.tables import RECOMMENDATIONS, TURNS, dialogue_rows


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
        for dialogue_id, rows in dialogue_rows(turns, TURNS, ["dialogue_id", "turn", "text", "image_ids"]):
            texts = [(row["turn"], row["text"]) for row in rows]
            shown = [(row["turn"], row["image_ids"]) for row in rows if row["image_ids"]]
            store._base.execute("INSERT INTO turns VALUES (?, ?)", (dialogue_id, orjson.dumps((texts, shown))))
        if recommendations.exists():
            for dialogue_id, rows in dialogue_rows(
                recommendations, RECOMMENDATIONS, ["dialogue_id", "turn", "positives"]
            ):
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


class Refused(NamedTuple):
    """One row of the quarantine."""

    annotation_id: str | None
    turn: int | None
    reason: str
    annotator: str | None
    detail: str


class TurnLabels(NamedTuple):
    """One user turn."""

    turn: int
    update: TurnUpdate | None  # what it changes; None where there is no label
    before: Sequence[Mapping[str, Any]] | None  # the state before it; None where unknown
    state: Sequence[Mapping[str, Any]] | None  # the state after it; None where unknown
    known_before: frozenset[str]  # names of the slots that are known before it
    since: Mapping[tuple[str, str], int]  # (slot, folded value) -> the turn that said it last, for all in ``state``
    annotators: tuple[str, ...]  # whose label it is
    annotation_ids: tuple[str, ...]

    @property
    def is_readable(self) -> bool:
        return self.update is not None and self.update.readable

    @property
    def is_blank(self) -> bool:
        """Whether the turn is said to change nothing."""
        said = self.update
        return (
            said is not None
            and said.readable
            and not (said.want or said.dislike or said.drop or said.new_topic or said.unknown)
        )


@dataclass(frozen=True)
class DialogueLabels:
    """The labels of one dialogue."""

    dialogue_id: str
    resolution: Resolution  # what is in force
    states: Sequence[Mapping[str, Any]]  # its rows of ``states.parquet``, one per user turn
    annotations: Sequence[Annotation]  # every version of every annotation
    refused: Sequence[Refused]  # its rows of the quarantine
    said: StoredDialogue  # what was said, shown and recommended
    ontology: Ontology

    @cached_property
    def turns(self) -> list[TurnLabels]:
        """The user turns, in order."""
        found: list[TurnLabels] = []
        before: Sequence[Mapping[str, Any]] | None = ()
        known, since = frozenset(slot.name for slot in self.ontology.slots), dict[tuple[str, str], int]()
        for update, row in zip(self.resolution.updates, self.states, strict=True):
            turn, state = row["turn"], row["state"]
            wanted_now, given_up = self._slots_of(update, "want"), self._slots_of(update, "drop")
            anew = update is not None and update.readable and update.new_topic
            earlier, since = since, {}
            held = {(each["slot"], fold(each["value"]), each["polarity"]) for each in before or ()}
            for item in state or ():
                key = item["slot"], fold(item["value"])
                # wanted values replace a slot's, so all that is wanted of it then was said now; and so was a dislike of
                # what was wanted, and whatever holds of what was given up in the same breath
                is_new = anew or item["slot"] in given_up or (*key, item["polarity"]) not in held
                is_new = is_new or (item["polarity"] == "like" and item["slot"] in wanted_now)
                since[key] = turn if is_new else earlier.get(key, turn)
            annotators, ids = tuple(row["annotators"]), tuple(row["source_annotations"])
            found.append(TurnLabels(turn, update, before, state, known, since, annotators, ids))
            before, known = state, frozenset(row["labelled_slots"])
        return found

    def _slots_of(self, update: TurnUpdate | None, part: Literal["want", "drop"]) -> set[str]:
        if update is None or not update.readable:
            return set()
        return {self.ontology.slot(name).name for name in (update.want if part == "want" else update.drop)}

    def next_recommendation(self, turn: int) -> tuple[int, list[str]] | None:
        """The recommendation that answers a user turn, before the user speaks again: its turn and the products."""
        following = [row["turn"] for row in self.states if row["turn"] > turn]
        answers = [at for at in self.said.recommended if at > turn and (not following or at < following[0])]
        return (min(answers), self.said.recommended[min(answers)]) if answers else None

    def finding(
        self,
        code: str,
        detail: str,
        at: TurnLabels | None = None,
        *,
        by: Iterable[Annotation] = (),
        turn: int | None = None,
        slot: str | None = None,
        value: str | None = None,
        suggestion: str | None = None,
    ) -> Finding:
        """A finding of this dialogue: at a turn, whose label it is then, or by the annotations named."""
        whose = sorted(by, key=lambda annotation: annotation.key)
        return Finding(
            code=code,
            dialogue_id=self.dialogue_id,
            detail=detail,
            turn=at.turn if at is not None else turn,
            slot=slot,
            value=value,
            suggestion=suggestion,
            annotators=tuple(sorted({each.annotator for each in whose})) or (at.annotators if at else ()),
            annotation_ids=tuple(each.annotation_id for each in whose) or (at.annotation_ids if at else ()),
        )
