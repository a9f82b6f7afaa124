"""Per-turn updates into cumulative belief states, and back.

Within one turn the order is fixed: ``new_topic`` clears everything, ``drop`` clears slots, ``want`` replaces a slot's
wanted values, ``dislike`` adds values to avoid. Wanting a value takes it off the slot's dislikes and the other way
round; a value marked both ways in one turn counts as disliked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.belief import BeliefState, Polarity, SlotValue, TurnUpdate
from schemas.ontology import Ontology, fold

__all__ = ["KnownState", "accumulate", "difference"]


@dataclass(frozen=True)
class KnownState:
    """The state after one user turn, as far as labels tell.

    Attributes:
        state: the cumulative state, or None where nothing is known of this turn.
        known_slots: names of the slots whose content is known; all of them in a fully labelled dialogue.
    """

    state: BeliefState | None
    known_slots: frozenset[str]


def accumulate(updates: Sequence[TurnUpdate | None], ontology: Ontology) -> list[KnownState]:
    """Cumulative states of one dialogue, one per user turn.

    A turn without a readable update (None, or ``readable`` false) is unlabelled. What held before it may have changed
    in it, so afterwards a slot is known again only once it is wanted or dropped, or once a new topic starts.

    Args:
        updates: one entry per user turn of the dialogue, in order; None where there is no label.
        ontology: keys every value to a product attribute.

    Raises:
        OntologyError: an update names an unknown slot.
    """
    all_slots = frozenset(slot.name for slot in ontology.slots)
    known = all_slots
    held: dict[tuple[str, str], SlotValue] = {}
    states: list[KnownState] = []
    for update in updates:
        if update is None or not update.readable:
            known, held = frozenset(), {}
            states.append(KnownState(None, known))
            continue
        if update.new_topic:
            known, held = all_slots, {}
        for name in update.drop:
            slot = ontology.slot(name).name
            held = {key: item for key, item in held.items() if key[0] != slot}
            known |= {slot}
        for name, values in update.want.items():
            slot = ontology.slot(name).name
            held = {key: item for key, item in held.items() if key[0] != slot or item.polarity == "dislike"}
            held |= _linked(name, values, "like", ontology)
            known |= {slot}
        for name, values in update.dislike.items():
            held |= _linked(name, values, "dislike", ontology)
        state = tuple(sorted((i for i in held.values() if i.slot in known), key=_order))
        states.append(KnownState(state if known else None, known))
    return states


def _linked(
    name: str, values: Iterable[str], polarity: Polarity, ontology: Ontology
) -> dict[tuple[str, str], SlotValue]:
    slot = ontology.slot(name)
    items = [ontology.link(slot, value, polarity) for value in values]
    return {(item.slot, fold(item.value)): item for item in items}


def _order(item: SlotValue) -> tuple[str, bool, str]:
    return item.slot, item.polarity == "dislike", item.value


def difference(before: BeliefState, after: BeliefState) -> TurnUpdate:
    """The smallest update that turns one state into another: ``accumulate`` applied to it gives ``after`` back.

    Used for corpora that give states per turn already accumulated, and by annotators simulated from gold states.
    """
    slots = sorted({item.slot for item in (*before, *after)})
    want: dict[str, tuple[str, ...]] = {}
    dislike: dict[str, tuple[str, ...]] = {}
    drop: set[str] = set()
    for slot in slots:
        liked_before, avoided_before = _values(before, slot)
        liked, avoided = _values(after, slot)
        if (liked, avoided) == (liked_before, avoided_before):
            continue
        gone = set(avoided_before) - set(avoided) - set(liked)
        if gone or (liked_before and not liked):
            drop.add(slot)
            if liked:
                want[slot] = liked
            if avoided:
                dislike[slot] = avoided
            continue
        if liked != liked_before:
            want[slot] = liked
        new = tuple(value for value in avoided if value not in avoided_before)
        if new:
            dislike[slot] = new
    new_topic = bool(before) and bool(drop) and drop == {item.slot for item in before}
    return TurnUpdate(
        want=want, dislike=dislike, drop=frozenset() if new_topic else frozenset(drop), new_topic=new_topic
    )


def _values(state: BeliefState, slot: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    liked = tuple(item.value for item in state if item.slot == slot and item.polarity == "like")
    avoided = tuple(item.value for item in state if item.slot == slot and item.polarity == "dislike")
    return liked, avoided
