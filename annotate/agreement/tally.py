"""Counts everything agreement needs, one dialogue after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Literal, NamedTuple

from annotate.agreement.aligned_labels import AlignedLabels, LabelledTurn, same_state
from annotate.agreement.cells import NEW_TOPIC, NOTHING, Cell, Element
from annotate.agreement.counts import CountTable, CountTableBuilder
from annotate.agreement.similarity import Distance, similarity

__all__ = ["TABLES", "Confusion", "Example", "Group", "TableName", "Tally"]

TableName = Literal[
    "values",
    "missing",
    "missing_units",
    "turns",
    "differing_turns",
    "disagreement",
    "cells",
    "element_values",
    "element_disagreement",
    "element_both",
    "element_said",
    "annotator_values",
    "annotator_missing",
    "annotator_disagreement",
    "group_turns",
    "group_missing",
    "group_same",
    "group_known",
    "group_joint",
    "group_both",
    "group_first",
    "group_second",
    "group_differing",
    "group_first_said",
    "group_second_said",
    "group_first_cells",
    "group_second_cells",
]

TABLES: dict[TableName, str] = {
    "values": "answers to turns that two people or more answered; as many values for each slot, but for the missing",
    "missing": "slot: values that do not count, theirs being unknown or the only one left in the unit",
    "missing_units": "slot: turns in which fewer than two values are left",
    "turns": "such turns",
    "differing_turns": "such turns where not all say the same",
    "disagreement": "slot: sum over its units of 1 - similarity, over ordered pairs of values, / (m - 1)",
    "cells": "(slot, cell other than nothing): how often it was said",
    "element_values": "(slot, element): cells that hold it",
    "element_disagreement": "the same: ordered pairs of which one holds it, / (m - 1)",
    "element_both": "the same: ordered pairs of which both hold it",
    "element_said": "the same: ordered pairs whose first holds it",
    "annotator_values": "annotator: turns shared with somebody",
    "annotator_missing": "(annotator, slot): their part of `missing`",
    "annotator_disagreement": "(annotator, slot): their part of `disagreement`",
    "group_turns": "group: pairs of answers compared",
    "group_missing": "(group, slot): of these, pairs of which one does not tell of the slot",
    "group_same": "group: of these, pairs that say the same of every slot",
    "group_known": "group: pairs whose states share a known slot",
    "group_joint": "group: of these, pairs whose states are the same",
    "group_both": "group: elements that both say",
    "group_first": "group: elements that the first says",
    "group_second": "group: elements that the second says",
    "group_differing": "(group, slot): cells that differ",
    "group_first_said": "(group, slot): cells of the first that are not nothing",
    "group_second_said": "(group, slot): cells of the second that are not nothing",
    "group_first_cells": "(group, slot, cell other than nothing): how often the first said it",
    "group_second_cells": "the same of the second",
}
"""What is counted, by name: "key: what of it". ``m`` is the number of values of a unit."""

_EXAMPLES = 3


class Group(NamedTuple):
    """Pairs of answers that are counted together.

    Attributes:
        kind: ``pair``: of two annotators; ``verdict``: of an annotator and the verdicts; ``prelabel``: of answers that
            both, one of them (``mixed``) or neither of them started from a pre-label.
        first, second: who; of ``prelabel`` which of the three, and nothing.
    """

    kind: Literal["pair", "verdict", "prelabel"]
    first: str
    second: str = ""


class Example(NamedTuple):
    """Where two things were mixed up, and who said which."""

    dialogue_id: str
    turn: int
    first: str
    second: str


class Confusion(NamedTuple):
    """Two things that were said of one slot at one turn, by two annotators; None is nothing.

    Attributes:
        slot: position of the slot.
        first, second: in alphabetical order, nothing last.
    """

    slot: int
    first: Element | None
    second: Element | None


class Tally:
    """The counts of all dialogues added so far.

    Args:
        slots: names by position, :data:`~annotate.agreement.cells.NEW_TOPIC` among them.
        distance: of alpha.
        prelabels: whether to compare answers with and without pre-label.

    Attributes:
        slots: names by position.
        dialogues: ids in the order in which they were added; the rows of all tables.
        annotators, groups, cells, elements: keys of the tables, by position.
        group_cells: (group, cell) -> key of ``group_first_cells`` and ``group_second_cells``.
        confusions: what was mixed up, and in how many pairs of answers.
        examples: of each, up to three in different dialogues.
        answered, unreadable, untouched: turns of each annotator, shared with somebody or not.
        orphaned: answers left out, see :class:`~annotate.agreement.aligned_labels.AlignedLabels`.
    """

    def __init__(self, slots: Sequence[str], distance: Distance = "nominal", *, prelabels: bool = True) -> None:
        self.slots = tuple(slots)
        self.dialogues: list[str] = []
        self.annotators: dict[str, int] = {}
        self.groups: dict[Group, int] = {}
        self.cells: dict[tuple[int, Cell], int] = {}
        self.elements: dict[tuple[int, Element], int] = {}
        self.group_cells: dict[tuple[int, int], int] = {}
        self.confusions: Counter[Confusion] = Counter()
        self.examples: dict[Confusion, list[Example]] = {}
        self.answered: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.untouched: Counter[str] = Counter()
        self.orphaned = 0
        self._alike = similarity(distance)
        self._prelabels = prelabels
        self._new_topic = self.slots.index(NEW_TOPIC)
        self._built: dict[TableName, CountTable] = {}
        self._tables: dict[TableName, CountTableBuilder] = {name: CountTableBuilder() for name in TABLES}

    def add(self, dialogue_id: str, answered: AlignedLabels) -> None:
        """Count one dialogue; one in which nothing can be compared becomes no row."""
        self._built.clear()
        self.orphaned += answered.orphaned
        self.unreadable.update(answered.unreadable)
        self.untouched.update(answered.untouched)
        for annotator, turns in answered.people.items():
            self.answered[annotator] += len(turns)
        for turn in sorted({turn for turns in answered.people.values() for turn in turns}):
            given = [(annotator, turns[turn]) for annotator, turns in answered.people.items() if turn in turns]
            for annotator, said in given:
                if turn in answered.verdicts:
                    self._compare(Group("verdict", annotator), said, answered.verdicts[turn])
            if len(given) > 1:
                self._turn(given)
                self._pairs(dialogue_id, turn, given)
        if self._tables["group_turns"].open:
            for table in self._tables.values():
                table.close()
            self.dialogues.append(dialogue_id)

    def table(self, name: TableName) -> CountTable:
        """One of the tables, made once until more is added."""
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: TableName) -> CountTable:
        per_slot = len(self.slots)
        sizes = {
            "missing": per_slot,
            "missing_units": per_slot,
            "disagreement": per_slot,
            "cells": len(self.cells),
            "annotator_values": len(self.annotators),
            "annotator_missing": len(self.annotators) * per_slot,
            "annotator_disagreement": len(self.annotators) * per_slot,
            "group_missing": len(self.groups) * per_slot,
            "group_differing": len(self.groups) * per_slot,
            "group_first_said": len(self.groups) * per_slot,
            "group_second_said": len(self.groups) * per_slot,
            "group_first_cells": len(self.group_cells),
            "group_second_cells": len(self.group_cells),
        }
        kinds = {"element": len(self.elements), "group": len(self.groups)}
        return self._tables[name].build(sizes.get(name, kinds.get(name.partition("_")[0], 1)))

    def _turn(self, given: Sequence[tuple[str, LabelledTurn]]) -> None:
        """One turn's units: a slot each."""
        table, m = self._tables, len(given)
        table["values"].add(0, m)
        table["turns"].add(0, 1)
        numbers = [self.annotators.setdefault(annotator, len(self.annotators)) for annotator, _ in given]
        for number in numbers:
            table["annotator_values"].add(number, 1)
        differ = False
        unknown = {slot for _, said in given for slot in said.missing}
        for slot in unknown.union(*(said.cells for _, said in given)):
            values = [(number, said.cells.get(slot, NOTHING)) for number, (_, said) in zip(numbers, given, strict=True)]
            if slot in unknown:
                told = [slot not in said.missing for _, said in given]
                values = [value for value, tells in zip(values, told, strict=True) if tells]
                self._missing(slot, numbers, [number for number, _ in values])
                if len(values) < 2:
                    continue
            cells = [cell for _, cell in values]
            for cell in cells:
                if cell:
                    table["cells"].add(self.cells.setdefault((slot, cell), len(self.cells)), 1)
            self._elements(slot, cells)
            if cells.count(cells[0]) < len(cells):
                differ = True
                for number, one in values:
                    apart = sum(1 - self._alike(one, other) for other in cells) / (len(cells) - 1)
                    table["disagreement"].add(slot, apart)
                    table["annotator_disagreement"].add(number * len(self.slots) + slot, apart)
        table["differing_turns"].add(0, differ)

    def _missing(self, slot: int, asked: Sequence[int], told: Sequence[int]) -> None:
        """Of the annotators asked, only these tell of the slot; one alone is no unit."""
        counted = told if len(told) > 1 else ()
        self._tables["missing"].add(slot, len(asked) - len(counted))
        self._tables["missing_units"].add(slot, not counted)
        for number in asked:
            self._tables["annotator_missing"].add(number * len(self.slots) + slot, number not in counted)

    def _elements(self, slot: int, cells: Sequence[Cell]) -> None:
        table, m = self._tables, len(cells)
        holders: dict[Element, int] = {}
        for cell in cells:
            for element in cell if len(cell) < 2 else sorted(cell):
                holders[element] = holders.get(element, 0) + 1
        for element, k in holders.items():
            key = self.elements.setdefault((slot, element), len(self.elements))
            table["element_values"].add(key, k)
            table["element_disagreement"].add(key, 2 * k * (m - k) / (m - 1))
            table["element_both"].add(key, k * (k - 1))
            table["element_said"].add(key, k * (m - 1))

    def _pairs(self, dialogue_id: str, turn: int, given: Iterable[tuple[str, LabelledTurn]]) -> None:
        """One turn's pairs of answers."""
        for (one, said), (other, said_too) in combinations(given, 2):
            self._compare(Group("pair", one, other), said, said_too)
            if self._prelabels:
                started = ("without", "mixed", "with")[said.prelabelled + said_too.prelabelled]
                self._compare(Group("prelabel", started), said, said_too)
            if said.cells is said_too.cells:
                continue
            for slot in sorted((said.cells.keys() | said_too.cells.keys()) - said.missing - said_too.missing):
                first, second = said.cells.get(slot, NOTHING), said_too.cells.get(slot, NOTHING)
                for mine, theirs in product(first - second or {None}, second - first or {None}):
                    if first != second:
                        self._confuse(slot, mine, theirs, Example(dialogue_id, turn, one, other))

    def _confuse(self, slot: int, mine: Element | None, theirs: Element | None, where: Example) -> None:
        if (mine is None, mine or theirs, theirs) > (theirs is None, theirs or mine, mine):
            mine, theirs, where = theirs, mine, where._replace(first=where.second, second=where.first)
        confusion = Confusion(slot, mine, theirs)
        self.confusions[confusion] += 1
        examples = self.examples.setdefault(confusion, [])
        if len(examples) < _EXAMPLES and all(each.dialogue_id != where.dialogue_id for each in examples):
            examples.append(where)

    def _compare(self, group: Group, said: LabelledTurn, other: LabelledTurn) -> None:
        table, number = self._tables, self.groups.setdefault(group, len(self.groups))
        table["group_turns"].add(number, 1)
        missing = said.missing | other.missing
        differ = False
        for slot in missing:
            table["group_missing"].add(number * len(self.slots) + slot, 1)
        if said.state is not None and other.state is not None:
            same = same_state(said.state, other.state)
            table["group_known"].add(number, same is not None)
            table["group_joint"].add(number, same is True)
        both = ours = theirs = 0
        for slot in said.cells.keys() | other.cells.keys():
            if slot in missing:
                continue
            first, second = said.cells.get(slot, NOTHING), other.cells.get(slot, NOTHING)
            if first != second:
                differ = True
                table["group_differing"].add(number * len(self.slots) + slot, 1)
            if slot != self._new_topic:
                both, ours, theirs = both + len(first & second), ours + len(first), theirs + len(second)
            if group.kind != "prelabel":
                self._marginal("group_first_said", "group_first_cells", number, slot, first)
                self._marginal("group_second_said", "group_second_cells", number, slot, second)
        table["group_both"].add(number, both)
        table["group_first"].add(number, ours)
        table["group_second"].add(number, theirs)
        table["group_same"].add(number, not differ)

    def _marginal(self, said: TableName, cells: TableName, group: int, slot: int, cell: Cell) -> None:
        if cell:
            self._tables[said].add(group * len(self.slots) + slot, 1)
            key = (group, self.cells.setdefault((slot, cell), len(self.cells)))
            self._tables[cells].add(self.group_cells.setdefault(key, len(self.group_cells)), 1)
