"""One turn that several people answered: what they agree on, what the policy decides, and what stays in dispute.

What is voted on is an item: a value wanted or disliked, a slot dropped, a new topic, in the ontology's spelling, so
that aliases of a value agree; not having marked it is a no. A slot is in dispute when one of its items is open, when
what was decided contradicts itself, or when half of the people or more say something of it but nothing is decided:
red, blue and green are no majority for saying nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import orjson

from annotate.annotations.annotation import Annotation, Mark, turn_update
from annotate.resolution.policies import Majority, Policy
from schemas.belief import Op, TurnUpdate
from schemas.files import sha256_bytes
from schemas.folding import fold
from schemas.ontology import Ontology

_OF_A_SLOT: frozenset[Op] = frozenset({"want", "dislike", "drop", "unknown"})


class Item(NamedTuple):
    """One thing that an answer says of a turn, or does not say."""

    op: Op  # ``want``, ``dislike``, ``drop``, ``unknown`` or ``new_topic``
    slot: str = ""  # the slot's name in the ontology; empty for ``new_topic``
    value: str = ""  # the value as the ontology writes it, folded; empty for operations without one


def items_of(marks: Iterable[Mark], ontology: Ontology) -> dict[Item, str]:
    """Each thing said by the marks of one turn, and the value as it is to be written; unknown slots keep their name."""
    found: dict[Item, str] = {}
    for mark in marks:
        if mark.op == "new_topic":
            found[Item("new_topic")] = ""
        elif mark.op in _OF_A_SLOT and mark.slot is not None:
            slot = ontology.find(mark.slot)
            name = mark.slot if slot is None else slot.name
            if mark.op in ("drop", "unknown"):
                found[Item(mark.op, name)] = ""
            elif mark.value is not None:
                spelled = mark.value if slot is None else ontology.link(slot, mark.value).value
                found[Item(mark.op, name, fold(spelled))] = spelled
    return found


def update_of(items: Mapping[Item, str], unknown: Iterable[str] = ()) -> TurnUpdate:
    """The update that says these items, with the values as they are to be written; ``unknown`` are further slots."""
    want: dict[str, tuple[str, ...]] = {}
    dislike: dict[str, tuple[str, ...]] = {}
    for item in sorted(items, key=lambda item: (item.slot, items[item], item.value)):
        if item.op in ("want", "dislike"):
            side = want if item.op == "want" else dislike
            side[item.slot] = (*side.get(item.slot, ()), items[item])
    return TurnUpdate(
        want=want,
        dislike=dislike,
        drop=frozenset(item.slot for item in items if item.op == "drop"),
        new_topic=Item("new_topic") in items,
        unknown=frozenset({*unknown, *(item.slot for item in items if item.op == "unknown")}),
    )


@dataclass(frozen=True)
class Ballot:
    """What one annotator says of one turn."""

    annotator: str
    marks: tuple[Mark, ...]
    annotation: Annotation  # where it is from
    items: Mapping[Item, str]  # the same in the ontology's spelling, each with the value as it is to be written

    @classmethod
    def read(cls, annotator: str, marks: Iterable[Mark], annotation: Annotation, ontology: Ontology) -> Ballot:
        marks = tuple(marks)
        return cls(annotator, marks, annotation, items_of(marks, ontology))

    @cached_property
    def readable(self) -> bool:
        """Whether the annotator could label the turn."""
        return not any(mark.op in ("unsure", "bad_turn") for mark in self.marks)

    @property
    def flags_dialogue(self) -> bool:
        """Whether the annotator calls the dialogue useless."""
        return any(mark.op == "bad_dialogue" for mark in self.annotation.marks)

    @property
    def whole(self) -> tuple[bool, frozenset[Item]]:
        """All of the answer, to compare with others; of a turn that could not be labelled nothing else counts."""
        return self.readable, frozenset(self.items) if self.readable else frozenset()


@dataclass(frozen=True)
class Outcome:
    """What a turn's ballots come to."""

    update: TurnUpdate  # what is decided; slots in dispute are unknown in it
    unanimous: bool  # whether all say the same
    disputed_slots: frozenset[str] = frozenset()  # all, where it is open whether the turn can be labelled
    agreed: Mapping[Item, str] = field(default_factory=dict)  # the items decided on, those in disputed slots too
    # who says something of what was decided, or as the decision does nothing; all of them when nobody does
    supporters: tuple[str, ...] = ()


def disagreement(ballots: Sequence[Ballot]) -> float:
    """Share of the annotators who do not give the commonest answer: 0 when all say the same, below 1."""
    if not ballots:
        return 0.0
    commonest = max(Counter(ballot.whole for ballot in ballots).values())
    return 1 - commonest / len(ballots)


def answers_sha256(ballots: Iterable[Ballot]) -> str:
    """Hash of what is said of a turn, whoever says it: changes when somebody answers otherwise."""
    answers = sorted([each.readable, each.flags_dialogue, sorted(map(list, each.items))] for each in ballots)
    return sha256_bytes(orjson.dumps(answers))


def vote(
    ballots: Sequence[Ballot],
    policy: Policy,
    slots: Iterable[str],
    fixed: Mapping[str, Mapping[Item, str]] | None = None,
) -> Outcome:
    """Decide one turn.

    Args:
        ballots: one per annotator, at least one where nothing is fixed. One alone is taken as it is.
        policy: decides where they differ.
        slots: names of all slots.
        fixed: slot -> its items, for those that a reviewer decided; the empty slot is whether a new topic starts.
    """
    if fixed:
        return _vote_on_the_rest(ballots, policy, frozenset(slots), fixed)
    everybody = tuple(ballot.annotator for ballot in ballots)
    if len(ballots) == 1:
        only = ballots[0]
        return Outcome(turn_update(only.marks), True, agreed=only.items if only.readable else {}, supporters=everybody)
    if len({ballot.whole for ballot in ballots}) == 1:
        if not ballots[0].readable:
            return Outcome(TurnUpdate(readable=False), True, supporters=everybody)
        merged = _spelled(ballots[0].items, ballots)
        return Outcome(update_of(merged), True, agreed=merged, supporters=everybody)
    unreadable = policy.decide({ballot.annotator: not ballot.readable for ballot in ballots})
    if unreadable is None:
        return Outcome(TurnUpdate(readable=False), False, frozenset(slots), supporters=everybody)
    if unreadable:
        could_not = tuple(ballot.annotator for ballot in ballots if not ballot.readable)
        return Outcome(TurnUpdate(readable=False), False, supporters=could_not or everybody)
    return _vote_on_items([ballot for ballot in ballots if ballot.readable], policy, frozenset(slots), {})


def _vote_on_the_rest(
    ballots: Sequence[Ballot], policy: Policy, slots: frozenset[str], fixed: Mapping[str, Mapping[Item, str]]
) -> Outcome:
    """What a reviewer decided, and of the other slots what annotators agree on; where they do not, it stays open."""
    readable = [ballot for ballot in ballots if ballot.readable]
    if readable and policy.decide({ballot.annotator: not ballot.readable for ballot in ballots}) is False:
        return _vote_on_items(readable, policy, slots, fixed)
    agreed = {item: spelled for items in fixed.values() for item, spelled in items.items()}
    unknown = slots - fixed.keys()
    return Outcome(update_of(agreed, unknown), False, unknown if ballots else frozenset(), agreed)


def _vote_on_items(
    ballots: Sequence[Ballot], policy: Policy, slots: frozenset[str], fixed: Mapping[str, Mapping[Item, str]]
) -> Outcome:
    decided = {
        item: policy.decide({ballot.annotator: item in ballot.items for ballot in ballots})
        for item in sorted({item for ballot in ballots for item in ballot.items})
        if item.slot not in fixed
    }
    elected = [item for item, yes in decided.items() if yes]
    topic = Item("new_topic")
    of_slots: dict[str, list[Item]] = {}
    for item in decided:
        if item != topic:
            of_slots.setdefault(item.slot, []).append(item)
    disputed = {slot for slot, items in of_slots.items() if _is_disputed(slot, {i: decided[i] for i in items}, ballots)}
    agreed = _spelled(elected, ballots)
    supporters = _supporters(ballots, agreed) if elected or not fixed else ()
    agreed |= {item: spelled for items in fixed.values() for item, spelled in items.items()}
    settled = {item: spelled for item, spelled in agreed.items() if item == topic or item.slot not in disputed}
    if topic in decided and decided[topic] is None:
        # whatever was known may be cleared: only what this turn itself sets is known after it
        disputed |= slots - {item.slot for item in settled if item.op in ("want", "drop")}
    return Outcome(update_of(settled, disputed), False, frozenset(disputed), agreed, supporters)


def _is_disputed(slot: str, decided: Mapping[Item, bool | None], ballots: Sequence[Ballot]) -> bool:
    if None in decided.values():
        return True
    elected = {item for item, yes in decided.items() if yes}
    if any(item.op == "want" and Item("dislike", slot, item.value) in elected for item in elected):
        return True
    said = {ballot.annotator: any(item.slot == slot for item in ballot.items) for ballot in ballots}
    return not elected and Majority().decide(said) is not False


def _spelled(items: Iterable[Item], ballots: Sequence[Ballot]) -> dict[Item, str]:
    """Each item with the value as most people write it; of several such the first in the alphabet."""
    chosen: dict[Item, str] = {}
    for item in items:
        written = Counter(ballot.items[item] for ballot in ballots if item in ballot.items)
        chosen[item] = min(written, key=lambda text: (-written[text], text))
    return chosen


def _supporters(ballots: Sequence[Ballot], agreed: Mapping[Item, str]) -> tuple[str, ...]:
    if agreed:
        return tuple(ballot.annotator for ballot in ballots if not agreed.keys().isdisjoint(ballot.items))
    silent = tuple(ballot.annotator for ballot in ballots if not ballot.items)
    return silent or tuple(ballot.annotator for ballot in ballots)
