from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.belief import SlotValue
from schemas.ontology import Ontology, Slot, Value
from semantic_model.grounded.values import Mention, SlotValues


def slot(name: str, *values: str | Value, **more) -> Slot:
    made = tuple(value if isinstance(value, Value) else Value(value=value) for value in values)
    return Slot(**{"name": name, "attribute": name, "values": made, **more})


TYPES = slot("type", "tshirt", "tank top", "dress", "blouse", "hoodie", Value(value="trousers", aliases=("pants",)))
COLOURS = slot("color", "black", "dark grey", "grey", "olive")
PRICE = slot(
    "price",
    Value(value="under 40", high=40),
    Value(value="40 to 60", low=40, high=60),
    Value(value="60 and over", low=60),
    Value(value="cheap"),
    kind="numeric",
)
SLEEVES = slot("sleeveLength", "long", attribute="sleeve_length")
VALUES = SlotValues(Ontology(slots=(TYPES, COLOURS, PRICE, slot("season"), SLEEVES)))
NAMES = [value.value for value in VALUES.values]


def column(value: str) -> int:
    return NAMES.index(value)


def named(columns: np.ndarray) -> set[str]:
    return {NAMES[at] for at in np.flatnonzero(columns)}


def mentioned(text: str, values: SlotValues = VALUES) -> dict[str, bool]:
    """Value -> whether it is negated."""
    found = values.mentions(text)
    assert len({mention.column for mention in found}) == len(found)
    return {values.values[mention.column].value: mention.negated for mention in found}


def test_columns_are_the_values_slot_by_slot():
    assert len(VALUES) == 15
    assert VALUES.slot_of.tolist() == [0] * 6 + [1] * 4 + [2] * 4 + [4]
    assert NAMES[5:7] == ["trousers", "black"]
    assert list(VALUES.texts()) == NAMES


def test_a_product_has_the_values_of_its_attributes():
    found = VALUES.of_attributes({"type": ("Dress",), "color": ("black", "GREY"), "sleeve_length": ("long",)})
    assert named(found) == {"dress", "black", "grey", "long"}
    assert named(VALUES.of_attributes({"type": ("Pants",)})) == {"trousers"}
    assert named(VALUES.of_attributes({"sleeveLength": ("long",), "color": ("mauve",), "weight": ("grey",)})) == set()


@pytest.mark.parametrize(
    ("price", "range_"),
    [
        ("39.99", "under 40"),
        ("40", "40 to 60"),
        ("59,99", "40 to 60"),
        ("$60", "60 and over"),
        ("1000000", "60 and over"),
        ("-5", "under 40"),
        ("40 to 60", "40 to 60"),
    ],
)
def test_a_number_counts_as_the_range_it_lies_in(price: str, range_: str):
    assert named(VALUES.of_attributes({"price": (price,)})) == {range_}


@pytest.mark.parametrize("price", ["", "nan", "for free", "1e3 or so, perhaps"])
def test_what_is_no_number_lies_in_no_range(price: str):
    assert named(VALUES.of_attributes({"price": (price,)})) == set()


def test_a_state_likes_and_dislikes():
    state = (
        SlotValue("type", "dress"),
        SlotValue("type", "pants"),
        SlotValue("color", "black", "dislike"),
        SlotValue("price", "45"),
        SlotValue("season", "winter"),  # the slot has no values
        SlotValue("fabric", "wool"),  # no such slot
        SlotValue("color", "mauve"),  # no such value
    )
    found = VALUES.of_state(state)
    assert named(found.like) == {"dress", "trousers", "40 to 60"}
    assert named(found.dislike) == {"black"}
    assert found.known.tolist() == [True, False, True, False, True]
    found = VALUES.of_state(())
    assert not found.like.any()
    assert not found.dislike.any()
    assert found.known.all()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Show me T-shirts", ["tshirt"]),
        ("a t shirt, a TSHIRT", ["tshirt"]),
        ("tshirts", ["tshirt"]),
        ("tank tops", ["tank top"]),
        ("tank-top", ["tank top"]),
        ("the tanktop", ["tank top"]),
        ("dresses", ["dress"]),
        ("blouses or a blouse", ["blouse"]),
        ("a hoodie", ["hoodie"]),
        ("hoodies", ["hoodie"]),
        ("the dress's price", ["dress"]),
        ("the pair of pants", ["trousers"]),
        ("dark grey please", ["dark grey"]),  # and not grey
        ("dark, no, grey", ["grey"]),
        ("grey and dark grey", ["grey", "dark grey"]),
        ("something cheap with long sleeves", ["cheap", "long"]),
        ("ＢＬＡＣＫ", ["black"]),
        ("addressed, blackish, longing", []),
    ],
)
def test_values_are_found_however_they_are_spelled(text: str, found: list[str]):
    assert list(mentioned(text)) == found


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("not black", True),
        ("Not in a black", True),
        ("not in any kind of black", False),  # too far away
        ("I don't like black", True),
        ("I don\u2019t like black", True),
        ("without black", True),
        ("neither grey nor black", True),
        ("black, not grey", False),
        ("not grey but black", False),
        ("No, black", False),
        ("nothing? black!", False),
        ("black", False),
        ("not black, or yes: black", False),  # both: then it is wanted
        ("black, or rather not black", False),
        ("not black. never black", True),
        ("knots in black", False),
    ],
)
def test_a_negation_shortly_before_a_value_is_about_it(text: str, negated: bool):
    assert mentioned(text)["black"] is negated


def test_a_negation_is_about_its_own_clause():
    assert mentioned("no dark grey, a black dress") == {"dark grey": True, "black": False, "dress": False}


def test_one_spelling_may_name_values_of_several_slots():
    values = SlotValues(Ontology(slots=(slot("size", "long", "M"), slot("sleeves", "long"))))
    assert values.mentions("not long") == [Mention(0, True), Mention(2, True)]
    assert values.mentions("size m") == [Mention(1, False)]


def test_a_value_of_many_words_is_found():
    values = SlotValues(Ontology(slots=(slot("care", "wash it by hand with like colours only", "wash"),)))
    assert values.mentions("Wash it by hand, with like colours only!") == [Mention(0, False)]
    assert values.mentions("wash it by hand") == [Mention(1, False)]


@pytest.mark.parametrize("text", ["", " \n\t", "?!... ---", "''''", "\x00\ud7ff", "_", "'s", "-" * 5000])
def test_a_text_without_words_names_nothing(text: str):
    assert VALUES.mentions(text) == []


def test_values_without_any_letter_are_never_mentioned():
    values = SlotValues(Ontology(slots=(slot("rating", "***", "+", "good"),)))
    assert values.mentions("*** + good") == [Mention(2, False)]


@pytest.mark.parametrize("slots", [(), (slot("season"),), (slot("season"), slot("color"))])
def test_an_ontology_without_values(slots: tuple[Slot, ...]):
    values = SlotValues(Ontology(slots=slots))
    assert len(values) == 0
    assert values.slot_of.shape == (0,)
    assert values.slot_of.dtype == np.int64
    assert values.mentions("black dress") == []
    assert values.of_attributes({"color": ("black",)}).shape == (0,)
    assert [part.shape for part in values.of_state((SlotValue("color", "black"),))] == [(0,), (0,), (len(slots),)]


TEXTS = st.text() | st.lists(st.sampled_from(["not", "no", "but", ",", "don't", *NAMES, "pants", "the"])).map(" ".join)


@given(TEXTS)
def test_any_text_gives_each_column_once(text: str):
    found = VALUES.mentions(text)
    columns = [mention.column for mention in found]
    assert len(set(columns)) == len(columns)
    assert all(0 <= at < len(VALUES) for at in columns)
    assert VALUES.mentions(text) == found


@given(st.dictionaries(st.sampled_from(["type", "color", "price", "season", "x"]), st.lists(st.text(), max_size=3)))
def test_any_attributes_give_a_row(attributes: dict[str, list[str]]):
    assert VALUES.of_attributes(attributes).shape == (len(VALUES),)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique_by=lambda text: text.casefold()), st.text())
def test_any_values_can_be_looked_for(spellings: list[str], text: str):
    try:
        made = slot("any", *spellings)
    except ValueError:  # two of them are one when folded
        return
    values = SlotValues(Ontology(slots=(made,)))
    assert all(0 <= mention.column < len(spellings) for mention in values.mentions(" ".join([text, *spellings])))


@given(st.sampled_from([name for name in NAMES if name.isalpha()]), st.sampled_from([str.upper, str.title, str.lower]))
def test_a_value_s_own_spelling_names_it(name: str, case):
    assert mentioned(f"well {case(name)} then") == {name: False}
