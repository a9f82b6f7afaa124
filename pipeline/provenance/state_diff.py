"""Two tables of belief states, compared turn by turn and slot by slot, as streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeVar

from schemas.tables import STATES, open_table

__all__ = ["Cell", "SlotChange", "StateDiff", "side_by_side", "state_diff"]

Cell = frozenset[str] | None
"""What is known of a slot: ``red``, ``!black`` for what is to be avoided; empty when nothing is asked; None unknown."""

Kind = Literal["changed", "labelled", "unlabelled"]

_READ_ROWS = 10_000
_COLUMNS = ["dialogue_id", "turn", "state", "labelled_slots"]
T = TypeVar("T")


@dataclass(frozen=True)
class SlotChange:
    """One slot after one user turn, which two ingests know differently."""

    dialogue_id: str
    turn: int
    slot: str
    before: Cell
    after: Cell

    @property
    def kind(self) -> Kind:
        if self.before is None:
            return "labelled"
        return "unlabelled" if self.after is None else "changed"

    def as_json(self) -> dict[str, Any]:
        sides = {"before": self.before, "after": self.after}
        return {
            "dialogue_id": self.dialogue_id,
            "turn": self.turn,
            "slot": self.slot,
            **{name: None if cell is None else sorted(cell) for name, cell in sides.items()},
        }


@dataclass
class StateDiff:
    """What differs between two tables of states.

    Attributes:
        added, removed: dialogues that only the newer or only the older table has.
        changed: how many dialogues have other states.
        turns: how many turns have, by what became of them.
        slots: slot -> how often it was changed, labelled or unlabelled, in turns.
        to_d_f, to_d_p: dialogues that moved into D_F, and out of it.
        d_f, d_p: dialogues of the splits, before and after.
        examples: the first changes.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: int = 0
    turns: Counter[Kind] = field(default_factory=Counter)
    slots: dict[str, Counter[Kind]] = field(default_factory=dict)
    to_d_f: list[str] = field(default_factory=list)
    to_d_p: list[str] = field(default_factory=list)
    d_f: list[int] = field(default_factory=lambda: [0, 0])
    d_p: list[int] = field(default_factory=lambda: [0, 0])
    examples: list[SlotChange] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.to_d_f or self.to_d_p)


Turns = Mapping[int, Mapping[str, Cell]]


@dataclass(frozen=True)
class _Dialogue:
    turns: Turns
    complete: bool


def state_diff(
    older: Path | None, newer: Path | None, slots: tuple[Sequence[str], Sequence[str]], *, examples: int
) -> StateDiff:
    """Compare two tables of states.

    Args:
        older, newer: ``states.parquet`` of each; None for nothing at all.
        slots: of the ontology of each, which say what a dialogue of D_F has to know.
        examples: how many changes to list.

    Raises:
        WorkspaceError: a table is missing.
        SchemaError: it is another one, or of another version.
    """
    found = StateDiff()
    names = list(dict.fromkeys([*slots[1], *slots[0]]))
    found.slots = {name: Counter() for name in names}
    sides = side_by_side(_dialogues(older, slots[0]), _dialogues(newer, slots[1]))
    for dialogue_id, before, after in sides:
        for position, side in enumerate((before, after)):
            if side is not None:
                (found.d_f if side.complete else found.d_p)[position] += 1
        if before is None or after is None:
            (found.added if before is None else found.removed).append(dialogue_id)
        if after is not None and after.complete != bool(before and before.complete):
            (found.to_d_f if after.complete else found.to_d_p).append(dialogue_id)
        changes = _changes(dialogue_id, before.turns if before else {}, after.turns if after else {}, names)
        found.changed += bool(changes) and before is not None and after is not None
        for change in changes:
            found.slots[change.slot][change.kind] += 1
        found.examples += changes[: examples - len(found.examples)]
        for _, of_turn in groupby(changes, key=lambda change: change.turn):
            kinds = {change.kind for change in of_turn}
            found.turns["changed" if len(kinds) > 1 else kinds.pop()] += 1
    return found


def side_by_side(
    older: Iterable[tuple[str, T]], newer: Iterable[tuple[str, T]]
) -> Iterator[tuple[str, T | None, T | None]]:
    """What two sequences sorted by name say of each name, without holding either."""
    left, right = iter(older), iter(newer)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], one[1], None
            one = next(left, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(right, None)
        else:
            yield one[0], one[1], other[1]
            one, other = next(left, None), next(right, None)


def _dialogues(states: Path | None, slots: Sequence[str]) -> Iterator[tuple[str, _Dialogue]]:
    if states is None:
        return
    needed = set(slots)
    with open_table(states, STATES) as file:
        rows = (row for batch in file.iter_batches(_READ_ROWS, columns=_COLUMNS) for row in batch.to_pylist())
        for dialogue_id, group in groupby(rows, key=lambda row: str(row["dialogue_id"])):
            turns = {int(row["turn"]): _cells(row) for row in group}
            complete = all(needed <= cells.keys() for cells in turns.values())
            yield dialogue_id, _Dialogue(turns, complete)


def _cells(row: Mapping[str, Any]) -> dict[str, Cell]:
    """The slots that are known after a turn."""
    if row["state"] is None:
        return {}
    cells: dict[str, set[str]] = {slot: set() for slot in row["labelled_slots"]}
    for item in row["state"]:
        cells.setdefault(item["slot"], set()).add(("!" if item["polarity"] == "dislike" else "") + item["value"])
    return {slot: frozenset(values) for slot, values in cells.items()}


def _changes(dialogue_id: str, before: Turns, after: Turns, slots: Sequence[str]) -> list[SlotChange]:
    return [
        SlotChange(dialogue_id, turn, slot, was, now)
        for turn in sorted({*before, *after})
        for slot in slots
        if (was := before.get(turn, {}).get(slot)) != (now := after.get(turn, {}).get(slot))
    ]
