from __future__ import annotations

import math

import numpy as np
import pytest

from schemas.belief import SlotValue
from schemas.ontology import Ontology, Slot, Value
from semantic_model.data.records import Product, Query
from semantic_model.evaluation.evaluation import evaluate_ranker
from semantic_model.models.state_rule import StateRule

ONTOLOGY = Ontology(
    slots=(
        Slot(
            name="sleeveLength", attribute="sleeve_length", values=(Value(value="half", aliases=("short",), count=1),)
        ),
        Slot(name="price", attribute="price", kind="numeric", values=(Value(value="under 40", high=40.0, count=2),)),
    )
)


def product(name: str, **attributes: str) -> Product:
    return Product(name, name, name, {key: (value,) for key, value in attributes.items()}, None, None)


PRODUCTS = (
    product("a", color="red", sleeve_length="short", price="39.99"),
    product("b", color="Red", sleeve_length="long", price="40"),
    product("c", color="blue", sleeve_length="half", price="12"),
    product("d", color="blue"),
)


def scores(*state: SlotValue, weights="none", candidates=None) -> list[float]:
    rule = StateRule({("d1", 3): state}, ONTOLOGY, weights)
    contexts = rule.encode_contexts([Query("d1", 3, "valid", (), (0,), ())])
    return rule.score(contexts, rule.encode_products(PRODUCTS), candidates)[0].tolist()


def liked(slot: str, value: str, **more: object) -> SlotValue:
    return SlotValue(slot, value, **more)


def test_likes_add_and_dislikes_subtract():
    red, not_long = liked("color", "red"), liked("sleeve_length", "long", polarity="dislike")
    assert scores(red, not_long) == [1, 0, 0, 0]


def test_values_are_matched_by_the_slots_attribute_and_any_spelling_of_the_ontology():
    short = liked("sleeveLength", "half", attribute="sleeve_length", catalogue_value="half")
    assert scores(short) == [1, 0, 1, 0]


def test_a_state_without_attributes_is_matched_by_the_ontologys():
    assert scores(liked("sleeveLength", "half")) == [1, 0, 1, 0]
    assert scores(liked("price", "under 40")) == [1, 0, 1, 0]


def test_a_number_matches_the_range_it_lies_in():
    cheap = liked("price", "35", attribute="price", catalogue_value="under 40")
    assert scores(cheap) == [1, 0, 1, 0]


def test_rarer_values_weigh_more_with_idf():
    state = liked("color", "blue"), liked("sleeve_length", "long")
    assert scores(*state, weights="idf") == pytest.approx([0, math.log(4), math.log(2), math.log(2)])


def test_what_no_product_has_and_what_is_unknown_count_for_nothing():
    assert scores(liked("color", "green"), liked("fabric", "silk")) == [0, 0, 0, 0]


def test_candidates_are_picked_and_padding_is_last():
    assert scores(liked("color", "red"), candidates=np.array([[2, 1, -1]])) == [0, 1, -math.inf]


def test_a_query_without_a_state_is_all_ties(world):
    rule = StateRule({}, Ontology())
    found = evaluate_ranker(rule, world.corpus, "valid", "all")
    # one positive among twelve tied products: it is among the first five in 5 of 12 orders
    assert found.means["recall@5"] == pytest.approx(5 / 12)


def test_told_the_states_it_finds_what_was_asked_for(world):
    states = {
        (query.dialogue_id, query.turn): world.states[query.dialogue_id] for query in world.corpus.queries("valid")
    }
    assert evaluate_ranker(StateRule(states, Ontology()), world.corpus, "valid", "all").means["recall@5"] == 1.0
