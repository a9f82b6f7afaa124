"""The fewest marks to change so that a turn's update leads to the right state: how people correct a pre-label.

An update is not the only one that leads from one state to the next: wanting again what is wanted already changes
nothing, and giving up every slot is a new topic. What is right that way is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from schemas.belief import BeliefState, SlotValue, TurnUpdate
from schemas.folding import fold
from schemas.ontology import Ontology


@dataclass(frozen=True, order=True)
class Edit:
    """One action on one control of a turn."""

    mark: str  # ``want``, ``dislike``, ``drop``, ``new_topic`` or ``unsure``
    slot: str = ""  # of it, where it has them
    value: str = ""
    removes: bool = False  # the mark is taken away rather than made


@dataclass(frozen=True)
class Correction:
    """A right update, and the actions that made it of another."""

    update: TurnUpdate
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class _Slot:
    """Marks of one slot."""

    want: frozenset[str]
    dislike: frozenset[str]
    drop: bool

    def distance(self, other: _Slot) -> int:
        return len(self.want ^ other.want) + len(self.dislike ^ other.dislike) + (self.drop != other.drop)


_UNMARKED = _Slot(frozenset(), frozenset(), drop=False)
_Sides = tuple[frozenset[str], frozenset[str]]
_NOTHING: _Sides = (frozenset(), frozenset())


def corrected(
    update: TurnUpdate, before: BeliefState | None, after: BeliefState | None, ontology: Ontology
) -> Correction:
    """The update nearest to ``update`` that leads from one state to the other, a new topic only where it is no more
    work.

    Args:
        update: as marked so far; an empty one asks what somebody marks who starts from nothing.
        before: the state after the user turn before, ``()`` at the start; None when it is not known, in which case a
            new topic has to be marked.
        after: the state after this turn; None when nobody can tell, which is marked ``unsure``.
        ontology: tells which spellings are one value.
    """
    if after is None:
        flagged = (Edit("unsure"),) if update.readable else ()
        return Correction(replace(update, readable=False), flagged)
    spelling = _Spelling(ontology)
    given = spelling.slots(update)
    start, goal = spelling.sides(before or ()), spelling.sides(after)
    names = sorted({*given, *start, *goal})
    found: list[tuple[int, bool, dict[str, _Slot]]] = []
    for new_topic in (False, True):
        if before is None and not new_topic:
            continue
        slots = {
            name: _nearest(
                given.get(name, _UNMARKED),
                _NOTHING if new_topic else start.get(name, _NOTHING),
                goal.get(name, _NOTHING),
            )
            for name in names
        }
        cost = sum(slots[name].distance(given.get(name, _UNMARKED)) for name in names)
        found.append((cost + (new_topic != update.new_topic), new_topic, slots))
    _, new_topic, slots = min(found, key=lambda each: each[:2])
    edits = [Edit("unsure", removes=True)] * (not update.readable)
    edits += [Edit("new_topic", removes=update.new_topic)] * (new_topic != update.new_topic)
    for name in names:
        edits += spelling.edits(name, given.get(name, _UNMARKED), slots[name])
    right = TurnUpdate(
        want={name: spelling.spelled(name, slots[name].want) for name in names if slots[name].want},
        dislike={name: spelling.spelled(name, slots[name].dislike) for name in names if slots[name].dislike},
        drop=frozenset(name for name in names if slots[name].drop),
        new_topic=new_topic,
    )
    return Correction(right, tuple(edits))


def edited(update: TurnUpdate, edits: Iterable[Edit], ontology: Ontology) -> TurnUpdate:
    """The update with these actions done, in any order; all edits of a :class:`Correction` give its update."""
    spelling = _Spelling(ontology)
    sides: dict[str, dict[str, set[str]]] = {"want": {}, "dislike": {}}
    for mark, given in (("want", update.want), ("dislike", update.dislike)):
        for name, values in given.items():
            sides[mark].setdefault(ontology.slot(name).name, set()).update(values)
    drop = {ontology.slot(name).name for name in update.drop}
    new_topic, readable = update.new_topic, update.readable
    for edit in edits:
        if edit.mark == "new_topic":
            new_topic = not edit.removes
        elif edit.mark == "unsure":
            readable = edit.removes
        elif edit.mark == "drop":
            (drop.discard if edit.removes else drop.add)(edit.slot)
        else:
            marked = sides[edit.mark].setdefault(edit.slot, set())
            if edit.removes:
                marked -= {value for value in marked if spelling.same(edit.slot, value, edit.value)}
            else:
                marked.add(edit.value)
    want, dislike = (
        {slot: tuple(sorted(values)) for slot, values in sorted(side.items()) if values} for side in sides.values()
    )
    return TurnUpdate(want, dislike, frozenset(drop), new_topic, readable)


def _nearest(given: _Slot, start: _Sides, goal: _Sides) -> _Slot:
    """Of the marks of one slot that lead from ``start`` to ``goal``, those nearest to the ones given."""
    liked, avoided = goal
    possible = []
    for drop in (False, True):
        liked_before, avoided_before = _NOTHING if drop else start
        for want in {frozenset(), liked}:
            kept = avoided_before - want
            # a value stays liked unless it is said anew what is; one to be avoided can be added and not taken away
            dislike = (avoided - kept) | (given.dislike & avoided)
            reached = want or liked_before - dislike
            if reached == liked and kept <= avoided and not want & dislike:
                possible.append(_Slot(want, dislike, drop))
    return min(possible, key=lambda marks: (marks.distance(given), marks.drop, len(marks.want)))


class _Spelling:
    """One form for all spellings of a value, and back to how it was written."""

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology
        self._written: dict[tuple[str, str], str] = {}

    def slots(self, update: TurnUpdate) -> dict[str, _Slot]:
        names = {self._ontology.slot(name).name for name in (*update.want, *update.dislike, *update.drop)}
        want, dislike = (self._by_slot(side) for side in (update.want, update.dislike))
        drop = {self._ontology.slot(name).name for name in update.drop}
        none: frozenset[str] = frozenset()
        return {name: _Slot(want.get(name, none), dislike.get(name, none), name in drop) for name in names}

    def sides(self, state: Iterable[SlotValue]) -> dict[str, _Sides]:
        found: dict[str, _Sides] = {}
        for item in state:
            liked, avoided = found.get(item.slot, _NOTHING)
            key = frozenset((self._key(item.slot, item.value),))
            found[item.slot] = (liked | key, avoided) if item.polarity == "like" else (liked, avoided | key)
        return found

    def spelled(self, slot: str, values: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(self._written[slot, value] for value in values))

    def edits(self, slot: str, given: _Slot, right: _Slot) -> list[Edit]:
        edits = [Edit("drop", slot, removes=given.drop)] * (given.drop != right.drop)
        for mark, old, new in (("want", given.want, right.want), ("dislike", given.dislike, right.dislike)):
            edits += [Edit(mark, slot, value, removes=True) for value in self.spelled(slot, old - new)]
            edits += [Edit(mark, slot, value) for value in self.spelled(slot, new - old)]
        return edits

    def same(self, slot: str, value: str, other: str) -> bool:
        return self._key(slot, value) == self._key(slot, other)

    def _by_slot(self, side: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for name, values in side.items():
            slot = self._ontology.slot(name).name
            found[slot] = found.get(slot, frozenset()) | {self._key(slot, value) for value in values}
        return found

    def _key(self, slot: str, value: str) -> str:
        linked = self._ontology.link(self._ontology.slot(slot), value)
        key = fold(linked.value)
        self._written.setdefault((slot, key), linked.value)
        return key
