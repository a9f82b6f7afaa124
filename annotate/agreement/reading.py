"""The annotations that can be compared, dialogue by dialogue, out of a table that is sorted by annotation.

Only dialogues that several people answered are read whole, and those in a compact form: of 130,000 annotations some
200 bytes each stay in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotate.annotations.annotation import CORPUS, Annotation, Mark
from schemas.tables import ANNOTATIONS, TURNS, open_table

_KEYS = ("annotation_id", "dialogue_id", "annotator", "updated_at", "task_uid", "project", "ontology_version")
_SAID = ("turn", "op", "slot", "value", "origin")
_LATER = ("role", "prelabel", "untouched", "server")
"""Columns that tables of earlier versions lack; a row then has what :class:`Annotation` takes by itself."""

_READ_ROWS = 50_000


class Labelled(NamedTuple):
    """Who answered one dialogue."""

    people: frozenset[str]  # those who labelled it
    reviewed: bool  # whether there are verdicts on it
    prelabelled: bool = False  # whether one of them started from a pre-label

    def is_comparable(self) -> bool:
        """Whether there is anything to compare."""
        return len(self.people) > 1 or (self.reviewed and bool(self.people))


class UserTurns(NamedTuple):
    """One dialogue: its split, and its user turns, ascending."""

    split: str
    turns: tuple[int, ...]


def read_labelled(path: Path) -> dict[str, Labelled]:
    """Dialogue id -> who answered it, by people only; sorted.

    Raises:
        WorkspaceError: there is no such table.
        SchemaError: it is another table, or of another version.
    """
    people: defaultdict[str, set[str]] = defaultdict(set)
    reviewed: set[str] = set()
    prelabelled: set[str] = set()
    with open_table(path, ANNOTATIONS) as file:
        columns = [
            "dialogue_id",
            "annotator",
            *(name for name in ("role", "prelabel") if name in file.schema_arrow.names),
        ]
        for batch in file.iter_batches(_READ_ROWS, columns=columns):
            found = pa.Table.from_batches([batch]).filter(pc.field("annotator") != CORPUS).group_by(columns)
            for row in found.aggregate([]).to_pylist():
                if row.get("role") == "review":
                    reviewed.add(row["dialogue_id"])
                else:
                    people[row["dialogue_id"]].add(row["annotator"])
                    if row.get("prelabel") is not None:
                        prelabelled.add(row["dialogue_id"])
    ids = sorted(people.keys() | reviewed)
    return {each: Labelled(frozenset(people.get(each, ())), each in reviewed, each in prelabelled) for each in ids}


def read_user_turns(path: Path, dialogues: Collection[str]) -> dict[str, UserTurns]:
    """Dialogue id -> its user turns, for some dialogues; those that are no longer there are left out.

    Raises:
        WorkspaceError: there is no such table.
        SchemaError: it is another table, or of another version.
    """
    turns: defaultdict[str, list[int]] = defaultdict(list)
    splits: dict[str, str] = {}
    wanted = pa.array(sorted(dialogues), pa.string())
    with open_table(path, TURNS) as file:
        for batch in file.iter_batches(_READ_ROWS, columns=["dialogue_id", "turn", "speaker", "split"]):
            of_users = pc.and_(pc.equal(batch["speaker"], "user"), pc.is_in(batch["dialogue_id"], value_set=wanted))
            kept = batch.filter(of_users)
            columns = (kept[name].to_pylist() for name in ("dialogue_id", "turn", "split"))
            for dialogue_id, turn, split in zip(*columns, strict=True):
                turns[dialogue_id].append(turn)
                splits[dialogue_id] = split
    return {each: UserTurns(splits[each], tuple(sorted(turns[each]))) for each in sorted(turns)}


def annotations_by_dialogue(path: Path, dialogues: Collection[str]) -> Iterator[tuple[str, list[Annotation]]]:
    """Dialogue id and all versions of its annotations by people, for some dialogues, sorted by id.

    Of an annotation no more is filled in than comparing takes: who, when, of which task, what, and from which
    pre-label.

    Raises:
        WorkspaceError: there is no such table.
        SchemaError: it is another table, or of another version.
    """
    rows = _compact(path, dialogues)
    if not rows.num_rows:
        return
    columns = {name: _Column(rows[name].chunk(0)) for name in rows.column_names}
    del rows  # what is left of it is twice the memory
    rank = columns["dialogue_id"].ranks()
    order = np.argsort(rank, kind="stable")  # rows of one version keep following each other
    firsts = np.flatnonzero(np.diff(rank[order], prepend=-1))
    start = 0
    while start < len(firsts):
        stop = max(int(np.searchsorted(firsts, firsts[start] + _READ_ROWS)), start + 1)
        end = firsts[stop] if stop < len(firsts) else len(order)
        yield from _dialogues(columns, order[firsts[start] : end])
        start = stop


class _Column:
    """One column, with each of its strings made only once."""

    def __init__(self, values: pa.Array) -> None:
        self._names: list[str | None] | None = None
        if pa.types.is_dictionary(values.type):
            self._names = [*values.dictionary.to_pylist(), None]
            values = values.indices.fill_null(len(self._names) - 1)
        self._values = values.to_numpy(zero_copy_only=False)

    def at(self, rows: NDArray[np.int64]) -> list[Any]:
        """The values of some rows."""
        found: list[Any] = self._values[rows].tolist()
        names = self._names
        return found if names is None else [names[index] for index in found]

    def ranks(self) -> NDArray[np.int64]:
        """Of each row's string among all of them, in alphabetical order."""
        names = np.array((self._names or [])[:-1], dtype=object)
        rank = np.empty(len(names), np.int64)
        rank[np.argsort(names)] = np.arange(len(names))
        found: NDArray[np.int64] = rank[self._values]
        return found


def _compact(path: Path, dialogues: Collection[str]) -> pa.Table:
    """The rows of these dialogues, strings as dictionaries."""
    wanted = pa.array(sorted(dialogues), pa.string())
    parts = []
    with open_table(path, ANNOTATIONS) as file:
        columns = [name for name in (*_KEYS, *_SAID, *_LATER) if name in file.schema_arrow.names]
        for batch in file.iter_batches(_READ_ROWS, columns=columns):
            here = pc.and_(pc.not_equal(batch["annotator"], CORPUS), pc.is_in(batch["dialogue_id"], value_set=wanted))
            part = pa.Table.from_batches([batch.filter(here)])
            for index, name in enumerate(columns):
                if pa.types.is_string(part.schema.field(name).type):
                    part = part.set_column(index, name, part[name].dictionary_encode())
            if part.num_rows:
                parts.append(part)
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks() if parts else pa.table({})


def _dialogues(columns: Mapping[str, _Column], rows: NDArray[np.int64]) -> Iterator[tuple[str, list[Annotation]]]:
    """Annotations of rows sorted by dialogue."""
    later = tuple(name for name in _LATER if name in columns)
    current = ""
    versions: dict[tuple[str, str], tuple[tuple[Any, ...], list[Mark]]] = {}
    marks: dict[tuple[Any, ...], Mark] = {}  # the same few over and over
    for row in zip(*(columns[name].at(rows) for name in (*_KEYS, *_SAID, *later)), strict=True):
        annotation_id, dialogue_id, _, updated_at = row[:4]
        if dialogue_id != current:
            if versions:
                yield current, [_annotation(keys, said, later) for keys, said in versions.values()]
            current, versions = dialogue_id, {}
        key = (annotation_id, updated_at or "")
        if key not in versions:
            versions[key] = (row, [])
        said = row[7:12]
        if said not in marks:
            marks[said] = Mark(*said)
        versions[key][1].append(marks[said])
    if versions:
        yield current, [_annotation(keys, said, later) for keys, said in versions.values()]


def _annotation(row: tuple[Any, ...], marks: list[Mark], later: tuple[str, ...]) -> Annotation:
    annotation_id, dialogue_id, annotator, updated_at, task_uid, project, version = row[:7]
    return Annotation(
        annotation_id=annotation_id,
        dialogue_id=dialogue_id,
        annotator=annotator,
        updated_at=updated_at or "",
        marks=tuple(marks),
        task_uid=task_uid,
        project=project,
        ontology_version=version,
        **dict(zip(later, row[12:], strict=True)),
    )
