"""What can be agreed on: one mark of a turn, in the spelling of the ontology, so that aliases of a value agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from annotate.annotations.annotation import Mark
from schemas.belief import Op, TurnUpdate
from schemas.folding import fold
from schemas.ontology import Ontology

__all__ = ["Item", "items_of", "update_of"]

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
