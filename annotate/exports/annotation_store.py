"""Annotations on their way through an ingest: those of the workspace and those that arrive, outside of memory.

An anonymous SQLite database on disk, which the system removes with the process, however it ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import orjson

from annotate.annotations.annotation import CORPUS, PAGE, Annotation, Mark, moment_after
from annotate.exports.identity import Arrival, Identity, Match, base_name

Standing = Literal["usable", "unreadable", "void"]
"""Of an annotation that arrives: unreadable ones are quarantined; void ones were skipped, or show an old dialogue."""

_TABLES = """
CREATE TABLE version (
    annotation_id TEXT, updated_at TEXT, dialogue_id TEXT, annotator TEXT, content BLOB,
    base TEXT, server TEXT, completed_by TEXT,
    PRIMARY KEY (annotation_id, updated_at)
) WITHOUT ROWID;
CREATE INDEX of_dialogue ON version (dialogue_id);
CREATE INDEX of_base ON version (base);
CREATE INDEX of_server ON version (server, completed_by);
CREATE TABLE heard (number INTEGER PRIMARY KEY, annotation_id TEXT, project TEXT, task_id TEXT);
CREATE INDEX of_heard ON heard (annotation_id);
CREATE TABLE arrived (
    number INTEGER PRIMARY KEY, annotation_id TEXT, updated_at TEXT, content BLOB, standing TEXT, export TEXT,
    assigned_to TEXT, project TEXT, server TEXT, completed_by TEXT, annotator TEXT
);
CREATE TABLE refused (
    annotation_id TEXT, turn INTEGER, reason TEXT, detail TEXT, content BLOB, export TEXT, number INTEGER
);
CREATE TABLE gone (annotation_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE asked (annotation_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE in_force (annotation_id TEXT, updated_at TEXT, PRIMARY KEY (annotation_id, updated_at)) WITHOUT ROWID;
"""


@dataclass
class Changes:
    """What arrived, against what the workspace held, in annotations."""

    new: int = 0  # answers never seen before
    changed: int = 0  # answers that say something else than before
    # answers that counted until now and do not any more: deleted, skipped, or edited into something that cannot be read
    withdrawn: int = 0
    unchanged: int = 0  # all others that were asked for, whether they were sent again or not

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.withdrawn)

    def as_json(self) -> dict[str, int]:
        return {"new": self.new, "changed": self.changed, "withdrawn": self.withdrawn, "unchanged": self.unchanged}


class AnnotationStore(AbstractContextManager["AnnotationStore"]):
    """Every version of every annotation, by key; see :attr:`annotate.annotations.annotation.Annotation.key`."""

    def __init__(self) -> None:
        # an empty name is a private database in a temporary file that has no name on disk
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _TABLES)
        self._heard: int | None = None

    def __exit__(self, *exc: object) -> None:
        self._base.close()

    def mark_seen(self, annotation_id: str, project: str, task_id: str) -> None:
        """Note that the export being read speaks of this annotation, usable or not; what follows is said of it."""
        heard = self._base.execute(
            "INSERT INTO heard (annotation_id, project, task_id) VALUES (?, ?, ?)", (annotation_id, project, task_id)
        )
        self._heard = heard.lastrowid

    def add(self, annotation: Annotation, standing: Standing, *, assigned_to: str | None = None) -> None:
        """Note the annotation that was heard of last, under the names that its export gives.

        Args:
            annotation: as read.
            standing: whether it can be used.
            assigned_to: whom the task says it was assigned to.
        """
        self._base.execute(
            "INSERT INTO arrived (number, annotation_id, updated_at, content, standing, assigned_to, project, server,"
            " completed_by, annotator) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._heard,
                *annotation.key,
                annotation.to_json(),
                standing,
                assigned_to,
                annotation.project or "",
                annotation.server,
                annotation.completed_by,
                annotation.annotator,
            ),
        )

    def heard(self, project: str) -> dict[int, list[str]]:
        """Task number -> annotations that arrived of it, for one project of the server that was pulled."""
        found: dict[int, list[str]] = {}
        rows = self._base.execute("SELECT DISTINCT task_id, annotation_id FROM heard WHERE project = ?", (project,))
        for task, name in rows:
            if str(task).isdecimal():
                found.setdefault(int(task), []).append(name)
        return found

    def expect(self, annotation_ids: Iterable[str]) -> None:
        """Count these with the annotations asked for, though none of them was sent: they are as they were."""
        self._base.executemany("INSERT OR IGNORE INTO asked VALUES (?)", ((name,) for name in annotation_ids))

    def refuse(self, row: Mapping[str, Any]) -> None:
        """Note one row of ``quarantine.parquet`` of the annotation that was heard of last."""
        self._refuse(row, self._heard)

    def _refuse(self, row: Mapping[str, Any], number: int | None) -> None:
        order = (row["annotation_id"] or "", -1 if row["turn"] is None else row["turn"], row["reason"], row["detail"])
        self._base.execute(
            "INSERT INTO refused VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*order, orjson.dumps(dict(row)), row["export_sha256"], number),
        )

    def name_export(self, sha256: str) -> None:
        """Say which export brought what arrived since this was last said: its hash is known once it is read."""
        self._base.execute("UPDATE arrived SET export = ? WHERE export IS NULL", (sha256,))
        self._base.execute("UPDATE refused SET export = ? WHERE export IS NULL", (sha256,))

    def load_quarantine(self, stored: Iterable[Mapping[str, Any]]) -> None:
        """Take in the quarantine of the workspace, but for annotations that what arrived speaks of anew, or that are
        gone: after :meth:`merge` and :meth:`withdraw`.
        """
        for row in stored:
            name = row["annotation_id"]
            found = self._base.execute(
                "SELECT 1 FROM heard WHERE annotation_id = ? UNION ALL SELECT 1 FROM gone WHERE annotation_id = ?",
                (name, name),
            )
            if found.fetchone() is None:
                self._refuse(row, None)

    def quarantine(self) -> Iterator[dict[str, Any]]:
        """The rows of ``quarantine.parquet`` in order."""
        found = self._base.execute(
            "SELECT coalesce(heard.annotation_id, refused.annotation_id) AS name, refused.content, refused.export,"
            " arrived.annotator"
            " FROM refused LEFT JOIN heard USING (number) LEFT JOIN arrived USING (number)"
            " ORDER BY name, turn, reason, detail, refused.content"
        )
        for name, content, export, annotator in found:
            row = orjson.loads(content)
            named = {} if annotator is None else {"annotation_id": name, "annotator": annotator}
            yield {**row, **named, "export_sha256": export or ""}

    def refused(self) -> int:
        """How many rows :meth:`quarantine` has."""
        (rows,) = self._base.execute("SELECT count(*) FROM refused").fetchone()
        return int(rows)

    def load(self, stored: Iterable[Annotation]) -> None:
        """Take in the annotations that the workspace holds."""
        for annotation in stored:
            earlier = self._find(annotation.key)
            if earlier is not None:
                annotation = annotation.with_marks((*earlier.marks, *annotation.marks))
            self.put(annotation)

    def merge(self, identity: Identity | None = None, *, from_server: bool = False) -> Changes:
        """Lay what arrived over what the workspace holds.

        A version that says what is stored already changes nothing. One that says something else replaces the stored
        one: the same answer is read differently once the ontology has grown. An unreadable one withdraws older
        versions of its annotation, whose answer it replaced; a void one withdraws the same version too.

        Args:
            identity: names what arrived; without it the names that exports give are taken as they are.
            from_server: what arrived is what the server holds now: it counts even where an earlier pull had found it
                gone. A file may be older than that; what the page has kept is always of now.
        """
        # names of annotations, of which several versions may arrive together
        new, changed, withdrawn = set[str](), set[str](), set[str]()
        if identity is not None:
            identity.settle()
        arrived = self._base.execute(
            "SELECT number, content, standing, export, assigned_to FROM arrived ORDER BY number"
        )
        for number, content, standing, export, assigned_to in arrived:
            annotation = replace(Annotation.from_json(content), export_sha256=export)
            if identity is not None:
                annotation = self._named(number, identity.named(Arrival(annotation, export or "", assigned_to)))
            if from_server or annotation.server == PAGE:
                self._restore(annotation)
            stored = self._find(annotation.key)
            if standing == "usable" and stored is not None and stored.says_the_same(annotation):
                continue
            earlier = self._newest_until(annotation.key)
            if standing != "usable":
                if earlier is None or (standing == "unreadable" and earlier.key == annotation.key):
                    continue
                if not earlier.is_withdrawn:
                    withdrawn.add(annotation.annotation_id)
                annotation = replace(annotation, dialogue_id=earlier.dialogue_id, task_uid=earlier.task_uid)
                annotation = annotation.with_marks([Mark(earlier.marks[0].turn, "withdrawn")])
            elif self._newest(annotation.annotation_id) is None:
                new.add(annotation.annotation_id)
            if stored is None or not stored.says_the_same(annotation):
                if standing == "usable" and earlier is not None and not _alike(earlier, annotation):
                    changed.add(annotation.annotation_id)
                    withdrawn.discard(annotation.annotation_id)
                self.put(annotation)
        return Changes(new=len(new - withdrawn), changed=len(changed - withdrawn - new), withdrawn=len(withdrawn - new))

    def _named(self, number: int, annotation: Annotation) -> Annotation:
        """Note the names that something which arrived goes by."""
        self._base.execute(
            "UPDATE arrived SET annotation_id = ?, annotator = ? WHERE number = ?",
            (annotation.annotation_id, annotation.annotator, number),
        )
        self._base.execute("UPDATE heard SET annotation_id = ? WHERE number = ?", (annotation.annotation_id, number))
        return annotation

    def matches(self) -> Iterator[Match]:
        """What arrived, each with every stored version that goes by the same name, on whatever server."""
        found = self._base.execute(
            "SELECT export, project, arrived.server, arrived.completed_by, version.server, assigned_to,"
            " arrived.content, version.content FROM arrived JOIN version ON base = arrived.annotation_id"
        )
        for export, project, *rest in found:
            yield Match((export or "", project), *rest)

    def sources(self) -> list[tuple[str, str]]:
        """Export and project of what arrived from files."""
        found = self._base.execute("SELECT DISTINCT export, project FROM arrived WHERE server IS NULL ORDER BY 1, 2")
        return [(export or "", project) for export, project in found]

    def addresses(self) -> list[tuple[tuple[str, str], str, str]]:
        """Export and project, number of a user and the e-mail address, where what arrived from files tells both."""
        found = self._base.execute(
            "SELECT DISTINCT export, project, completed_by, annotator FROM arrived WHERE server IS NULL"
            " AND assigned_to IS NULL AND completed_by IS NOT annotator AND annotator LIKE '%@%' ORDER BY 1, 2, 3, 4"
        )
        return [((export or "", project), number, email) for export, project, number, email in found]

    def of_base(self, base: str) -> list[Annotation]:
        """Every stored version of the annotations that go by a name, on whatever servers."""
        found = self._base.execute("SELECT content FROM version WHERE base = ? ORDER BY annotation_id", (base,))
        return [Annotation.from_json(content) for (content,) in found]

    def of_server(self, server: str) -> list[Annotation]:
        """Every stored version of the annotations of a server."""
        found = self._base.execute("SELECT content FROM version WHERE server = ?", (server,))
        return [Annotation.from_json(content) for (content,) in found]

    def move(self, server: str, now: str, project: str) -> None:
        """A project's server is found at another address by now."""
        for each in self.of_server(server):
            if each.project == project:
                self.put(replace(each, server=now))

    def people(self, server: str, number: str) -> list[str]:
        """The names under which answers of one user of a server are stored."""
        found = self._base.execute(
            "SELECT DISTINCT annotator FROM version WHERE server = ? AND completed_by = ? ORDER BY 1", (server, number)
        )
        return [name for (name,) in found]

    def has_annotator(self, name: str) -> bool:
        """Whether answers are stored under this name."""
        return self._base.execute("SELECT 1 FROM version WHERE annotator = ?", (name,)).fetchone() is not None

    def withdraw(self, annotation_ids: Iterable[str], export_sha256: str | None) -> int:
        """Withdraw annotations that are no longer on the server, and forget their quarantine.

        The withdrawal is a version of its own, a microsecond younger than the last one: that one stays, and the same
        answer in an export made earlier does not come back to life.

        Returns:
            How many of them counted until now.
        """
        withdrawn = 0
        for name in annotation_ids:
            self._base.execute("INSERT OR IGNORE INTO gone VALUES (?)", (name,))
            self._base.execute("DELETE FROM refused WHERE annotation_id = ?", (name,))
            last = self._newest(name)
            if last is not None and not last.is_withdrawn:
                gone = replace(last, updated_at=moment_after(last.updated_at), export_sha256=export_sha256)
                self.put(gone.with_marks([Mark(last.marks[0].turn, "withdrawn")]))
                withdrawn += 1
        return withdrawn

    def standing(self) -> int:
        """How many of the annotations asked for are answers that are not withdrawn."""
        found = self._base.execute(
            "SELECT content, max(updated_at) FROM version WHERE annotation_id IN "
            "(SELECT annotation_id FROM asked UNION SELECT annotation_id FROM heard) GROUP BY annotation_id"
        )
        return sum(1 for content, _ in found if not Annotation.from_json(content).is_withdrawn)

    def all(self) -> Iterator[Annotation]:
        """Every version, in the order of ``annotations.parquet``."""
        found = self._base.execute("SELECT content FROM version ORDER BY annotation_id, updated_at")
        return (Annotation.from_json(content) for (content,) in found)

    def all_standing(self) -> Iterator[tuple[Annotation, bool]]:
        """Every version, in the order of ``annotations.parquet``, and whether it counts."""
        found = self._base.execute(
            "SELECT content, in_force.annotation_id IS NOT NULL FROM version LEFT JOIN in_force"
            " USING (annotation_id, updated_at) ORDER BY version.annotation_id, version.updated_at"
        )
        return ((Annotation.from_json(content), bool(counts)) for content, counts in found)

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

    def _newest(self, annotation_id: str) -> Annotation | None:
        return self._one(
            "WHERE annotation_id = ? AND updated_at >= ? ORDER BY updated_at DESC LIMIT 1", (annotation_id, "")
        )

    def _restore(self, annotation: Annotation) -> None:
        """An annotation that a pull had found gone is back, say from a backup of the server."""
        later = moment_after(annotation.updated_at)
        gone = self._find((annotation.annotation_id, later))
        if gone is not None and gone.is_withdrawn:
            self._base.execute("DELETE FROM version WHERE annotation_id = ? AND updated_at = ?", gone.key)

    def _newest_until(self, key: tuple[str, str]) -> Annotation | None:
        return self._one("WHERE annotation_id = ? AND updated_at <= ? ORDER BY updated_at DESC LIMIT 1", key)

    def _one(self, condition: str, key: tuple[str, str]) -> Annotation | None:
        found = self._base.execute(f"SELECT content FROM version {condition}", key).fetchone()
        return None if found is None else Annotation.from_json(found[0])

    def put(self, annotation: Annotation) -> None:
        """Store a version, in the place of one of the same key."""
        self._base.execute(
            "INSERT OR REPLACE INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *annotation.key,
                annotation.dialogue_id,
                annotation.annotator,
                annotation.to_json(),
                base_name(annotation.annotation_id),
                annotation.server,
                annotation.completed_by,
            ),
        )


def _alike(one: Annotation, other: Annotation) -> bool:
    """Whether two versions say the same of the dialogue, under whatever name of their annotator."""
    return (one.marks, one.dialogue_id, one.role) == (other.marks, other.dialogue_id, other.role)
