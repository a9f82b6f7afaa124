"""Offers that an annotator took with a click, put in the place of what the controls say.

An offer says what the marks of a slot would be. It replaces what the page was filled in with there, except in slots in
which the annotator added or took away a mark: there the controls count. Offers of one slot that are taken together all
count. The one that clears the turn takes away all that was filled in.

A task holds them by the text that is shown and stored, ``data.offers[turn][text] = {"slots": [..], "marks": [..]}``,
with marks as ``[control, entry]``, so that an answer can be read without the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from annotate.exports.refusals import Refused
from annotate.exports.taken import (
    Entry,
    added_and_removed,
    as_results,
    entries_before,
    entries_of,
    shown_results,
    turn_index,
)
from schemas.ontology import Ontology

CLEARED = "nothing changes"
"""The offer that takes away what was filled in."""

_OFFER = re.compile(r"offer_([0-9]{1,6})")


def with_taken_offers(annotation: Mapping[str, Any], data: Mapping[str, Any], ontology: Ontology) -> Any:
    """The ``result`` list of an annotation, with the offers that were taken as if they had been marked.

    Args:
        annotation: as exported, with the ``prediction`` that it started from.
        data: of its task.
        ontology: says which names are the same slot.

    Raises:
        Refused: an offer that the task does not hold.
    """
    result: Any = annotation.get("result")
    taken = _taken(result)
    if not taken:
        return result
    shown = shown_results(annotation)
    rest = [raw for raw in result if _offered_at(raw) is None and turn_index(raw) not in taken]
    for index, texts in sorted(taken.items()):
        here = [raw for raw in result if turn_index(raw) == index]
        before = entries_before(shown, here, index)
        after = list(entries_of(here))
        added, removed = added_and_removed(before, after)
        touched = {entry.slot(ontology) for entry in (*added, *removed)} - {None}
        kept = after
        new: list[Entry] = []
        for text in texts:
            slots, marks, cleared = _held(data, index, text)
            slots = {slot for slot in slots if slot not in touched}
            kept = [
                entry
                for entry in kept
                if entry.slot(ontology) not in slots and not (cleared and entry.is_new_topic and entry in before)
            ]
            new += [entry for entry in marks if entry.slot(ontology) in slots]
        rest += as_results(list(dict.fromkeys((*kept, *new))), index, origin="prediction-changed")
    return rest


def _held(data: Mapping[str, Any], index: int, text: str) -> tuple[set[str], list[Entry], bool]:
    try:
        turn = data["user_turns"][index]["turn"]
        offer = data["offers"][str(turn)][text]
        marks = [Entry(str(control), str(entry)) for control, entry in offer["marks"]]
        return {str(slot) for slot in offer["slots"]}, marks, text == CLEARED
    except (KeyError, IndexError, TypeError, ValueError):
        raise Refused("malformed_value", f"'offer_{index}' takes '{text}', which the task does not hold") from None


def _taken(result: Any) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for raw in result if isinstance(result, list) else ():
        index = _offered_at(raw)
        if index is None:
            continue
        value = raw.get("value")
        chosen = value.get("choices") if isinstance(value, Mapping) else None
        if not isinstance(chosen, list) or not all(isinstance(text, str) for text in chosen):
            raise Refused("malformed_value", f"'{raw['from_name']}' without a list of offers", raw=raw)
        found[index] = [*found.get(index, []), *chosen]
    return found


def _offered_at(raw: Any) -> int | None:
    name = raw.get("from_name") if isinstance(raw, Mapping) else None
    match = _OFFER.fullmatch(name) if isinstance(name, str) else None
    return None if match is None else int(match.group(1))
