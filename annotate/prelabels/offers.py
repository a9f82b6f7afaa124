"""Offers: what a model thinks a turn may say but is not sure enough of to fill in, to be taken with one click.

What taking one means is told in :mod:`annotate.exports.offers`, which reads it out of answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from annotate.exports.offers import CLEARED
from schemas.belief import BeliefState, Polarity, TurnUpdate
from schemas.corrections import Correction, corrected
from schemas.ontology import Ontology

LIKELY = 0.05
"""How probable a value has to be to be offered: below, more is read than clicked."""

MOST = 4
"""Offers to one turn; more are not read."""

_DOUBTED = 0.9
"""A turn whose marks are all right with this probability, or more, is not offered to be cleared."""


@dataclass(frozen=True)
class Offer:
    """One thing to click."""

    text: str  # what is shown and stored
    slots: frozenset[str]  # whose marks it replaces
    want: Mapping[str, tuple[str, ...]]  # what is wanted there instead


def turn_offers(
    update: TurnUpdate,
    state: BeliefState,
    rises: Mapping[tuple[str, str, Polarity], float],
    single: Collection[str],
    sure: float,
) -> tuple[Offer, ...]:
    """What to offer beside an update, the likeliest first.

    Args:
        update: what is filled in.
        state: what the model takes to hold after the turn.
        rises: slot, value, polarity -> how much more probable the turn makes it that this holds.
        single: slots that hold one value at a time.
        sure: probability that all of the update is right.
    """
    held = {(item.slot, item.value) for item in state if item.polarity == "like"}
    unsure: dict[str, list[tuple[float, str]]] = {}
    for (slot, value, polarity), rise in rises.items():
        if polarity == "like" and rise >= LIKELY and (slot, value) not in held:
            unsure.setdefault(slot, []).append((-rise, value))
    found: list[tuple[float, Offer]] = []
    marks = sum(map(len, (*update.want.values(), *update.dislike.values()))) + len(update.drop) + update.new_topic
    if marks > 1 and sure < _DOUBTED:
        slots = frozenset((*update.want, *update.dislike, *update.drop))
        found.append((sure - 1, Offer(CLEARED, slots, {})))
    for slot, listed in unsure.items():
        values = [value for _, value in sorted(listed)]
        filled_in = tuple(update.want.get(slot, ()))
        for place, instead in enumerate(_alternatives(values, filled_in, one=slot in single)):
            found.append((sorted(listed)[0][0] + place * 1e-3, _instead(slot, instead, filled_in)))
    ordered = [offer for _, offer in sorted(found, key=lambda each: (each[0], each[1].text))]
    return tuple({offer.text: offer for offer in ordered}.values())[:MOST]


def _alternatives(values: Sequence[str], filled_in: tuple[str, ...], *, one: bool) -> Iterator[tuple[str, ...]]:
    if one:
        yield from ((value,) for value in values[:2])
        return
    yield (*filled_in, *values)
    if filled_in or len(values) > 1:
        yield (values[0],)


def _instead(slot: str, values: tuple[str, ...], filled_in: tuple[str, ...]) -> Offer:
    new, gone = ([value for value in some if value not in other] for some, other in _both_ways(values, filled_in))
    also = "also " if filled_in and not gone else ""
    text = f"{also}{slot}={', '.join(new)}" + (f" instead of {', '.join(gone)}" if gone else "")
    return Offer(text, frozenset((slot,)), {slot: values})


def _both_ways(one: Sequence[str], other: Sequence[str]) -> tuple[tuple[Sequence[str], Sequence[str]], ...]:
    return (one, other), (other, one)


def with_offers(update: TurnUpdate, taken: Iterable[Offer]) -> TurnUpdate:
    """What the turn says when these offers are taken and nothing else is done."""
    taken = list(taken)
    slots = {slot for offer in taken for slot in offer.slots}
    want = {slot: values for slot, values in update.want.items() if slot not in slots}
    for offer in taken:
        for slot, values in offer.want.items():
            want[slot] = tuple(dict.fromkeys((*want.get(slot, ()), *values)))
    return replace(
        update,
        want=want,
        dislike={slot: values for slot, values in update.dislike.items() if slot not in slots},
        drop=update.drop - slots,
        new_topic=update.new_topic and all(offer.text != CLEARED for offer in taken),
    )


def corrected_with_offers(
    update: TurnUpdate,
    offers: Sequence[Offer],
    before: BeliefState | None,
    after: BeliefState | None,
    ontology: Ontology,
) -> tuple[tuple[Offer, ...], Correction]:
    """The offers to take, and what to change besides, so that the turn leads from one state to the other.

    As few actions as can be, and of as few those with more offers, which cost less than picking from a list. In the
    slots of an offer that is taken nothing is changed, since then the fields would count.
    """
    found: list[tuple[tuple[Offer, ...], Correction]] = []
    for count in range(len(offers) + 1):
        for taken in combinations(offers, count):
            correction = corrected(with_offers(update, taken), before, after, ontology)
            slots = {slot for offer in taken for slot in offer.slots}
            cleared = any(offer.text == CLEARED for offer in taken)
            touched = any(edit.slot in slots or (cleared and edit.mark == "new_topic") for edit in correction.edits)
            if not touched:
                found.append((taken, correction))
    return min(found, key=lambda each: (len(each[0]) + len(each[1].edits), -len(each[0])))


def offers_data(offers: Mapping[int, Sequence[Offer]]) -> dict[str, dict[str, Any]]:
    """The offers to each turn, as a task holds them."""
    return {
        str(turn): {
            offer.text: {
                "slots": sorted(offer.slots),
                "marks": [["want", f"{slot}={value}"] for slot, values in offer.want.items() for value in values],
            }
            for offer in some
        }
        for turn, some in offers.items()
        if some
    }
