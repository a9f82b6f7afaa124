"""Counts everything agreement needs, dialogue by dialogue, so that figures can be had of any re-weighting of these."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations, product
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from annotate.agreement.aligned_labels import NEW_TOPIC, NOTHING, AlignedLabels, Cell, Element, LabelledTurn, same_state
from annotate.agreement.coefficients import Distance, Floats, similarity

K = TypeVar("K", bound=Hashable)

_EXAMPLES = 3


class Counts(Generic[K]):
    """Sparse matrices dialogue x key, one for each of several measures, filled one dialogue after the other.

    Attributes:
        numbers: key -> its column.
        open: column -> what was counted in the dialogue at hand so far.
    """

    def __init__(self, *measures: str) -> None:
        self.numbers: dict[K, int] = {}
        self.open: dict[int, list[float]] = {}
        self._measures = measures
        self._ends, self._columns, self._values = array("q", [0]), array("i"), array("d")
        self._built: dict[str, csr_array] = {}

    def add(self, key: K, *counts: float) -> int:
        """Count something in the dialogue at hand, by each measure; returns the key's column."""
        number = self.numbers.setdefault(key, len(self.numbers))
        if number in self.open:
            before = self.open[number]
            for place, count in enumerate(counts):
                before[place] += count
        else:
            self.open[number] = list(counts)
        return number

    def close(self) -> None:
        """The dialogue at hand is done."""
        self._columns.extend(self.open)
        for counts in self.open.values():
            self._values.extend(counts)
        self._ends.append(len(self._columns))
        self.open.clear()
        self._built.clear()

    def sums(self, weights: Floats) -> dict[str, Floats]:
        """Measure -> sum over dialogues for each key, [B, keys]; ``weights`` [B, dialogues] count the dialogues."""
        return {name: np.asarray(weights @ counts) for name, counts in self._matrices().items()}

    def of_dialogues(self, measure: str, per_key: Floats | None = None) -> Floats:
        """Sum over keys for each dialogue, each key times its factor: [keys] -> [dialogues]."""
        factors = np.ones(len(self.numbers)) if per_key is None else per_key
        return np.asarray(self._matrices()[measure] @ factors)

    def dialogues(self) -> NDArray[np.int64]:
        """In how many dialogues each key occurs, [keys]."""
        return np.bincount(self._columns, minlength=len(self.numbers))

    def _matrices(self) -> dict[str, csr_array]:
        if not self._built:
            shape = (len(self._ends) - 1, len(self.numbers))
            values = np.array(self._values).reshape(-1, len(self._measures))
            columns, ends = np.array(self._columns), np.array(self._ends)
            for name, part in zip(self._measures, values.T, strict=True):
                self._built[name] = csr_array((np.ascontiguousarray(part), columns, ends), shape=shape)
        return self._built


class Group(NamedTuple):
    """Pairs of answers that are counted together."""

    # ``pair``: of two annotators; ``verdict``: of an annotator and the verdicts; ``prelabel``: of answers that both,
    # one of them (``mixed``) or neither of them started from a pre-label
    kind: Literal["pair", "verdict", "prelabel"]
    # first, second: who; of ``prelabel`` which of the three, and nothing
    first: str
    second: str = ""


class Example(NamedTuple):
    """Where two things were mixed up, and who said which."""

    dialogue_id: str
    turn: int
    first: str
    second: str


class Confusion(NamedTuple):
    """Two things that were said of one slot at one turn, by two annotators; None is nothing."""

    slot: int  # position of the slot
    # first, second: in alphabetical order, nothing last
    first: Element | None
    second: Element | None


class Tally:
    """The counts of all dialogues added so far; ``m`` is the number of values of a unit, a slot of a turn.

    Args:
        slots: names by position, :data:`~annotate.agreement.aligned_labels.NEW_TOPIC` among them.
        distance: of alpha.
        prelabels: whether to compare answers with and without pre-label.

    Attributes:
        dialogues: ids in the order in which they were added; the rows of all counts.
        turns, differing_turns: of each dialogue, those that two people or more answered; where not all say the same.
        missing_units: slot -> such turns in which fewer than two values are left.
        annotators: turns shared with somebody.
        annotator_slots: (annotator, slot): values that do not count, theirs being unknown or the only one left in the
            unit; sum over units of 1 - similarity, over pairs of theirs and another value, / (m - 1).
        cells: (slot, cell other than nothing): how often it was said.
        elements: (slot, element): cells that hold it; ordered pairs of which one holds it, / (m - 1); of which both
            do; of which the first does.
        groups: pairs of answers compared; of these, those that say the same of every slot; whose states share a known
            slot; whose states are the same; elements that both say; that the first says; that the second says.
        group_slots: (group, slot): pairs of which one does not tell of the slot; that differ in it.
        group_cells: (group, slot, cell other than nothing): how often the first and the second said it.
        confusions: what was mixed up, and in how many pairs of answers.
        examples: of each, up to three in different dialogues.
        answered, unreadable, untouched: turns of each annotator, shared with somebody or not.
        orphaned: answers left out, see :class:`~annotate.agreement.aligned_labels.AlignedLabels`.
    """

    def __init__(self, slots: Sequence[str], distance: Distance = "nominal", *, prelabels: bool = True) -> None:
        self.slots, self.distance = tuple(slots), distance
        self.dialogues: list[str] = []
        self.turns, self.differing_turns = array("i"), array("i")
        self.missing_units: Counter[int] = Counter()
        self.annotators = Counts[str]("turns")
        self.annotator_slots = Counts[tuple[int, int]]("missing", "disagreement")
        self.cells = Counts[tuple[int, Cell]]("said")
        self.elements = Counts[tuple[int, Element]]("values", "disagreement", "both", "said")
        self.groups = Counts[Group]("turns", "same", "known", "joint", "both", "first", "second")
        self.group_slots = Counts[tuple[int, int]]("missing", "differing")
        self.group_cells = Counts[tuple[int, int, Cell]]("first", "second")
        self.confusions: Counter[Confusion] = Counter()
        self.examples: dict[Confusion, list[Example]] = {}
        self.answered: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.untouched: Counter[str] = Counter()
        self.orphaned = 0
        self._counts: tuple[Counts[Any], ...]
        self._counts = (self.annotators, self.annotator_slots, self.cells, self.elements, self.groups)
        self._counts += (self.group_slots, self.group_cells)
        self._alike = similarity(distance)
        self._prelabels = prelabels
        self._new_topic = self.slots.index(NEW_TOPIC)

    def add(self, dialogue_id: str, answered: AlignedLabels) -> None:
        """Count one dialogue; one in which nothing can be compared becomes no row."""
        self.orphaned += answered.orphaned
        self.unreadable.update(answered.unreadable)
        self.untouched.update(answered.untouched)
        self.answered.update({annotator: len(turns) for annotator, turns in answered.people.items()})
        differing = []
        for turn in sorted({turn for turns in answered.people.values() for turn in turns}):
            given = [(annotator, turns[turn]) for annotator, turns in answered.people.items() if turn in turns]
            if turn in answered.verdicts:
                for annotator, said in given:
                    self._compare(said, answered.verdicts[turn], Group("verdict", annotator))
            if len(given) > 1:
                differing.append(self._count_turn(given))
                self._count_pairs(dialogue_id, turn, given)
        if self.groups.open:
            for counts in self._counts:
                counts.close()
            self.dialogues.append(dialogue_id)
            self.turns.append(len(differing))
            self.differing_turns.append(sum(differing))

    def _count_turn(self, given: Sequence[tuple[str, LabelledTurn]]) -> bool:
        """One turn's units; returns whether one of them differs."""
        numbers = [self.annotators.add(annotator, 1) for annotator, _ in given]
        differ = False
        unknown = {slot for _, said in given for slot in said.missing}
        for slot in unknown.union(*(said.cells for _, said in given)):
            told = [
                (number, said.cells.get(slot, NOTHING))
                for number, (_, said) in zip(numbers, given, strict=True)
                if slot not in said.missing
            ]
            if len(told) < 2:
                self.missing_units[slot] += 1
                told = []
            for number in set(numbers).difference(number for number, _ in told) if slot in unknown else ():
                self.annotator_slots.add((number, slot), 1, 0)
            cells, m = [cell for _, cell in told], len(told)
            for cell in filter(None, cells):
                self.cells.add((slot, cell), 1)
            for element, k in Counter(element for cell in cells for element in sorted(cell)).items():
                self.elements.add((slot, element), k, 2 * k * (m - k) / (m - 1), k * (k - 1), k * (m - 1))
            if len(set(cells)) > 1:
                differ = True
                for number, one in told:
                    apart = sum(1 - self._alike(one, other) for other in cells) / (m - 1)
                    self.annotator_slots.add((number, slot), 0, apart)
        return differ

    def _count_pairs(self, dialogue_id: str, turn: int, given: Sequence[tuple[str, LabelledTurn]]) -> None:
        for (one, said), (other, said_too) in combinations(given, 2):
            groups = [Group("pair", one, other)]
            if self._prelabels:
                started = ("without", "mixed", "with")[said.prelabelled + said_too.prelabelled]
                groups.append(Group("prelabel", started))
            for slot, (first, second) in sorted(self._compare(said, said_too, *groups).items()):
                for mine, theirs in product(first - second or {None}, second - first or {None}):
                    self._confuse(slot, mine, theirs, Example(dialogue_id, turn, one, other))

    def _confuse(self, slot: int, mine: Element | None, theirs: Element | None, where: Example) -> None:
        if (mine is None, mine or theirs, theirs) > (theirs is None, theirs or mine, mine):
            mine, theirs, where = theirs, mine, where._replace(first=where.second, second=where.first)
        confusion = Confusion(slot, mine, theirs)
        self.confusions[confusion] += 1
        examples = self.examples.setdefault(confusion, [])
        if len(examples) < _EXAMPLES and all(each.dialogue_id != where.dialogue_id for each in examples):
            examples.append(where)

    def _compare(self, said: LabelledTurn, other: LabelledTurn, *groups: Group) -> dict[int, tuple[Cell, Cell]]:
        """Count a pair of answers in some groups; returns the slots in which they differ, with what each says."""
        missing = said.missing | other.missing
        pairs = {
            slot: (said.cells.get(slot, NOTHING), other.cells.get(slot, NOTHING))
            for slot in said.cells.keys() | other.cells.keys()
            if slot not in missing
        }
        differing = {slot: pair for slot, pair in pairs.items() if pair[0] != pair[1]}
        same = None if said.state is None or other.state is None else same_state(said.state, other.state)
        counted = [pair for slot, pair in pairs.items() if slot != self._new_topic]
        both = sum(len(first & second) for first, second in counted)
        ours, theirs = sum(len(first) for first, _ in counted), sum(len(second) for _, second in counted)
        for group in groups:
            number = self.groups.add(group, 1, not differing, same is not None, same is True, both, ours, theirs)
            for slot in missing:
                self.group_slots.add((number, slot), 1, 0)
            for slot in differing:
                self.group_slots.add((number, slot), 0, 1)
            if group.kind == "prelabel":  # which has no kappa
                continue
            for slot, (first, second) in pairs.items():
                if first:
                    self.group_cells.add((number, slot, first), 1, 0)
                if second:
                    self.group_cells.add((number, slot, second), 0, 1)
        return differing
