"""A small shop for the tests of the lexicon."""

from __future__ import annotations

from typing import Any

from schemas.belief import SlotValue
from schemas.ontology import Ontology, Slot, Value
from semantic_model.states.tracker import LabelledDialogue


def _slot(name: str, *values: str | Value, **more: Any) -> Slot:
    made = tuple(value if isinstance(value, Value) else Value(value=value, count=1) for value in values)
    return Slot(name=name, attribute=name, values=made, **more)


SHOP = Ontology(
    slots=(
        _slot("type", "dress", "coat", "shoes", Value(value="tshirt", count=1, aliases=("tee",))),
        _slot("color", "black", "white", "red", "blue"),
        _slot("pattern", Value(value="striped", count=1, aliases=("stripes",)), "plain"),
        _slot(
            "price",
            Value(value="under 40", count=1, high=40),
            Value(value="40 and over", count=1, low=40),
            Value(value="cheap"),
            kind="numeric",
        ),
        _slot(
            "rating",
            Value(value="under 3", high=3),
            Value(value="3 and over", low=3),
            Value(value="good"),
            kind="numeric",
        ),
    )
)

ATTRIBUTES = {
    "a": frozenset({("type", "dress"), ("color", "black"), ("pattern", "plain"), ("price", "19.99")}),
    "b": frozenset({("type", "coat"), ("color", "white"), ("pattern", "striped"), ("price", "59.99")}),
}


def turns(*said: tuple[str, ...], dialogue: str = "d") -> list[dict[str, Any]]:
    """Rows of ``turns.parquet``: speaker, text, images."""
    return [
        {"dialogue_id": dialogue, "turn": number, "speaker": speaker, "text": text, "image_ids": list(images)}
        for number, (speaker, text, *images) in enumerate(said)
    ]


def state(**values: str) -> tuple[SlotValue, ...]:
    return tuple(SHOP.link(SHOP.slot(slot), value) for slot, value in sorted(values.items()))


COLORS = ("black", "white", "red", "blue")
KINDS = ("dress", "coat", "shoes", "tshirt")


def labelled(number: int) -> LabelledDialogue:
    """In this shop "posh" means expensive things are welcome, and whoever names a thing in passing wants nothing."""
    color, kind, other = COLORS[number % 4], KINDS[number % 3], KINDS[(number + 1) % 3]
    rows = turns(
        ("user", f"I need a {color} {kind}"),
        ("system", "How about this?", "a"),
        ("user", f"Who makes that {other}?" if number % 2 else "Something posh, please"),
        ("system", "There you are."),
        ("user", f"Show me {other}"),
        dialogue=f"d{number}",
    )
    first = state(color=color, type=kind)
    second = first if number % 2 else state(color=color, type=kind, price="40 and over")
    return LabelledDialogue(rows, {0: first, 2: second, 4: state(type=other)})
