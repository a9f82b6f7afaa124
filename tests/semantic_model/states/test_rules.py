from __future__ import annotations

import pytest

from schemas.belief import TurnUpdate
from schemas.ontology import Ontology, Slot, Value
from semantic_model.states.rules import rule_update
from semantic_model.states.turn_reading import TurnReader, dialogue_turns
from tests.semantic_model.states.shop import ATTRIBUTES, SHOP, turns

READER = TurnReader(SHOP)


def update(text: str, *, topic: str | None = None, shown: tuple[str, ...] = ("a", "b")) -> TurnUpdate:
    """Of a turn that two images stand before."""
    rows = turns(("user", "hi"), ("system", "these two", *shown), ("user", text))
    *_, turn = dialogue_turns(rows, READER, ATTRIBUTES)
    return rule_update(turn, READER, frozenset({topic} if topic else ()))


def want(**values: tuple[str, ...]) -> TurnUpdate:
    return TurnUpdate(want=values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Show me a red dress", want(type=("dress",), color=("red",))),
        ("I'm looking for stripes, but no black", TurnUpdate({"pattern": ("striped",)}, {"color": ("black",)})),
        ("I want something under 50", want(price=("under 50",))),
        # what is wanted like something shown
        ("Show me something like the second one but in red", want(type=("coat",), color=("red",))),
        ("Do you have something in the same color as #1?", want(type=("dress",), color=("black",))),
        ("anything similar to the 2nd picture in pattern?", want(type=("coat",), pattern=("striped",))),
        ("I like the second one", want(type=("coat",))),
        ("Why not red?", want(color=("red",))),
        ("Anything in red? No, show me blue.", want(color=("blue",))),
        ("None of those, red please, show me red", want(color=("red",))),
        ("anything but black", TurnUpdate(dislike={"color": ("black",)})),
        ("No black, please", TurnUpdate(dislike={"color": ("black",)})),
        ("I don't want stripes", TurnUpdate(dislike={"pattern": ("striped",)})),
        ("Isn't that one black?", TurnUpdate()),
        ("That's not red", TurnUpdate()),
        # about one, bought, or praised
        ("What is the price of the black dress?", TurnUpdate()),
        ("Please add the red coat to my cart", TurnUpdate()),
        ("I'll take the red coat", TurnUpdate()),
        ("That red coat is lovely", TurnUpdate()),
        ("Is it black?", TurnUpdate()),
        ("Do you have it in red?", TurnUpdate()),
        ("Do you have anything in red?", want(color=("red",))),
        ("I'd like to know who makes black coats", TurnUpdate()),
        ("Add the coat to my cart. Then show me dresses.", want(type=("dress",))),
        ("Add it to my cart in red", want(color=("red",))),
        # what describes a product pointed at tells of its kind, where the like of it is wanted
        ("Show me something like the black coat, but in red", want(type=("coat",), color=("red",))),
        ("Do you have this striped dress in blue?", want(color=("blue",))),
        # what does not matter any more
        ("The price doesn't matter", TurnUpdate(drop=frozenset({"price"}))),
        ("Any color is fine", TurnUpdate(drop=frozenset({"color"}))),
        ("I don't care about the pattern", TurnUpdate(drop=frozenset({"pattern"}))),
        # wanted in one sentence and not in the other
        ("Show me red. I don't need red.", TurnUpdate()),
    ],
)
def test_updates_worked_by_hand(text: str, expected: TurnUpdate):
    assert update(text) == expected


def test_another_kind_of_thing_is_another_topic():
    assert update("Now show me coats", topic="dress") == TurnUpdate({"type": ("coat",)}, new_topic=True)
    assert update("Show me more dresses", topic="dress") == want(type=("dress",))


def test_words_that_are_values_of_two_slots_are_those_of_the_slot_named_else_of_the_first():
    sizes = tuple(Value(value=value, count=1) for value in ("XL", "M"))
    slots = tuple(Slot(name=name, attribute=name, values=sizes) for name in ("size", "available"))
    reader = TurnReader(Ontology(slots=slots))

    def wants(text: str) -> dict[str, tuple[str, ...]]:
        (turn,) = dialogue_turns(turns(("user", text)), reader, {})
        return dict(rule_update(turn, reader, frozenset()).want)

    assert wants("something in XL") == {"size": ("XL",)}
    assert wants("show me any available XL") == {"available": ("XL",)}


def test_images_that_are_not_there_cannot_be_pointed_at():
    assert update("Show me something like the second one", shown=("a",)) == TurnUpdate()
    assert update("Show me something like the second one", shown=()) == TurnUpdate()


def heard(*said: str, images: tuple[str, ...] = ()) -> TurnUpdate:
    """Of the last of what user and system said in turn."""
    rows = turns(*((("user", "system")[at % 2], text, *images) for at, text in enumerate(said)))
    *_, turn = dialogue_turns(rows, READER, ATTRIBUTES)
    return rule_update(turn, READER, frozenset())


def test_who_begins_with_a_remark_asks_for_nothing():
    assert heard("What a lovely red coat! Who makes it?") == TurnUpdate()
    assert heard("I like this striped dress.") == TurnUpdate()
    assert heard("This is nice. A red coat, please.") == want(type=("coat",), color=("red",))


def test_another_one_of_a_kind_is_of_the_kind_that_is_there():
    assert heard("Do you have another coat in red?") == want(color=("red",))
    assert heard("Do you have a red coat?") == want(type=("coat",), color=("red",))
    assert heard("Hi", "These", "Show me another coat", images=("a",)) == want(type=("coat",))


def test_an_answer_says_what_was_asked_for():
    asked = "What color would you like?"
    assert heard("Hi", asked, "Red.", images=("a",)) == want(color=("red",))
    assert heard("Hi", asked, "The red, thanks.", images=("a",)) == want(color=("red",))
    assert heard("Hi", asked, "Is it red?", images=("a",)) == TurnUpdate()
    assert heard("Hi", "That is the color.", "Red.", images=("a",)) == TurnUpdate()


def test_a_description_is_what_is_wanted_where_no_image_is_described():
    assert heard("Hi", "Yes?", "Show me the black one") == want(color=("black",))
    assert heard("Hi", "These", "Show me the black one", images=("a",)) == TurnUpdate()


def test_the_name_of_a_slot_is_none_of_its_values():
    values = tuple(Value(value=value, count=1) for value in ("rating", "better"))
    reader = TurnReader(Ontology(slots=(Slot(name="customerRating", attribute="rating", values=values),)))
    (turn,) = dialogue_turns(turns(("user", "Show me something with a better rating")), reader, {})
    assert rule_update(turn, reader, frozenset()).want == {"customerRating": ("better",)}
