"""Takes corrections made on the page of ``semctl serve`` into the annotation store, by the annotator ``page``.

All corrections of one turn are one annotation, of which each correction makes the next version: it says what the
slots corrected so far hold after the turn, and nothing of any other slot. A slot is left out where a correction was
undone, or where some of its values stand as the model read them: what a model believes is no label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from annotate.annotations.annotation import PAGE, Annotation, moment, moment_after
from annotate.annotations.migration import Migration
from annotate.exports.annotation_store import AnnotationStore, Standing
from annotate.exports.refusals import Refusal, Refused, raw_json
from annotate.exports.results import read_result, slots_alone
from annotate.exports.staging import StagedExport
from annotate.tasks.dialogue_tasks import corrections_uid


@dataclass(frozen=True)
class Correction:
    """What one slot holds after one turn, as somebody corrected it."""

    key: str  # tells corrections apart: one that comes again changes nothing
    at: datetime  # when it was made, with its zone
    dialogue_id: str
    turn: int  # the user turn after which it holds
    ontology_version: int  # of the ontology whose slots and values were offered
    slot: str
    like: tuple[str, ...] = ()
    dislike: tuple[str, ...] = ()
    left: tuple[str, ...] = ()  # those of its values that nobody touched: they stand as the model read them
    undone: bool = False  # what the model read holds again
    held_out: bool = False  # whether the conversation is one that models are measured on

    def says_the_same(self, other: Correction) -> bool:
        """Whether the other one, of the same slot and turn, makes no difference."""
        return replace(self, key=other.key, at=other.at, ontology_version=other.ontology_version) == other


@dataclass
class _Turn:
    """The corrections of one turn so far."""

    slots: dict[str, Correction]
    last: Annotation | None = None  # the newest version
    standing: Standing | None = None
    refused: str = ""  # the reason, where the newest version was refused


def stage_corrections(
    corrections: Iterable[Correction], store: AnnotationStore, migration: Migration, staged: StagedExport
) -> frozenset[str]:
    """Take corrections in, oldest first, each as one annotation received.

    Args:
        corrections: in the order in which they were made.
        store: takes every version, and every refusal.
        migration: of the ontology.
        staged: counts them.

    Returns:
        The names of their annotations.
    """
    names: set[str] = set()
    turns: dict[tuple[str, int], _Turn] = {}
    keys: set[str] = set()
    for one in corrections:
        turn = turns.setdefault((one.dialogue_id, one.turn), _Turn({}))
        name = f"{PAGE}:{one.dialogue_id.rpartition('/')[2]}:{one.turn}"
        names.add(name)
        staged.received += 1
        slot = migration.ontology.find(one.slot)
        called = one.slot if slot is None else slot.name
        before = turn.slots.get(called)
        is_new = one.key not in keys and (before is None or not before.says_the_same(one))
        keys.add(one.key)
        if is_new or turn.last is None:
            turn.slots[called] = one
            store.mark_seen(name, PAGE, PAGE)
            _stage(name, one, turn, store, migration, staged)
        elif turn.standing == "usable":
            store.mark_seen(name, PAGE, PAGE)
            store.add(turn.last, "usable")
        if turn.refused:
            staged.quarantined[turn.refused] += 1
        elif turn.standing == "void":
            staged.skipped += 1
        else:
            staged.usable += 1
    return frozenset(names)


def _stage(
    name: str, one: Correction, turn: _Turn, store: AnnotationStore, migration: Migration, staged: StagedExport
) -> None:
    """Put the next version of a turn's annotation into the store."""
    version = Annotation(
        annotation_id=name,
        dialogue_id=one.dialogue_id,
        annotator=PAGE,
        # later than the version before, whatever the clock said
        updated_at=max(moment(one.at), "" if turn.last is None else moment_after(turn.last.updated_at)),
        task_uid=corrections_uid(one.dialogue_id, one.turn),
        ontology_version=one.ontology_version,
        server=PAGE,
    )
    by_hand = [each for each in turn.slots.values() if not each.undone and not each.left]
    turn.last, turn.standing, turn.refused = version, "void", ""
    try:
        if one.held_out:
            detail = "what was said is a dialogue of the valid or test part: a label of it would be no training label"
            raise Refused("held_out_dialogue", detail)
        if by_hand:
            result = _as_result(by_hand)
            read = read_result(
                result, (one.turn,), migration.ontology, version=one.ontology_version, migration=migration
            )
            marks = slots_alone(read.marks, one.turn, migration.ontology)
            turn.last, turn.standing = version.with_marks(marks), "usable"
            for refusal in read.refused:
                staged.refused_lines[refusal.reason] += 1
                store.refuse(_row(replace(refusal, raw=raw_json(_said(by_hand))), version))
    except Refused as problem:
        refusal = replace(problem.refusal, turn=None, raw=raw_json(_said(by_hand or [one])))
        turn.refused = refusal.reason
        turn.standing = "void" if refusal.reason == "held_out_dialogue" else "unreadable"
        store.refuse(_row(refusal, version))
    store.add(turn.last, turn.standing)


def _as_result(corrections: Iterable[Correction]) -> list[dict[str, Any]]:
    """Corrections as the labelling screen would give them: what is typed, and slots that hold nothing any more.

    Each value is one line, and the slot that it names is its own, whatever is written in either.
    """
    lines = [
        f"{mark}{_one_line(_MARKS.sub(' ', each.slot))}={_one_line(value)}"
        for each in corrections
        for mark, values in (("", each.like), ("!", each.dislike))
        for value in values
    ]
    dropped = [[f"drop={_one_line(each.slot)}"] for each in corrections if not each.like and not each.dislike]
    return [
        {"from_name": "free_0", "type": "textarea", "value": {"text": lines}},
        {"from_name": "op_0", "type": "taxonomy", "value": {"taxonomy": dropped}},
    ]


_MARKS = re.compile("[=!]")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _said(corrections: Iterable[Correction]) -> list[dict[str, Any]]:
    """Corrections as the quarantine keeps them: not what was said in the conversation."""
    return [{"slot": each.slot, "like": each.like, "dislike": each.dislike} for each in corrections]


def _row(refusal: Refusal, version: Annotation) -> Mapping[str, Any]:
    return refusal.row(
        version.annotation_id,
        task_uid=version.task_uid,
        dialogue_id=version.dialogue_id,
        annotator=PAGE,
        export_sha256="",  # of none
    )
