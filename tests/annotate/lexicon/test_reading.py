from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.lexicon.amounts import find_amounts
from annotate.lexicon.dialogue import dialogue_turns, referred
from annotate.lexicon.reading import TurnReader
from tests.annotate.lexicon.shop import ATTRIBUTES, SHOP, turns

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
        ("I don\u2019t want red", {"!red"}),
        ("Iâ€™d like red", {"red"}),
    ],
)
def test_negation_worked_by_hand(text: str, found: set[str]):
    assert named(text) == found


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
        ("rated at least 4 stars", [("rating", "at least 4")]),
        ("with reviews above 3.5", [("rating", "above 3.5")]),
        # of no size that a slot has, or no amount at all
        ("over 9000 shops", []),
        ("the 2 on the left", []),
        ("under the table", []),
    ],
)
def test_amounts_worked_by_hand(text: str, found: list[tuple[str, str]]):
    assert list(find_amounts(text, SHOP)) == found


def test_an_amount_that_could_be_of_two_slots_is_left_out():
    assert list(find_amounts("under 11", SHOP)) == []  # out of ten stars, or a bargain


def test_an_amount_that_the_ontology_spells_is_that_value():
    (sentence,) = READER.sentences("under 40")
    assert [item.choice for item in sentence.named] == [("price", "under 40")]
    (sentence,) = READER.sentences("under 35")
    assert [item.choice for item in sentence.named] == [("price", "under 35")]


@pytest.mark.parametrize(
    ("text", "picture"),
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
def test_pictures_pointed_at_by_their_place(text: str, picture: str | None):
    rows = turns(("user", "hi"), ("system", "these two", "a", "b"), ("user", text))
    *_, turn = dialogue_turns(rows, READER, ATTRIBUTES)
    assert referred(turn) == (None if picture is None else ATTRIBUTES[picture])


def test_a_turn_knows_the_pictures_last_shown_and_what_was_asked():
    rows = turns(
        ("user", "hi"), ("system", "these two", "a", "b"), ("user", "ok"), ("system", "Which?"), ("user", "#1")
    )
    first, second, third = dialogue_turns(rows, READER, ATTRIBUTES)
    assert (first.is_first, first.pictures, first.asked) == (True, (), "")
    assert second.pictures == third.pictures == (ATTRIBUTES["a"], ATTRIBUTES["b"])
    assert (second.asked, third.asked, third.number) == ("these two", "Which?", 4)


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str):
    rows = turns(("user", text), ("system", text, "a"), ("user", text))
    for turn in dialogue_turns(rows, READER, ATTRIBUTES):
        referred(turn)
        assert all(
            item.slot in {"type", "color", "pattern", "price", "rating"} for s in turn.sentences for item in s.named
        )
