"""Per-turn updates into cumulative belief states, and back.

Within one turn the order is fixed: ``new_topic`` clears everything, ``unknown`` forgets slots, ``drop`` clears slots,
``want`` replaces a slot's wanted values, ``dislike`` adds values to avoid. Wanting a value takes it off the slot's
dislikes and the other way round; a value marked both ways in one turn counts as disliked.

A turn without a label is a gap: whatever held before it may have changed in it, so nothing is known after it but what
later turns say again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from schemas.belief import BeliefState, Polarity, SlotValue, TurnUpdate, belief_state
from schemas.folding import fold

if TYPE_CHECKING:
    from schemas.ontology import Ontology

Sides = tuple[tuple[str, ...], tuple[str, ...]]
"""What is wanted of a slot, and what is to be avoided of it."""


@dataclass(frozen=True)
class KnownState:
    """The state after one user turn, as far as labels tell."""

    state: BeliefState | None  # the cumulative state, or None where nothing is known of this turn
    known_slots: frozenset[str]  # names of the slots whose content is known; all of them in a fully labelled dialogue


def accumulate(
    updates: Sequence[TurnUpdate | None], ontology: Ontology, *, where: Sequence[object] | None = None
) -> list[KnownState]:
    """Cumulative states of one dialogue, one per user turn.

    A turn without a readable update (None, or ``readable`` false) is unlabelled, and so is what follows it until it is
    said again: a slot is known once it is wanted or dropped, every slot once a new topic starts. A dislike after a gap
    is kept, but does not make its slot known: what is wanted of that slot is not. A slot that an update leaves unknown
    is one with such a gap of its own.

    Args:
        updates: one entry per user turn of the dialogue, in order; None where there is no label.
        ontology: keys every value to a product attribute.
        where: a name of each turn, for the error.

    Raises:
        OntologyError: an update names a slot that the ontology lacks.
    """
    all_slots = frozenset(slot.name for slot in ontology.slots)
    known = all_slots
    held: dict[tuple[str, str], SlotValue] = {}
    states: list[KnownState] = []
    for position, update in enumerate(updates):
        if update is None or not update.readable:
            known, held = frozenset(), {}
            states.append(KnownState(None, known))
            continue
        _check_slots(update, ontology, where[position] if where else None)
        if update.new_topic:
            known, held = all_slots, {}
        for name in update.unknown:
            slot = ontology.slot(name).name
            held = {key: item for key, item in held.items() if key[0] != slot}
            known -= {slot}
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
        state = belief_state(item for item in held.values() if item.slot in known)
        states.append(KnownState(state if known else None, known))
    return states


def _check_slots(update: TurnUpdate, ontology: Ontology, where: object | None) -> None:
    for name in (*update.want, *update.dislike, *sorted(update.drop | update.unknown)):
        ontology.slot(name, where=where)


def _linked(
    name: str, values: Iterable[str], polarity: Polarity, ontology: Ontology
) -> dict[tuple[str, str], SlotValue]:
    slot = ontology.slot(name)
    items = [ontology.link(slot, value, polarity) for value in values]
    return {(item.slot, fold(item.value)): item for item in items}


def difference(before: BeliefState | None, after: BeliefState) -> TurnUpdate:
    """The smallest update that turns one state into another: ``accumulate`` applied to it gives ``after`` back.

    Used for corpora that give states already accumulated, and by annotators simulated from gold states. States are as
    :func:`accumulate` gives them: values spelled as the ontology spells them. Where the state before is not known
    (None, a gap), the update starts a new topic, so that ``after`` is all that holds.
    """
    if before is None:
        return replace(difference((), after), new_topic=True)
    return difference_by_slot(_by_slot(before), _by_slot(after))


def difference_by_slot(before: Mapping[str, Sides], after: Mapping[str, Sides]) -> TurnUpdate:
    """:func:`difference` of two states given as slot -> (wanted, avoided), without slots of which nothing is said."""
    want: dict[str, tuple[str, ...]] = {}
    dislike: dict[str, tuple[str, ...]] = {}
    drop: set[str] = set()
    changed = [slot for slot, sides in after.items() if before.get(slot) != sides]
    changed += [slot for slot in before if slot not in after]
    for slot in sorted(changed):
        liked_before, avoided_before = before.get(slot, _NOTHING)
        liked, avoided = after.get(slot, _NOTHING)
        no_longer_avoided = avoided_before and set(avoided_before) - set(avoided) - set(liked)
        if no_longer_avoided or (liked_before and not liked):
            drop.add(slot)
            liked_before, avoided_before = (), ()
        if liked != liked_before:
            want[slot] = liked
        if avoided:
            new = tuple([value for value in avoided if value not in avoided_before])
            if new:
                dislike[slot] = new
    # one slot given up is a drop; only when all of several are does the user start over
    new_topic = len(drop) > 1 and drop == before.keys()
    return TurnUpdate(
        want=want, dislike=dislike, drop=frozenset() if new_topic else frozenset(drop), new_topic=new_topic
    )


def one_after_the_other(first: TurnUpdate, then: TurnUpdate) -> TurnUpdate:
    """The one update that changes what two readable ones change, applied one after the other.

    Both name slots in the same way, and values as the ontology spells them where it matters. What one update cannot say
    is that a value disliked in an earlier turn was wanted for a moment, and then another instead: it stays disliked.
    """
    if then.new_topic:
        return then
    forgotten = then.drop | then.unknown
    # a want that is disliked after it stays: it replaced what was wanted before, and counts as disliked itself
    want = {slot: values for slot, values in first.want.items() if slot not in forgotten} | dict(then.want)
    dislike: dict[str, tuple[str, ...]] = {}
    for slot, values in first.dislike.items():
        wanted = {fold(value) for value in then.want.get(slot, ())}
        left = () if slot in forgotten else tuple(value for value in values if fold(value) not in wanted)
        if left:
            dislike[slot] = left
    for slot, values in then.dislike.items():
        dislike[slot] = tuple(dict.fromkeys((*dislike.get(slot, ()), *values)))
    return TurnUpdate(
        want=want,
        dislike=dislike,
        drop=(first.drop - then.unknown) | then.drop,
        new_topic=first.new_topic,
        unknown=(first.unknown - then.drop) | then.unknown,
    )


_NOTHING: Sides = ((), ())


def _by_slot(state: BeliefState) -> dict[str, Sides]:
    found: dict[str, Sides] = {}
    for item in state:
        liked, avoided = found.get(item.slot, _NOTHING)
        if item.polarity == "like":
            liked = (*liked, item.value)
        else:
            avoided = (*avoided, item.value)
        found[item.slot] = (liked, avoided)
    return found
