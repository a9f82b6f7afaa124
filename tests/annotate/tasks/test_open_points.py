"""What small ontologies leave open, worked out by hand."""

from __future__ import annotations

import pytest

from annotate.tasks.open_points import OpenPoint, open_points, points
from schemas.ontology import Ontology, Slot, Value


def slot(name: str, *values: str | Value, kind: str = "categorical") -> Slot:
    made = tuple(value if isinstance(value, Value) else Value(value=value, count=1) for value in values)
    return Slot.model_validate({"name": name, "attribute": name, "kind": kind, "values": made})


def found(*slots: Slot) -> list[str]:
    return [point.about for point in points(Ontology(slots=slots))]


PRICE = slot("price", Value(value="under 40", high=40), Value(value="40 and over", low=40), kind="numeric")
CHEAP = slot("price", Value(value="under 40", high=40), Value(value="40 and over", low=40), "cheap", kind="numeric")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (slot("size", "S", "M"), slot("available_sizes", "M", "L")),
        (slot("size", "36", "37"), slot("availableSizes", "40", "41")),
        (slot("color", "red"), slot("base_colour", "blue")),
        (slot("length", "long"), slot("sleeve_length", "short")),
        (slot("rating", "4"), slot("customer_reviews", "5")),
        (slot("长", "长"), slot("袖长", "短")),
        (slot("material", "wool"), slot("upper material", "suede")),
        (slot("style", "casual", "party", "retro"), slot("occasion", "party", "casual", "work", "sport")),
    ],
)
def test_slots_that_look_alike_are_open(one: Slot, other: Slot) -> None:
    assert found(one, other)[:1] == [f"{one.name} / {other.name}"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (slot("color", "red"), slot("size", "S")),
        (slot("vegan", "yes", "no"), slot("waterproof", "yes", "no")),
        (slot("size", "36", "37"), slot("heel", "36", "37")),
        (slot("रंग", "लाल"), slot("राग", "काला")),
        (slot("type", "boot"), slot("sole_type", "rubber")),
        (slot("style", "casual", "party", "a", "b", "c", "d", "e"), slot("mood", "party", "f", "g", "h", "i", "j")),
    ],
)
def test_slots_that_only_share_yes_numbers_or_a_word_are_not(one: Slot, other: Slot) -> None:
    assert found(one, other) == []


def test_more_than_two_alike_are_one_point_which_shows_what_they_share() -> None:
    ontology = Ontology(
        slots=(
            slot("length", "Long", "short"),
            slot("hem_length", "long", "midi"),
            slot("sleeve_length", "long", "cap"),
        )
    )
    first = points(ontology)[0]
    assert first.about == "length / hem_length / sleeve_length"
    assert first.question == (
        "length, hem_length and sleeve_length look alike and share values (Long): which one does a value belong to?"
    )
    assert first.default == "Mark the slot that fits the user's words or the product they want; if in doubt, length."


@pytest.mark.parametrize(
    ("values", "about"),
    [
        (("long", "full-length"), "length=full-length / length=long"),
        (("Sneakers", "trainers", "boots"), "length=Sneakers / length=trainers"),
        (("dress", "dresses"), "length=dress / length=dresses"),
        (("v neck", "V-necks"), "length=V-necks / length=v neck"),
        (("vertical stripes", "vertical striples"), "length=vertical stripes / length=vertical striples"),
        ((Value(value="beige", count=1), Value(value="Off-White", count=9)), "length=Off-White / length=beige"),
    ],
)
def test_values_that_mean_or_spell_nearly_the_same_are_open(values: tuple[str, ...], about: str) -> None:
    assert found(slot("length", *values)) == [about]


def test_values_that_differ_are_not() -> None:
    assert found(slot("length", "blue", "light blue", "red", "bed", "model 1234", "model 1235", "C+", "C#")) == []


def test_words_for_money_and_ratings_are_open_until_the_slot_has_some() -> None:
    assert [(point.about, point.default) for point in points(Ontology(slots=(PRICE,)))] == [
        ("price", "“cheap” or “expensive”: type the word into Other (price=cheap); do not guess a number.")
    ]
    assert found(CHEAP) == []
    assert found(slot("price", Value(value="cheap", high=40), Value(value="40 up", low=40), kind="numeric")) == []
    assert found(slot("stars", "1", "2", "3")) == ["stars"]
    assert found(slot("size", "36", "37")) == []


def test_numbers_that_no_range_holds_are_open() -> None:
    gap = slot("price", Value(value="a", high=40), Value(value="b", low=60), "cheap", kind="numeric")
    assert [(point.about, point.question) for point in points(Ontology(slots=(gap,)))] == [
        ("price=a / price=b", "no range of price holds 40 to 60")
    ]


def test_what_the_owner_decided_is_open_no_more_however_it_is_written() -> None:
    slots = (slot("size", "S", "M"), slot("available_sizes", "M", "L"), PRICE)
    decided = Ontology(slots=slots, decisions={"Available_sizes / SIZE": "Mark size."})
    assert [point.about for point in open_points(decided)] == ["price"]
    assert len(points(decided)) == 2


def test_a_point_as_json_has_its_key_its_question_and_its_default() -> None:
    assert OpenPoint("a", "b", "c", "d").as_json() == {"about": "a", "question": "b", "default": "c"}
