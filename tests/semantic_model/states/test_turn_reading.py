from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ontology import Slot, Value
from semantic_model.states.turn_reading import TurnReader, dialogue_turns, find_amounts, referred
from tests.semantic_model.states.shop import ATTRIBUTES, SHOP, turns

READER = TurnReader(SHOP)


def named(text: str) -> set[str]:
    """Values as people write them: ``red``, ``!black``."""
    return {f"{'!' if item.negated else ''}{item.value}" for part in READER.sentences(text) for item in part.named}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a red dress", {"red", "dress"}),
        ("no black", {"!black"}),
        ("no black or white, red please", {"!black", "!white", "red"}),
        ("no black shoes", {"!black", "!shoes"}),
        ("not black but red", {"!black", "red"}),
        ("a dress without stripes", {"dress", "!striped"}),
        ("I don't like black", {"!black"}),
        ("I don't want it to be black", {"!black"}),
        ("I hate black", {"!black"}),
        ("white instead of black", {"white", "!black"}),
        ("white rather than black", {"white", "!black"}),
        ("any color other than black", {"!black"}),
        # an exception leaves out what it names, and takes out of a negation what it names
        ("everything except the black one", {"!black"}),
        ("anything except for black", {"!black"}),
        ("no dresses except black ones", {"!dress", "black"}),
        # negative in form alone
        ("don't you have red ones?", {"red"}),
        ("isn't there a red dress?", {"red", "dress"}),
        ("not only red", {"red"}),
        ("no problem with red", {"red"}),
        ("Not sure. Is there red?", {"red"}),
        ("nothing except the black one", {"black"}),
        ("anything but black or white", {"!black", "!white"}),
        ("all but black and white", {"!black", "!white"}),
        ("no black, white or red", {"!black"}),  # on the list, or wanted instead
        ("not only red but no black", {"red", "!black"}),
        ("No show me red", {"red"}),
        ("why not red?", {"red"}),
        ("I don't mind red", set()),
        ("it need not be red, blue is fine", {"blue"}),
        ("it doesn't have to be red", set()),
        ("I don\u2019t want red", {"!red"}),
        ("Iâ€™d like red", {"red"}),
        # however the apostrophe is typed, or left out
        ("dont want red", {"!red"}),
        ("I don\u00b4t want red", {"!red"}),
        ("I don`t want red", {"!red"}),
        ("doesnt have to be red", set()),
        ("I do not want it to be black", {"!black"}),
        ("it does not have to be red", set()),
        ("a dress w/o stripes", {"dress", "!striped"}),
        ("rule out red", {"!red"}),
        ("remove red", set()),
        # a hyphen ties a "no" to its word alone
        ("a no-iron red dress", {"red", "dress"}),
        ("no-red", {"!red"}),
        # what another value is compared with
        ("rather white than black", {"white", "!black"}),
        ("I like red better than black", {"red", "!black"}),
        ("darker than red", set()),
        ("nothing other than black", {"black"}),
        # a dash parts, as a comma does
        ("No - red please", {"red"}),
        ("no \u2014 red", {"red"}),
        ("not red - white", {"!red", "white"}),
        # what is said after the value
        ("red will not do", set()),
        ("red is out, black", {"black"}),
        ("stripes are not required", set()),
        ("red not black", {"red", "!black"}),
        ("black no", set()),
        ("my wife hates red", {"!red"}),
        ("I'm allergic to stripes", {"!striped"}),
    ],
)
def test_negation_worked_by_hand(text: str, found: set[str]):
    assert named(text) == found


def amounts(text: str) -> list[tuple[str, str]]:
    """Slot and amount of those that are of one slot."""
    return [(amount.slot, amount.said) for amount in find_amounts(text, SHOP) if amount.slot]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("under 50", [("price", "under 50")]),
        ("something below $30 please", [("price", "below $30")]),
        ("between 20 and 40", [("price", "between 20 and 40")]),
        ("20 to 40 dollars", [("price", "20 to 40 dollars")]),
        ("less than $150", [("price", "less than $150")]),
        ("around $150", [("price", "$150")]),
        ("it costs $29.99", [("price", "$29.99")]),
        # a bound may come after its number
        ("$30 or less", [("price", "$30 or less")]),
        ("$30 and up", [("price", "$30 and up")]),
        ("$30+", [("price", "$30+")]),
        ("30 dollars max", [("price", "30 dollars max")]),
        ("rated 4.5 or more", [("rating", "4.5 or more")]),
        ("30 or more shops", []),
        ("below € 1.299,00 please", [("price", "below € 1.299,00")]),
        ("up to 2k dollars", [("price", "up to 2k dollars")]),
        ("what about 45?", []),
        ("rated at least 4 stars", [("rating", "at least 4")]),
        ("with reviews above 3.5", [("rating", "above 3.5")]),
        # of no size that a slot has, or no amount at all
        ("over 9000 shops", []),
        ("the 2 on the left", []),
        ("under the table", []),
    ],
)
def test_amounts_worked_by_hand(text: str, found: list[tuple[str, str]]):
    assert amounts(text) == found


def test_a_bound_that_is_refused_is_to_be_avoided_and_no_size():
    sizes = Slot(name="size", attribute="size", values=(Value(value="45"), Value(value="4.5"), Value(value="20")))
    reader = TurnReader(SHOP.model_copy(update={"slots": (*SHOP.slots, sizes)}))

    def read(text: str) -> set[str]:
        return {f"{'!' if item.negated else ''}{item.value}" for part in reader.sentences(text) for item in part.named}

    assert read("under 45") == {"under 45"}
    assert read("nothing over 45") == {"!over 45"}
    assert read("no more than $45") == {"no more than $45"}
    assert read("between 20 and 45") == {"between 20 and 45"}
    assert read("size 45") == {"45"}
    assert read("sizes 20-45") == {"20", "45"}  # and no price
    assert read("size over 20") == set()
    assert read("in 4.5 please. What about 20?") == {"4.5", "20"}


def test_an_amount_that_could_be_of_two_slots_is_left_out():
    assert amounts("under 11") == []  # out of ten stars, or a bargain


def test_an_amount_that_the_ontology_spells_is_that_value():
    (sentence,) = READER.sentences("under 40")
    assert [item.choice for item in sentence.named] == [("price", "under 40")]
    (sentence,) = READER.sentences("under 35")
    assert [item.choice for item in sentence.named] == [("price", "under 35")]


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("like the second one but in red", "b"),
        ("I like the 1st image", "a"),
        ("something like #2", "b"),
        ("picture 1, please", "a"),
        ("the last one", "b"),
        # more than there are, or places in a scene
        ("like the third one", None),
        ("#7", None),
        ("the second one on the left", None),
        ("the first in the back", None),
    ],
)
def test_images_pointed_at_by_their_place(text: str, image: str | None):
    rows = turns(("user", "hi"), ("system", "these two", "a", "b"), ("user", text))
    *_, turn = dialogue_turns(rows, READER, ATTRIBUTES)
    assert referred(turn) == (None if image is None else ATTRIBUTES[image])


def test_a_turn_knows_the_images_last_shown_and_what_was_asked():
    rows = turns(
        ("user", "hi"), ("system", "these two", "a", "b"), ("user", "ok"), ("system", "Which?"), ("user", "#1")
    )
    first, second, third = dialogue_turns(rows, READER, ATTRIBUTES)
    assert (first.is_first, first.images, first.asked) == (True, (), "")
    assert second.images == third.images == (ATTRIBUTES["a"], ATTRIBUTES["b"])
    assert (second.asked, third.asked, third.number) == ("these two", "Which?", 4)


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str):
    rows = turns(("user", text), ("system", text, "a"), ("user", text))
    for turn in dialogue_turns(rows, READER, ATTRIBUTES):
        referred(turn)
        assert all(
            item.slot in {"type", "color", "pattern", "price", "rating"} for s in turn.sentences for item in s.named
        )


def test_unlisted_values_stand_only_where_no_listed_one_does():
    reader = TurnReader(SHOP, [("color", "mauve"), ("type", "red dress"), ("pattern", "red")])
    (sentence,) = reader.sentences("a red dress or a mauve coat")
    assert [named.choice for named in sentence.named] == [
        ("color", "red"),
        ("type", "dress"),
        ("color", "mauve"),
        ("type", "coat"),
    ]
