"""States in MMD's files: ``dst.slot_values`` (per turn) and MMD-v3's ``ds`` (cumulative)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.corpora.parsing import as_text, snake_case, split_values
from pipeline.corpora.records import CumulativeState, ItemFeedback, StateRecord, TurnState
from schemas.ontology import fold_name

__all__ = ["UnreadableStateError", "read_state", "turn_state"]


class UnreadableStateError(ValueError):
    """There is a state, but not in a known form."""


def read_state(element: Mapping[str, Any]) -> StateRecord | None:
    """The state that an utterance carries; None when it carries none.

    Raises:
        UnreadableStateError: it carries one in no known form.
    """
    cumulative = element.get("ds")
    if cumulative is not None:
        return _cumulative(cumulative)
    per_turn = element.get("dst")
    if per_turn is None:
        return None
    if not isinstance(per_turn, dict):
        raise UnreadableStateError("dst is not an object")
    slot_values = per_turn.get("slot_values")
    if slot_values is None:
        slot_values = {}
    if not isinstance(slot_values, dict):
        raise UnreadableStateError("dst.slot_values is not an object")
    return turn_state(slot_values)


def turn_state(slot_values: Mapping[str, Any]) -> TurnState:
    """The state of one turn from ``{slot: value or values}``."""
    # {"Object ID: 3": {...}}, where a turn compares objects, is about them and not a wish: it ends up without values
    return TurnState(want={slot: split_values(snake_case(slot), value) for slot, value in slot_values.items()})


def _cumulative(ds: object) -> CumulativeState:
    if not isinstance(ds, dict):
        raise UnreadableStateError("ds is not an object")
    informable = ds.get("informable") or []
    requestable = ds.get("requestable") or []
    if not isinstance(informable, list) or not isinstance(requestable, list):
        raise UnreadableStateError("ds.informable or ds.requestable is not a list")
    like: dict[str, tuple[str, ...]] = {}
    dislike: dict[str, tuple[str, ...]] = {}
    for entry in informable:
        if not isinstance(entry, dict):
            raise UnreadableStateError("an entry of ds.informable is not an object")
        slot = _slot(_only(entry.get("slot")))
        sentiment = _only(entry.get("sentiment"))
        side = dislike if as_text(sentiment).casefold() in ("dislike", "negative") else like
        values = split_values(snake_case(slot), _only(entry.get("values")))
        side[slot] = tuple(dict.fromkeys((*side[slot], *values))) if slot in side else values
    feedback = tuple(item for entry in requestable for item in _feedback(entry))
    return CumulativeState(like, dislike, feedback)


def _only(value: object) -> object:
    """What a list of one holds; anything else as it is."""
    return value[0] if type(value) is list and len(value) == 1 else value


def _slot(value: object) -> str:
    """``["materials >> upper materials (shoes)"]`` -> ``materials``."""
    return as_text(value).partition(">>")[0].strip()


def _feedback(entry: object) -> list[ItemFeedback]:
    if not isinstance(entry, dict):
        raise UnreadableStateError("an entry of ds.requestable is not an object")
    likes, dislikes = _slots(entry.get("likes")), _slots(entry.get("dislikes"))
    pictures = entry.get("object", entry.get("objects"))
    if not isinstance(pictures, list):
        pictures = [pictures]
    return [ItemFeedback(str(p), likes, dislikes) for p in pictures if isinstance(p, str | int) and (likes or dislikes)]


def _slots(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    names = [_slot(part) for part in value] if isinstance(value, list) else []
    return tuple(name for name in names if name and fold_name(name) != "none")
