"""From a cell of the belief states back to the turn that set it, and to everything people said of that turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from annotate.annotations.annotation import Annotation, Mark
from annotate.annotations.migration import Migration
from annotate.resolution.answers import newest_versions, people_answers, reviews, verdicts
from schemas.belief import SlotValue, state_from_rows
from schemas.folding import fold
from schemas.ontology import Ontology

Standing = Literal["in force", "outvoted", "disputed", "overruled", "left open", "superseded", "withdrawn"]
"""What became of an annotation at one turn: its answer counts; others agreed on something else; nothing is decided;
a reviewer, or people instead of the corpus, decided; its reviewer left the turn as it was filled in; the same person
answered again later; it was taken back."""


@dataclass(frozen=True)
class Spoken:
    """What one version of one annotation says of a turn."""

    annotation: Annotation  # the version, as stored
    marks: tuple[Mark, ...]  # of the turn and the slot asked for, as marked, with marks that concern every slot
    standing: Standing  # whether it counts


@dataclass(frozen=True)
class Origin:
    """A turn that set something of the cell."""

    turn: int
    values: tuple[SlotValue, ...]  # what it set; empty where it emptied the slot, or the slot is unknown since
    why: str  # in a few words, what made the cell so there


def origins(
    rows: Sequence[Mapping[str, Any]], annotations: Sequence[Annotation], turn: int, slot: str, ontology: Ontology
) -> list[Origin]:
    """The turns that made a slot's cell at ``turn`` what it is, latest first, given all rows and annotations of the
    dialogue.
    """
    until = [row for row in rows if row["turn"] <= turn]
    migration = Migration(ontology)
    newest = {each.annotation_id: migration.annotation(each) for each in newest_versions(annotations)}
    cells = [_cell(row, slot) for row in until]
    here = cells[-1]
    if here is None:
        return [_unknown_since(until, cells, slot)]
    if not here:
        return [_empty_since(until, cells, newest, slot, ontology)]
    found: dict[int, list[SlotValue]] = {}
    for value in here:
        found.setdefault(_set_at(until, cells, newest, value, ontology), []).append(value)
    decided = {row["turn"]: row.get("decided_by") for row in until}
    return [Origin(at, tuple(found[at]), _decided(decided[at])) for at in sorted(found, reverse=True)]


def spoken(annotations: Sequence[Annotation], row: Mapping[str, Any], slot: str, ontology: Ontology) -> list[Spoken]:
    """Everything ever said of one turn and slot, in every version of every annotation of the dialogue; what counts
    first.
    """
    turn = row["turn"]
    newest = {each.annotation_id: each for each in newest_versions(annotations)}
    standing = {answers[turn].annotation.key for answers in people_answers(annotations).values() if turn in answers}
    rulings = verdicts(annotations).get(turn, ())
    standing |= {ruling.annotation.key for ruling in rulings}
    ruled = any(each.slots is None or any(_is(name, slot, ontology) for name in each.slots) for each in rulings)
    left = {review.key for review in reviews(annotations)} - standing
    found = []
    for each in annotations:
        said = each.turns().get(turn)
        if said is None or each.is_withdrawn:
            continue
        marked = (mark for mark in said if mark.op not in ("decided", "left_open"))
        about = tuple(mark for mark in marked if mark.slot is None or _is(mark.slot, slot, ontology))
        about += tuple(mark for mark in each.marks if mark.op == "bad_dialogue")
        found.append(Spoken(each, about, _standing(each, row, newest, standing, left, ruled=ruled)))
    order = ("in force", "disputed", "outvoted", "overruled", "left open", "superseded", "withdrawn")
    # of equal standing the newest first; sorting twice keeps that order within each standing
    found.sort(key=lambda one: one.annotation.key, reverse=True)
    return sorted(found, key=lambda one: order.index(one.standing))


def _standing(
    one: Annotation,
    row: Mapping[str, Any],
    newest: Mapping[str, Annotation],
    standing: set[tuple[str, str]],
    left: set[tuple[str, str]],
    *,
    ruled: bool,
) -> Standing:
    last = newest.get(one.annotation_id)
    if last is None:
        return "withdrawn"
    if last.key != one.key:
        return "superseded"
    if one.key in left:
        return "left open"
    if ruled and one.role == "label" and one.key in standing:
        return "overruled"
    if row.get("decided_by") == "disputed" and one.key in standing and one.role == "label":
        return "disputed"
    if one.annotation_id in row["source_annotations"]:
        return "in force"
    if one.is_corpus or (one.role == "label" and row.get("decided_by") == "verdict"):
        return "overruled"
    return "outvoted" if one.key in standing else "superseded"


Cell = tuple[SlotValue, ...] | None


def _cell(row: Mapping[str, Any], slot: str) -> Cell:
    state = state_from_rows(row["state"])
    if state is None or slot not in row["labelled_slots"]:
        return None
    return tuple(value for value in state if value.slot == slot)


def _set_at(
    rows: Sequence[Mapping[str, Any]],
    cells: Sequence[Cell],
    newest: Mapping[str, Annotation],
    value: SlotValue,
    ontology: Ontology,
) -> int:
    """The last turn at which somebody whose answer counts said the value; it holds since then."""
    at = int(rows[-1]["turn"])
    op = "dislike" if value.polarity == "dislike" else "want"
    for row, cell in zip(reversed(rows), reversed(cells), strict=True):
        if not cell or not any(_same(value, held) for held in cell):
            break
        at = int(row["turn"])
        for mark in _marks(row, newest):
            said = None if (mark.op, mark.slot) != (op, value.slot) else mark.value
            if said is not None and _same(ontology.link(ontology.slot(value.slot), said, value.polarity), value):
                return at
    return at


def _empty_since(
    rows: Sequence[Mapping[str, Any]],
    cells: Sequence[Cell],
    newest: Mapping[str, Annotation],
    slot: str,
    ontology: Ontology,
) -> Origin:
    at = int(rows[-1]["turn"])
    for row, cell in zip(reversed(rows), reversed(cells), strict=True):
        if cell is None or cell:
            break
        at = int(row["turn"])
        for mark in _marks(row, newest):
            if mark.op == "drop" and mark.slot is not None and _is(mark.slot, slot, ontology):
                return Origin(at, (), "dropped: " + _decided(row.get("decided_by")))
            if mark.op == "new_topic":
                return Origin(at, (), "a new topic starts: " + _decided(row.get("decided_by")))
    return Origin(at, (), "nothing was asked of it up to here")


def _unknown_since(rows: Sequence[Mapping[str, Any]], cells: Sequence[Cell], slot: str) -> Origin:
    first = rows[-1]
    for row, cell in zip(reversed(rows), reversed(cells), strict=True):
        if cell is not None:
            break
        first = row
        if row["state"] is None or slot in (row.get("disputed_slots") or ()):
            break
    if slot in (first.get("disputed_slots") or ()):
        why = "annotators differ, and nothing has decided yet"
    elif first["state"] is None:
        why = "the turn could not be labelled" if first["source_annotations"] else "nobody has labelled the turn"
    else:
        why = "what was marked of it can mean several things in today's ontology"
    return Origin(int(first["turn"]), (), f"unknown since then: {why}")


def _marks(row: Mapping[str, Any], newest: Mapping[str, Annotation]) -> Iterator[Mark]:
    for name in row["source_annotations"]:
        if name in newest:
            yield from newest[name].turns().get(int(row["turn"]), ())


def _same(one: SlotValue, other: SlotValue) -> bool:
    return (one.polarity, fold(one.value)) == (other.polarity, fold(other.value))


def _is(name: str, slot: str, ontology: Ontology) -> bool:
    found = ontology.find(name)
    return found is not None and found.name == slot


def _decided(by: str | None) -> str:
    said = {
        None: "said by an annotation in force",
        "corpus": "said by the corpus",
        "one": "said by the only annotator of the turn",
        "agreement": "all annotators agree",
        "majority": "decided by the majority",
        "dawid-skene": "decided by Dawid-Skene",
        "verdict": "decided by a reviewer",
        "disputed": "annotators agree on it; other slots of the turn are in dispute",
    }
    return said.get(by, f"decided by {by}")
