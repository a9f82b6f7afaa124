"""Annotations on their way through an ingest: those of the workspace and those that arrive, outside of memory.

An anonymous SQLite database on disk, which the system removes with the process, however it ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal

import orjson

from annotate.annotations import CORPUS, Annotation, Mark

__all__ = ["AnnotationStore", "Standing"]

Standing = Literal["usable", "unreadable", "void"]
"""Of an annotation that arrives: unreadable ones are quarantined; void ones were skipped, or show an old dialogue."""

_TABLES = """
CREATE TABLE version (
    annotation_id TEXT, updated_at TEXT, dialogue_id TEXT, annotator TEXT, content BLOB,
    PRIMARY KEY (annotation_id, updated_at)
) WITHOUT ROWID;
CREATE INDEX of_dialogue ON version (dialogue_id);
CREATE TABLE arrived (number INTEGER PRIMARY KEY, annotation_id TEXT, updated_at TEXT, content BLOB, standing TEXT);
CREATE TABLE refused (annotation_id TEXT, turn INTEGER, reason TEXT, detail TEXT, content BLOB);
CREATE TABLE heard (annotation_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE in_force (annotation_id TEXT, updated_at TEXT, PRIMARY KEY (annotation_id, updated_at)) WITHOUT ROWID;
"""


class AnnotationStore(AbstractContextManager["AnnotationStore"]):
    """Every version of every annotation, by key; see :attr:`annotate.annotations.Annotation.key`."""

    def __init__(self) -> None:
        # an empty name is a private database in a temporary file that has no name on disk
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _TABLES)

    def __exit__(self, *exc: object) -> None:
        self._base.close()

    def arrive(self, annotation: Annotation, standing: Standing) -> None:
        """Note an annotation of the export being read."""
        self._base.execute(
            "INSERT INTO arrived (annotation_id, updated_at, content, standing) VALUES (?, ?, ?, ?)",
            (*annotation.key, annotation.to_json(), standing),
        )

    def hear(self, annotation_id: str) -> None:
        """Note that the export being read speaks of this annotation, usable or not."""
        self._base.execute("INSERT OR IGNORE INTO heard VALUES (?)", (annotation_id,))

    def refuse(self, row: Mapping[str, Any]) -> None:
        """Note one row of ``quarantine.parquet``."""
        order = (row["annotation_id"] or "", -1 if row["turn"] is None else row["turn"], row["reason"], row["detail"])
        self._base.execute("INSERT INTO refused VALUES (?, ?, ?, ?, ?)", (*order, orjson.dumps(dict(row))))

    def load_quarantine(self, stored: Iterable[Mapping[str, Any]]) -> None:
        """Take in the quarantine of the workspace, but for annotations that the export being read speaks of anew."""
        for row in stored:
            found = self._base.execute("SELECT 1 FROM heard WHERE annotation_id = ?", (row["annotation_id"],))
            if found.fetchone() is None:
                self.refuse(row)

    def quarantine(self, export_sha256: str) -> Iterator[dict[str, Any]]:
        """The rows of ``quarantine.parquet`` in order; rows that arrived now get the export's hash."""
        found = self._base.execute("SELECT content FROM refused ORDER BY annotation_id, turn, reason, detail, content")
        for (content,) in found:
            row = orjson.loads(content)
            yield {**row, "export_sha256": row["export_sha256"] or export_sha256}

    def load(self, stored: Iterable[Annotation]) -> None:
        """Take in the annotations that the workspace holds."""
        for annotation in stored:
            earlier = self._find(annotation.key)
            if earlier is not None:
                annotation = annotation.with_marks((*earlier.marks, *annotation.marks))
            self._put(annotation)

    def merge(self, export_sha256: str) -> None:
        """Lay what arrived over what the workspace holds.

        A version that says what is stored already changes nothing. One that says something else replaces the stored
        one: the same answer is read differently once the ontology has grown. An unreadable one withdraws older
        versions of its annotation, whose answer it replaced; a void one withdraws the same version too.
        """
        arrived = self._base.execute("SELECT content, standing FROM arrived ORDER BY number")
        for content, standing in arrived:
            annotation = replace(Annotation.from_json(content), export_sha256=export_sha256)
            if standing != "usable":
                earlier = self._newest_until(annotation.key)
                if earlier is None or (standing == "unreadable" and earlier.key == annotation.key):
                    continue
                annotation = replace(annotation, dialogue_id=earlier.dialogue_id, task_uid=earlier.task_uid)
                annotation = annotation.with_marks([Mark(earlier.marks[0].turn, "withdrawn")])
            stored = self._find(annotation.key)
            if stored is None or not stored.says_the_same(annotation):
                self._put(annotation)

    def all(self) -> Iterator[Annotation]:
        """Every version, in the order of ``annotations.parquet``."""
        found = self._base.execute("SELECT content FROM version ORDER BY annotation_id, updated_at")
        return (Annotation.from_json(content) for (content,) in found)

    def by_dialogue(self) -> Iterator[tuple[str, list[Annotation]]]:
        """Dialogue id and every version of its annotations, sorted by dialogue id."""
        found = self._base.execute("SELECT dialogue_id, content FROM version ORDER BY dialogue_id, annotation_id")
        for dialogue_id, rows in groupby(found, key=lambda row: str(row[0])):
            yield dialogue_id, [Annotation.from_json(content) for _, content in rows]

    def mark_in_force(self, annotations: Iterable[Annotation]) -> None:
        """Remember which versions count."""
        self._base.executemany("INSERT INTO in_force VALUES (?, ?)", (each.key for each in annotations))

    def counts(self) -> tuple[int, int]:
        """How many of the usable annotations that arrived are accepted, and how many are superseded.

        A version that arrives twice is accepted once.
        """
        return self._counts("arrived WHERE standing = 'usable'")

    def corpus_counts(self) -> tuple[int, int]:
        """The same, of all annotations that came with the corpus."""
        return self._counts(f"version WHERE annotator = '{CORPUS}'")

    def _counts(self, whose: str) -> tuple[int, int]:
        """``whose`` is one of the two constants above, never text from outside."""
        (all_of_them,) = self._base.execute(f"SELECT count(*) FROM {whose}").fetchone()
        (accepted,) = self._base.execute(
            f"SELECT count(*) FROM in_force WHERE (annotation_id, updated_at) IN "
            f"(SELECT annotation_id, updated_at FROM {whose})"
        ).fetchone()
        return accepted, all_of_them - accepted

    def _find(self, key: tuple[str, str]) -> Annotation | None:
        return self._one("WHERE annotation_id = ? AND updated_at = ?", key)

    def _newest_until(self, key: tuple[str, str]) -> Annotation | None:
        return self._one("WHERE annotation_id = ? AND updated_at <= ? ORDER BY updated_at DESC LIMIT 1", key)

    def _one(self, condition: str, key: tuple[str, str]) -> Annotation | None:
        found = self._base.execute(f"SELECT content FROM version {condition}", key).fetchone()
        return None if found is None else Annotation.from_json(found[0])

    def _put(self, annotation: Annotation) -> None:
        self._base.execute(
            "INSERT OR REPLACE INTO version VALUES (?, ?, ?, ?, ?)",
            (*annotation.key, annotation.dialogue_id, annotation.annotator, annotation.to_json()),
        )
