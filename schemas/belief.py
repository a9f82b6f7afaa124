"""Belief states: what the user wants by now, and the per-turn updates that people mark.

Annotators mark **updates** (what a turn changes); everything downstream reads **states** (what holds after the turn).
:mod:`schemas.accumulate` turns the one into the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Polarity = Literal["like", "dislike"]

Op = Literal[
    "want",
    "dislike",
    "drop",
    "unknown",
    "new_topic",
    "none",
    "unsure",
    "bad_turn",
    "decided",
    "left_open",
    "bad_dialogue",
    "images_missing",
    "note",
    "withdrawn",
]
"""What one annotation row says of a turn, or of the whole dialogue.

``want`` sets a slot to the values named in this turn; ``dislike`` adds values to avoid; ``drop`` clears a slot;
``new_topic`` clears everything before the rest of the turn counts; ``none`` marks a turn that changes nothing;
``unsure`` and ``bad_turn`` say that the annotator could not label the turn, which leaves it unlabelled.
``unknown`` leaves one slot unlabelled from this turn on: what was marked of it cannot be read, or can mean several
things by now; in the second case it is not stored, but put in the place of such marks when they are read.
In a review, ``decided`` names a slot that the reviewer decided (empty: whether a new topic starts; without a slot: all
of the turn), its ``value`` a hash of the answers that were shown; ``left_open`` marks a turn in which nothing was.

Of the dialogue: ``bad_dialogue`` leaves all of it unlabelled; ``images_missing`` and ``note`` (its ``value`` is the
text) are remarks. ``withdrawn`` says that the annotation no longer counts: it was skipped later, or edited into
something unusable. Such rows stand at the first turn of what was annotated, and label no turn by themselves.
"""

OPS: tuple[Op, ...] = get_args(Op)

DIALOGUE_OPS: frozenset[Op] = frozenset({"bad_dialogue", "images_missing", "note", "withdrawn"})
"""Operations that speak of the dialogue or of the annotation, not of a turn."""


@dataclass(frozen=True, order=True)
class SlotValue:
    """One value of one slot in a belief state."""

    slot: str  # the slot's name in the ontology
    value: str  # the value as the user means it, written as the ontology writes it when it is known there
    polarity: Polarity = "like"  # whether the user wants it or wants to avoid it
    attribute: str | None = None  # the product attribute that the slot keys to
    catalogue_value: str | None = None  # the catalogue's value (or numeric range) that ``value`` was keyed to
    in_catalogue: bool = False  # whether at least one product has it


BeliefState = tuple[SlotValue, ...]
"""A state, sorted by slot, polarity (likes first) and value; at most one entry for a (slot, value)."""


def belief_state(items: Iterable[SlotValue]) -> BeliefState:
    """The items in a state's order."""
    return tuple(sorted(items, key=lambda item: (item.slot, item.polarity == "dislike", item.value)))


@dataclass(frozen=True)
class TurnUpdate:
    """What one user turn changes, as marked."""

    want: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # from this turn on; in place of earlier wants
    dislike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # to avoid, beside earlier dislikes
    drop: frozenset[str] = frozenset()  # slots that no longer matter
    new_topic: bool = False  # the user starts over; everything earlier is cleared first
    readable: bool = True  # False where the annotator could not label the turn
    unknown: frozenset[str] = frozenset()  # unless the turn itself wants or drops them


def state_to_rows(state: BeliefState | None) -> list[dict[str, Any]] | None:
    """The Parquet form of a state; None (unlabelled) stays None."""
    if state is None:
        return None
    return [{**vars(item)} for item in state]


def state_from_rows(rows: list[dict[str, Any]] | None) -> BeliefState | None:
    """The inverse of :func:`state_to_rows`."""
    if rows is None:
        return None
    return tuple(SlotValue(**row) for row in rows)
