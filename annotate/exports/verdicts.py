"""Which slots a reviewer decided: those that differ from what was filled in when the page was opened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from annotate.annotations import Mark
from annotate.exports.refusals import Refused
from annotate.exports.results import read_result
from annotate.migration import Migration
from annotate.resolution.items import items_of
from schemas.belief import DIALOGUE_OPS

__all__ = ["decided_marks", "without_taken_over"]

_TAKE = re.compile(r"take_([0-9]{1,6})")
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
    taken_over = {turns[index] for index in _taken_over(raw.get("result")) if index < len(turns)}
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


def without_taken_over(result: Any) -> Any:
    """The results of a review without those that say that a row was taken over as a whole."""
    return [entry for entry in result if _place_taken_over(entry) is None] if isinstance(result, list) else result


def _taken_over(result: object) -> Iterator[int]:
    """The places of the turns that were taken over as a whole."""
    for entry in result if isinstance(result, list) else ():
        place = _place_taken_over(entry)
        if place is not None:
            yield place


def _place_taken_over(entry: object) -> int | None:
    name = entry.get("from_name") if isinstance(entry, Mapping) else None
    match = _TAKE.fullmatch(name) if isinstance(name, str) else None
    return None if match is None else int(match.group(1))


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
