"""Which slots a reviewer decided: those that differ from what was filled in when the page was opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from annotate.annotations.annotation import Mark
from annotate.annotations.migration import Migration
from annotate.exports.refusals import Refused
from annotate.exports.results import read_result
from annotate.exports.taken import taken_answers
from annotate.resolution.items import items_of
from schemas.belief import DIALOGUE_OPS

__all__ = ["decided_marks"]

_GIVEN_UP = ("unsure", "bad_turn")


def decided_marks(
    raw: Mapping[str, Any], data: Mapping[str, Any], marks: Sequence[Mark], migration: Migration, version: int
) -> Iterator[Mark]:
    """Marks ``decided`` and ``left_open`` of a review, for every turn that it speaks of.

    Args:
        raw: the annotation as exported, with a copy of the prediction that it started from.
        data: of its task.
        marks: what it says, turn by turn.
        migration: of the ontology.
        version: of the ontology that the screen offered.
    """
    hashes = data.get("disputes")
    shown = hashes if isinstance(hashes, Mapping) else {}
    turns = [int(turn["turn"]) for turn in data["user_turns"]]
    filled_in = _filled_in(raw, turns, migration, version)
    taken_over = {turns[index] for index in taken_answers(raw.get("result")) if index < len(turns)}
    said: dict[int, list[Mark]] = {}
    for mark in marks:
        if mark.turn in turns and mark.op not in DIALOGUE_OPS:
            said.setdefault(mark.turn, []).append(mark)
    for turn in sorted(said):
        text = shown.get(str(turn))
        answers = text if isinstance(text, str) else None
        if turn in taken_over or any(mark.op in _GIVEN_UP for mark in said[turn]):
            yield Mark(turn, "decided", value=answers)
            continue
        before = items_of(filled_in.get(turn, ()), migration.ontology)
        after = items_of(said[turn], migration.ontology)
        touched = {item.slot for item in before.keys() ^ after.keys()}
        touched -= {item.slot for item in after if item.op == "unknown"}  # what was marked there cannot be read
        yield from (Mark(turn, "decided", slot, answers) for slot in sorted(touched))
        if not touched:
            yield Mark(turn, "left_open")


def _filled_in(
    raw: Mapping[str, Any], turns: Sequence[int], migration: Migration, version: int
) -> dict[int, list[Mark]]:
    prediction = raw.get("prediction")
    result = prediction.get("result") if isinstance(prediction, Mapping) else None
    try:
        marks = read_result(result, turns, migration.ontology, version=version, migration=migration).marks
    except Refused:
        return {}  # it started from an empty page
    found: dict[int, list[Mark]] = {}
    for mark in marks:
        found.setdefault(mark.turn, []).append(mark)
    return found
