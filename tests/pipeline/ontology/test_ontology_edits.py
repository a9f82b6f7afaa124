"""Each change of an ontology, worked by hand; what is refused, and that products stay keyed to their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from annotate.annotations.annotation import Annotation, Mark, turn_update
from annotate.annotations.migration import Migration
from pipeline.ontology.edits import (
    add_slot,
    add_value,
    merge_slots,
    merge_values,
    rename_slot,
    rename_value,
    split_value,
)
from schemas.accumulate import accumulate
from schemas.belief import BeliefState
from schemas.errors import InputError
from schemas.ontology import Ontology, Slot, Value
from semantic_model.data.records import Product, Query
from semantic_model.grounded.values import SlotValues
from semantic_model.models.state_rule import StateRule

V1 = Ontology(
    slots=(
        Slot(
            name="color",
            attribute="color",
            aliases=("colour",),
            values=(
                Value(value="grey", count=3, aliases=("gray",)),
                Value(value="black", count=2),
                Value(value="jet black", count=1, aliases=("jet",)),
                Value(value="teal"),
            ),
        ),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(
                Value(value="under 40", count=3, high=40),
                Value(value="40 to 60", count=2, low=40, high=60),
                Value(value="60 and over", count=1, low=60),
                Value(value="cheap"),
            ),
        ),
        Slot(name="size", attribute="size", values=(Value(value="S", count=1),)),
    )
)
COLORS = {"grey": 3, "black": 2, "jet black": 1}
PRICES = {"12": 1, "24.99": 2, "40": 2, "80": 1}


def values(ontology: Ontology, slot: str = "color") -> list[Value]:
    return list(ontology.slot(slot).values)


def named(ontology: Ontology, value: str, slot: str = "color") -> Value:
    found = ontology.slot(slot).named(value)
    assert found is not None
    return found


def test_a_renamed_value_keeps_its_place_its_products_and_its_old_name():
    after = rename_value(V1, "Colour", "gray", "charcoal")
    assert values(after)[0] == Value(value="charcoal", count=3, aliases=("grey", "gray"), catalogue=("grey",))
    assert (after.version, after.history[-1].model_dump()) == (
        2,
        {"version": 2, "op": "rename_value", "slot": "color", "value": "grey", "to": "charcoal"},
    )
    linked = after.link(after.slot("color"), "Grey")
    assert (linked.value, linked.catalogue_value, linked.in_catalogue) == ("charcoal", "grey", True)
    back = rename_value(after, "color", "charcoal", "grey")
    assert values(back)[0] == Value(value="grey", count=3, aliases=("charcoal", "gray"))


def test_a_renamed_slot_keys_to_the_attribute_it_did_and_is_found_by_its_old_name():
    after = rename_slot(V1, "color", "shade")
    assert after.slots[0] == V1.slots[0].model_copy(update={"name": "shade", "aliases": ("colour", "color")})
    back = rename_slot(after, "shade", "color")
    assert back.slots[0].aliases == ("colour", "shade")


def test_merged_values_have_the_products_and_spellings_of_all():
    after = merge_values(V1, "color", ["jet", "black"], "black")
    assert [value.value for value in values(after)] == ["grey", "black", "teal"]
    assert named(after, "jet") == Value(
        value="black", count=3, aliases=("jet black", "jet"), catalogue=("black", "jet black")
    )
    fresh = merge_values(V1, "color", ["black", "jet black"], "noir")
    assert named(fresh, "noir").catalogue == ("black", "jet black")
    assert [value.value for value in values(fresh)] == ["grey", "noir", "teal"]


def test_merged_ranges_are_one_range_and_must_touch():
    after = merge_values(V1, "price", ["under 40", "40 to 60", "cheap"], "under 60")
    assert named(after, "under 60", "price") == Value(
        value="under 60", count=5, aliases=("under 40", "40 to 60", "cheap"), high=60
    )
    assert after.link(after.slot("price"), "59.50").catalogue_value == "under 60"
    with pytest.raises(InputError, match="'under 40' and '60 and over' do not touch"):
        merge_values(V1, "price", ["under 40", "60 and over"], "any")


def test_slots_of_one_attribute_become_one_and_others_say_why_not():
    two = add_value(V1, "size", "M")
    extra = Slot(name="fit", attribute="size", values=(Value(value="slim"), Value(value="s", aliases=("small",))))
    both = Ontology(version=2, slots=(*two.slots, extra), history=two.history)
    after = merge_slots(both, ["fit", "size"], "size")
    assert [slot.name for slot in after.slots] == ["color", "price", "size"]
    size = after.slot("fit")
    assert (size.name, size.aliases) == ("size", ("fit",))
    assert [(value.value, value.aliases) for value in size.values] == [("S", ("small",)), ("M", ()), ("slim", ())]
    with pytest.raises(InputError, match="'color' keys to the product attribute 'color', 'size' to 'size'"):
        merge_slots(V1, ["color", "size"], "color")


def test_a_split_value_is_no_longer_offered_and_keeps_what_the_catalogue_spells_like_it():
    after = split_value(V1, "color", "grey", ["light grey", "dark grey"], COLORS)
    assert values(after)[:3] == [
        Value(value="grey", count=3, aliases=("gray",), split_into=("light grey", "dark grey")),
        Value(value="light grey"),
        Value(value="dark grey"),
    ]


def test_a_part_takes_the_products_that_are_spelled_like_it():
    merged = merge_values(V1, "color", ["black", "jet black"], "black")
    after = split_value(merged, "color", "black", ["black", "jet black"], COLORS)
    assert named(after, "black") == Value(value="black", count=2, aliases=("jet",))
    assert named(after, "jet black") == Value(value="jet black", count=1)
    assert after.link(after.slot("color"), "jet black").catalogue_value == "jet black"


def test_merging_all_parts_into_the_old_name_undoes_a_split():
    split = split_value(V1, "color", "grey", ["light grey", "dark grey"], COLORS)
    after = merge_values(split, "color", ["light grey", "dark grey"], "grey")
    assert named(after, "grey") == Value(value="grey", count=3, aliases=("gray", "light grey", "dark grey"))
    three = split_value(V1, "color", "grey", ["light grey", "dark grey", "teal"], COLORS)
    with pytest.raises(InputError, match="only all of its parts can be merged into it again"):
        merge_values(three, "color", ["light grey", "dark grey"], "grey")


def test_the_parts_of_a_range_fill_it_and_are_counted():
    after = split_value(V1, "price", "under 40", ["20 to 40", "under 20"], PRICES)
    assert [(value.value, value.low, value.high, value.count) for value in values(after, "price")[:3]] == [
        ("under 40", None, None, 0),
        ("under 20", None, 20, 1),
        ("20 to 40", 20, 40, 2),
    ]
    assert after.link(after.slot("price"), "24.99").catalogue_value == "20 to 40"
    back = merge_values(after, "price", ["under 20", "20 to 40"], "under 40")
    assert back.link(back.slot("price"), "24.99").catalogue_value == "under 40"
    assert named(back, "under 40", "price").count == 3


MIXED = Ontology(
    slots=(
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(
                Value(value="under 50 EUR", count=2, high=50, currency="EUR"),
                Value(value="50 EUR and over", count=1, low=50, currency="EUR"),
                Value(value="under 4000 INR", count=1, high=4000, currency="INR"),
                Value(value="4000 INR and over", count=1, low=4000, currency="INR"),
            ),
        ),
    )
)


def test_a_range_of_prices_is_split_within_its_currency():
    counts = {"20 EUR": 1, "40 EUR": 1, "60 EUR": 1, "20 INR": 1, "5000 INR": 1}
    after = split_value(MIXED, "price", "4000 INR and over", ["4,000 to 10,000 INR", "10000 INR and over"], counts)
    after = split_value(after, "price", "under 50 EUR", ["under 30 EUR", "30 to 50 EUR"], counts)
    found = {value.value: (value.low, value.high, value.currency, value.count) for value in values(after, "price")}
    assert found["4,000 to 10,000 INR"] == (4000, 10000, "INR", 1)
    assert found["30 to 50 EUR"] == (30, 50, "EUR", 1)
    assert found["under 30 EUR"] == (None, 30, "EUR", 1)
    assert found["under 4000 INR"][3] == 1


def test_ranges_of_two_currencies_are_not_merged():
    with pytest.raises(InputError, match="in different currencies"):
        merge_values(MIXED, "price", ["under 50 EUR", "under 4000 INR"], "low")
    after = rename_value(MIXED, "price", "under 4000 INR", "cheap in India")
    assert named(after, "cheap in India", "price").currency == "INR"


def test_added_values_and_aliases_are_understood():
    after = add_value(V1, "color", "petrol", ["peacock"])
    assert values(after)[-1] == Value(value="petrol", aliases=("peacock",))
    assert values(add_value(after, "color", "petrol", ["peacock", "duck"]))[-1].aliases == ("peacock", "duck")


Edit = Callable[[Ontology], Ontology]
DONE: Mapping[str, Edit] = {
    "rename slot": lambda o: rename_slot(o, "color", "shade"),
    "rename value": lambda o: rename_value(o, "color", "grey", "charcoal"),
    "merge": lambda o: merge_values(o, "color", ["black", "jet black"], "black"),
    "merge into a new name": lambda o: merge_values(o, "color", ["black", "jet black"], "noir"),
    "split": lambda o: split_value(o, "color", "grey", ["light", "dark"], COLORS),
    "split and stay": lambda o: split_value(o, "color", "grey", ["grey", "dark"], COLORS),
    "split a range": lambda o: split_value(o, "price", "under 40", ["under 20", "20 to 40"], PRICES),
    "add value": lambda o: add_value(o, "color", "petrol", ["peacock"]),
    "add slot": lambda o: add_slot(o, Slot(name="fit", attribute="fit")),
}


@pytest.mark.parametrize("name", DONE)
def test_a_change_made_twice_is_made_once(name: str):
    once = DONE[name](V1)
    assert once.version == 2
    assert DONE[name](once) is once


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda o: rename_slot(o, "colr", "x"), "unknown slot 'colr'; did you mean 'color'"),
        (lambda o: rename_slot(o, "color", "Price"), "'Price' names the slot 'price' already"),
        (lambda o: rename_slot(o, "color", "a=b"), "pattern"),
        (lambda o: rename_slot(o, "color", " "), "one line of text"),
        (lambda o: rename_slot(rename_slot(o, "color", "shade"), "size", "color"), "names the slot 'shade' already"),
        (lambda o: rename_value(o, "color", "graey", "x"), "no value 'graey'; did you mean 'color=grey'"),
        (lambda o: rename_value(o, "color", "grey", "JET"), "'JET' stands for 'color=jet black' already; merge them"),
        (lambda o: rename_value(o, "price", "24.99", "x"), "no value '24.99'"),
        (lambda o: rename_value(o, "price", "cheap", "25"), "a number is a value of itself"),
        (lambda o: rename_value(o, "color", "grey", "a\nb"), "one line of text"),
        (lambda o: merge_values(o, "color", ["grey", "black"], "teal"), "'teal' stands for 'color=teal' already"),
        (lambda o: merge_values(o, "price", [v.value for v in o.slot("price").values], "any"), "every number"),
        (lambda o: split_value(o, "color", "grey", ["dark"], COLORS), "needs two parts"),
        (lambda o: split_value(o, "color", "grey", ["dark", "jet"], COLORS), "another way to say 'color=jet black'"),
        (lambda o: split_value(o, "price", "under 40", ["under 20", "30 to 40"], PRICES), "do not fill it"),
        (lambda o: split_value(o, "price", "under 40", ["low", "lower"], PRICES), "is no range"),
        (lambda o: split_value(o, "price", "under 40", ["under 1.2.3", "20 to 40"], PRICES), "is no range"),
        (lambda o: rename_value(DONE["split"](o), "color", "grey", "x"), "was split into light and dark"),
        (lambda o: split_value(DONE["split"](o), "color", "black", ["grey", "x"], COLORS), "was split itself"),
        (lambda o: add_value(o, "color", "gray"), "another way to say 'color=grey' already"),
        (lambda o: add_value(o, "color", "petrol", ["jet"]), "'jet' stands for 'color=jet black'"),
        (lambda o: add_slot(o, Slot(name="Colour", attribute="fit")), "names the slot 'color' already"),
        (lambda o: add_slot(o, Slot(name="hue", attribute="color")), "is the slot 'color' already"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(edit: Edit, says: str):
    with pytest.raises(InputError, match=says) as problem:
        edit(V1)
    assert "\n" not in str(problem.value)


def product(number: int, **attributes: str) -> Product:
    return Product(str(number), f"p{number}", "", {name: (value,) for name, value in attributes.items()}, None, None)


PRODUCTS = (
    product(0, color="grey", price="12"),
    product(1, color="Grey", price="24.99"),
    product(2, color="grey", size="S"),
    product(3, color="black", price="40"),
    product(4, color="black"),
    product(5, color="jet black", price="80"),
)
MARKS = [
    [Mark(0, "want", "color", "gray"), Mark(0, "want", "price", "24.99")],
    [Mark(0, "dislike", "color", "grey"), Mark(0, "want", "size", "S")],
    [Mark(0, "want", "color", "jet"), Mark(0, "want", "color", "teal"), Mark(0, "want", "price", "cheap")],
    [Mark(0, "want", "price", "under 40"), Mark(0, "dislike", "color", "black")],
]


def states(ontology: Ontology) -> list[BeliefState]:
    migration = Migration(ontology)
    found = []
    for marks in MARKS:
        migrated = migration.annotation(Annotation("a", "d", "ann").with_marks(marks))
        state = accumulate([turn_update(migrated.marks)], ontology)[0].state
        assert state is not None
        found.append(state)
    return found


def rule_scores(ontology: Ontology, made_with: Ontology) -> np.ndarray:
    queries = [Query(f"d{row}", 1, "test", (), (0,), (1,)) for row in range(len(MARKS))]
    held = {(query.dialogue_id, 1): state for query, state in zip(queries, states(made_with), strict=True)}
    rule = StateRule(held, ontology)
    return rule.score(rule.encode_contexts(queries), rule.encode_products(PRODUCTS))


RENAMES: list[Edit] = [
    lambda o: rename_value(o, "color", "grey", "charcoal"),
    lambda o: rename_value(o, "color", "black", "noir"),
    lambda o: rename_slot(o, "color", "shade"),
    lambda o: rename_value(o, "price", "under 40", "low"),
    lambda o: rename_slot(o, "price", "cost"),
]


def renamed() -> Ontology:
    ontology = V1
    for edit in RENAMES:
        ontology = edit(ontology)
    return ontology


def test_renaming_changes_no_score_of_the_rule_over_gold_states():
    before = rule_scores(V1, V1)
    assert np.count_nonzero(before) > 6
    np.testing.assert_array_equal(rule_scores(renamed(), renamed()), before)
    # states that were not ingested again yet find their products, too
    np.testing.assert_array_equal(rule_scores(renamed(), V1), before)


def test_renaming_moves_no_column_of_the_grounded_model():
    old, new = SlotValues(V1), SlotValues(renamed())
    for one in PRODUCTS:
        np.testing.assert_array_equal(old.of_attributes(one.attributes), new.of_attributes(one.attributes))
    for was, now in zip(states(V1), states(renamed()), strict=True):
        for side, other in zip(old.of_state(was), new.of_state(now), strict=True):
            np.testing.assert_array_equal(side, other)
    for text in ("a grey one, not jet black", "charcoal or teal"):
        assert set(old.mentions(text)) <= set(new.mentions(text))


def test_states_say_what_the_catalogue_spells_whatever_values_are_called():
    spelled = [{(item.attribute, item.catalogue_value) for item in state} for state in states(renamed())]
    assert spelled == [
        {("color", "grey"), ("price", "low")},
        {("color", "grey"), ("size", "S")},
        {("color", "jet black"), ("color", None), ("price", None)},
        {("color", "black"), ("price", "low")},
    ]


def test_a_merged_value_is_worth_the_products_of_all_its_spellings():
    merged = merge_values(V1, "color", ["black", "jet black"], "noir")
    item = replace(merged.link(merged.slot("color"), "jet"), polarity="like")
    rule = StateRule({("d", 1): (item,)}, merged, weights="none")
    query = Query("d", 1, "test", (), (0,), (1,))
    scores = rule.score(rule.encode_contexts([query]), rule.encode_products(PRODUCTS))
    assert scores.tolist() == [[0, 0, 0, 1, 1, 1]]
