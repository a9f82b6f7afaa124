"""One annotation: what one annotator marked in one task, as rows of ``annotations.parquet`` and as turn updates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import orjson

from schemas.belief import DIALOGUE_OPS, OPS, Op, Polarity, TurnUpdate
from schemas.tables import ANNOTATIONS, open_table

CORPUS = "corpus"
"""The annotator of states that came with the corpus."""

PAGE = "page"
"""The annotator of corrections made on the page of ``semctl serve``, and what stands for its server."""

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"

_PAGE_DIALOGUE = re.compile(r"page/[0-9a-f]{16}")

Role = Literal["label", "review"]

_OP_ORDER = {op: position for position, op in enumerate(OPS)}
_READ_ROWS = 10_000


@dataclass(frozen=True)
class Mark:
    """One thing marked: an operation on a turn, with its slot and value where it has them."""

    turn: int  # the user turn; for an operation of :data:`~schemas.belief.DIALOGUE_OPS` the first turn annotated
    op: Op
    slot: str | None = None  # name of the slot, for ``want``, ``dislike`` and ``drop``
    value: str | None = None  # the value as marked, for ``want`` and ``dislike``; the text of a ``note``
    # ``manual``, ``prediction`` (a pre-label left as it was), ``prediction-changed``, ``corpus``, or ``unknown`` where
    # Label Studio says something else
    origin: str = "manual"

    @property
    def polarity(self) -> Polarity | None:
        """``like`` or ``dislike`` for a value wanted or disliked, else None."""
        return "like" if self.op == "want" else "dislike" if self.op == "dislike" else None


@dataclass(frozen=True)
class Annotation:
    """One version of one annotation."""

    annotation_id: str  # ``ls:<project>:<id>`` or ``corpus:<dialogue_id>``; see :mod:`annotate.exports.identity`
    dialogue_id: str
    annotator: str  # who made it; ``corpus`` for states that came with the corpus
    updated_at: str = ""  # UTC in ISO 8601 with microseconds: text order is time order; empty when unknown
    marks: tuple[Mark, ...] = ()  # everything marked, in the order of the table's rows
    task_uid: str | None = None  # the labelling task
    created_at: str | None = None  # when it was begun
    lead_time: float | None = None  # seconds the annotator spent on it
    project: str | None = None  # number of the Label Studio project
    export_sha256: str | None = None  # the export that brought this version first
    ontology_version: int = 1  # of the ontology that its screen offered, see :class:`InterfaceVersions`
    role: Role = "label"  # ``label``, or ``review``: a verdict on what others answered differently
    task_id: str | None = None  # Label Studio's number of the task
    completed_by: str | None = None  # who sent it, as Label Studio names them
    config_sha256: str | None = None  # hash of the label configuration that the task was made with
    prelabel: str | None = None  # version of the model whose pre-label it started from
    prelabel_score: float | None = None  # what that model gave its pre-label, from 0 to 1
    untouched: bool = False  # whether it is exactly that pre-label
    server: str | None = None  # address of the Label Studio, or what stands for it where only an export is known

    @property
    def key(self) -> tuple[str, str]:
        """What tells versions apart."""
        return self.annotation_id, self.updated_at

    @property
    def is_corpus(self) -> bool:
        return self.annotator == CORPUS

    @property
    def is_of_page(self) -> bool:
        return self.annotator == PAGE

    @property
    def is_withdrawn(self) -> bool:
        return any(mark.op == "withdrawn" for mark in self.marks)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is marked, of no turn and not of the dialogue either."""
        return bool(self.marks) and all(mark.op == "none" for mark in self.marks)

    def turns(self) -> dict[int, list[Mark]]:
        """The turns this annotation speaks of, with their marks; a turn refused on ingest is not among them."""
        found: dict[int, list[Mark]] = {}
        for mark in self.marks:
            if mark.op not in DIALOGUE_OPS:
                found.setdefault(mark.turn, []).append(mark)
        return found

    def with_marks(self, marks: Iterable[Mark]) -> Annotation:
        """A copy with these marks, each once, in canonical order."""
        return replace(self, marks=tuple(sorted(dict.fromkeys(marks), key=_mark_order)))

    def says_the_same(self, other: Annotation) -> bool:
        """Whether the other version differs in nothing but the export it came with."""
        return replace(self, export_sha256=other.export_sha256) == other

    def rows(self, *, in_force: bool | None = None) -> Iterator[dict[str, Any]]:
        """Its rows of ``annotations.parquet``, in order; ``in_force`` says whether this version counts."""
        of_all = {name: getattr(self, name) for name in _OF_ALL_MARKS}
        of_all |= {"updated_at": self.updated_at or None, "in_force": in_force}
        for mark in self.marks:
            of_mark = {"turn": mark.turn, "op": mark.op, "slot": mark.slot, "value": mark.value}
            yield {**of_all, **of_mark, "polarity": mark.polarity, "origin": mark.origin}

    def to_json(self) -> bytes:
        """A compact form for staging."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, text: bytes) -> Annotation:
        """The inverse of :meth:`to_json`."""
        fields = orjson.loads(text)
        return cls(**{**fields, "marks": tuple(Mark(**mark) for mark in fields["marks"])})

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Annotation:
        """The inverse of :meth:`rows`; ``rows`` are all rows of one version."""
        first = rows[0]
        marks = [Mark(row["turn"], row["op"], row["slot"], row["value"], row["origin"]) for row in rows]
        # tables of earlier versions lack some columns
        given = {name: first[name] for name in _OF_ALL_MARKS if name in first}
        return cls(**{**given, "updated_at": first["updated_at"] or ""}).with_marks(marks)


_OF_ALL_MARKS = tuple(each.name for each in fields(Annotation) if each.name != "marks")
"""Columns of which all rows of one annotation have the same."""


def moment(time: datetime) -> str:
    """A time with its zone as annotations have it: UTC with microseconds, so that text order is time order."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def moment_after(updated_at: str) -> str:
    """A microsecond later than a version's time; empty, as for unknown times, becomes the first moment there is."""
    if not updated_at:
        return "0001-01-01T00:00:00.000000Z"
    return moment(datetime.strptime(updated_at, _TIME).replace(tzinfo=UTC) + timedelta(microseconds=1))


def page_dialogue(content_sha256: str) -> str:
    """The id of a dialogue that was held on the page, by a hash of what was said."""
    return f"{PAGE}/{content_sha256[:16]}"


def is_of_page(dialogue_id: str) -> bool:
    """Whether a dialogue was held on the page of ``semctl serve``: it is no part of the corpus."""
    return _PAGE_DIALOGUE.fullmatch(dialogue_id) is not None


def turn_update(marks: Iterable[Mark]) -> TurnUpdate:
    """What the marks of one turn change."""
    want: dict[str, tuple[str, ...]] = {}
    dislike: dict[str, tuple[str, ...]] = {}
    drop: set[str] = set()
    unknown: set[str] = set()
    ops: set[Op] = set()
    for mark in marks:
        ops.add(mark.op)
        if mark.op == "drop" and mark.slot is not None:
            drop.add(mark.slot)
        elif mark.op == "unknown" and mark.slot is not None:
            unknown.add(mark.slot)
        elif mark.op in ("want", "dislike") and mark.slot is not None and mark.value is not None:
            side = want if mark.op == "want" else dislike
            side[mark.slot] = (*side.get(mark.slot, ()), mark.value)
    readable = not ops & {"unsure", "bad_turn"}
    return TurnUpdate(want, dislike, frozenset(drop), "new_topic" in ops, readable, frozenset(unknown))


def read_annotations(path: Path) -> Iterator[Annotation]:
    """The annotations of a table, one version at a time; none when there is no such file yet.

    Rows of one version are expected to follow each other; where they do not, the version comes in several parts.
    """
    if not path.exists():
        return
    with open_table(path, ANNOTATIONS) as file:
        rows = (row for batch in file.iter_batches(_READ_ROWS) for row in batch.to_pylist())
        for _, part in groupby(rows, key=lambda row: (row["annotation_id"], row["updated_at"])):
            yield Annotation.from_rows(list(part))


def _mark_order(mark: Mark) -> tuple[int, int, str, str, str]:
    return mark.turn, _OP_ORDER.get(mark.op, len(OPS)), mark.slot or "", mark.value or "", mark.origin
