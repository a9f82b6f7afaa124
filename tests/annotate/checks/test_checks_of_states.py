from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate.annotations.annotation import Mark
from annotate.checks.catalogue import CatalogueIndex, Wish
from annotate.checks.states import declines
from schemas.folding import fold
from schemas.ontology import Ontology, Slot, Value
from tests.checked_labels import SHOP, annotation, findings, shop, told, wants

# --- states no product satisfies


def test_a_state_that_no_product_satisfies_names_the_wants_that_exclude_each_other(tmp_path: Path):
    first = [*wants(0, "type", "dress"), *wants(0, "price", "30"), *wants(0, "size", "S")]
    marks = [*first, *wants(2, "color", "red"), Mark(4, "none")]
    (found,) = findings(tmp_path, annotation(*marks))
    assert (found.code, found.turn, found.slot) == ("unavailable", 2, "price")
    assert found.detail == "no product is color=red (turn 2) and price=25 and over (turn 0) and type=dress (turn 0)"


def test_a_product_that_says_nothing_of_an_attribute_may_satisfy_it(tmp_path: Path):
    # the plain shirt has no colour
    assert told(findings(tmp_path, annotation(*wants(0, "type", "shirt"), *wants(0, "color", "red")), says=["x"])) == []


def test_several_wanted_values_are_alternatives(tmp_path: Path):
    marks = [*wants(0, "type", "dress"), *wants(0, "color", "light blue", "black")]
    assert told(findings(tmp_path, annotation(*marks), says=["x"])) == []
    marks = [*wants(0, "type", "dress"), *wants(0, "color", "light blue")]
    assert told(findings(tmp_path, annotation(*marks), says=["x"])) == [("unavailable", 0, "color")]


def test_a_product_with_a_value_beside_the_one_to_be_avoided_is_not_excluded(tmp_path: Path):
    dress, cheap = wants(0, "type", "dress"), wants(0, "price", "under 25")
    avoided = [Mark(0, "dislike", "color", "red"), Mark(0, "dislike", "color", "light blue")]
    assert told(findings(tmp_path, annotation(*dress, *cheap, *avoided), says=["x"])) == []  # the red-black dress
    avoided.append(Mark(0, "dislike", "color", "black"))
    assert told(findings(tmp_path, annotation(*dress, *avoided), says=["x"])) == [("unavailable", 0, "color")]


def test_slots_with_the_same_values_are_one_question(tmp_path: Path):
    # the black dress is shown in S, and to be had in M
    marks = [*wants(0, "type", "dress"), *wants(0, "price", "30"), *wants(0, "size", "M")]
    assert told(findings(tmp_path, annotation(*marks), says=["x"])) == []


def test_words_without_a_product_do_not_make_a_state_unsatisfiable(tmp_path: Path):
    found = told(findings(tmp_path, annotation(*wants(0, "price", "cheap"), *wants(0, "type", "shirt")), says=["x"]))
    assert found == [("without_product", 0, "price", "cheap")]


def test_the_same_conflict_is_said_once_where_it_begins(tmp_path: Path):
    marks = [*wants(0, "type", "dress"), *wants(0, "color", "light blue"), *wants(2, "size", "S"), Mark(4, "none")]
    assert told(findings(tmp_path, annotation(*marks))) == [("unavailable", 0, "color")]


def test_products_recommended_all_the_same_make_it_a_warning_with_the_older_want_in_doubt(tmp_path: Path):
    marks = [*wants(0, "color", "light blue"), *wants(2, "type", "dress"), Mark(4, "none")]
    found = findings(tmp_path, annotation(*marks), recommended={3: ["red dress"]})
    assert told(found) == [
        ("outdated_want", 2, "color", "light blue", "drop=color"),
        ("unsatisfiable_state", 2, "color", None, "drop=color"),
    ]
    assert found[1].detail == (
        "no product is color=light blue (turn 0) and type=dress (turn 2), yet turn 3 recommends red dress"
    )


# --- recommendations against the state


def test_a_recommended_product_without_the_wanted_value_contradicts_the_turn(tmp_path: Path):
    (found,) = findings(tmp_path, annotation(*wants(0, "color", "black")), says=["x"], recommended={1: ["red dress"]})
    assert (found.code, found.turn, found.slot, found.value) == ("contradicts_recommendation", 0, "color", "black")
    assert found.detail == "color=black is wanted since turn 0, turn 1 recommends: red dress is red"


def test_a_recommended_product_with_a_disliked_value_is_told_as_that(tmp_path: Path):
    marks = [Mark(0, "dislike", "color", "red")]
    (found,) = findings(tmp_path, annotation(*marks), says=["x"], recommended={1: ["red dress"]})
    assert found.detail == "color not red is to be avoided since turn 0, turn 1 recommends: red dress is red"


@pytest.mark.parametrize(
    ("products", "why"),
    [
        (["red dress"], "it fits"),
        (["black dress", "red dress"], "one of them fits"),
        (["plain shirt"], "it says nothing of its colour"),
        (["gone"], "it is not in the catalogue"),
        ([], "nothing is recommended"),
    ],
)
def test_no_contradiction_where(tmp_path: Path, products: list[str], why: str):
    del why
    found = findings(tmp_path, annotation(*wants(0, "color", "red")), says=["x"], recommended={1: products})
    assert told(found) == []


def test_an_offer_of_something_else_contradicts_nothing(tmp_path: Path):
    for reply in ("I have no black one, but this?", "Sorry, this is all.", "I don't have any. How about this?"):
        found = findings(
            tmp_path,
            annotation(*wants(0, "color", "black")),
            says=["x"],
            replies={1: reply},
            recommended={1: ["red dress"]},
        )
        assert told(found) == []
    assert not declines("How about this red one?")


def test_products_shown_after_a_turn_that_asks_for_nothing_contradict_nothing(tmp_path: Path):
    label = annotation(*wants(0, "color", "black"), Mark(2, "none"))
    assert told(findings(tmp_path, label, says=["x", "y"], recommended={3: ["red dress"]})) == []


def test_a_recommendation_counts_for_the_turn_right_before_it_only(tmp_path: Path):
    label = annotation(*wants(0, "color", "black"), *wants(2, "color", "red"))
    assert told(findings(tmp_path, label, says=["x", "y"], recommended={3: ["red dress"]})) == []


def test_an_earlier_want_that_the_answer_to_a_later_one_leaves_out_is_outdated_and_said_once(tmp_path: Path):
    marks = [*wants(0, "color", "black"), *wants(2, "price", "20"), *wants(4, "type", "dress")]
    found = findings(tmp_path, annotation(*marks), recommended={3: ["red dress"], 5: ["red dress"]})
    assert told(found) == [("outdated_want", 2, "color", "black", "drop=color")]
    assert found[0].detail == "color=black is wanted since turn 0, turn 3 recommends: red dress is red"


def test_a_want_that_is_said_again_is_of_that_turn(tmp_path: Path):
    marks = [*wants(0, "color", "black"), *wants(2, "color", "black")]
    found = findings(tmp_path, annotation(*marks), says=["x", "y"], recommended={3: ["red dress"]})
    assert told(found) == [("contradicts_recommendation", 2, "color", "black")]


# --- against plain loops


NAMES = {"k": ("a", "b", "c"), "n": ("low", "high"), "s": ("x", "y"), "t": ("x", "y")}
LOOSE = Ontology(
    slots=(
        Slot(name="k", attribute="K", values=tuple(Value(value=value, count=1) for value in NAMES["k"])),
        Slot(
            name="n",
            attribute="N",
            kind="numeric",
            values=(Value(value="low", count=1, high=10), Value(value="high", count=1, low=10)),
        ),
        Slot(name="s", attribute="S", values=tuple(Value(value=value, count=1) for value in NAMES["s"])),
        Slot(name="t", attribute="T", values=tuple(Value(value=value, count=1) for value in NAMES["t"])),
    )
)
KIN = {"k": "k", "n": "n", "s": "st", "t": "st"}

attributes = st.fixed_dictionaries(
    {},
    optional={
        "K": st.lists(st.sampled_from(["a", "B", "c", "other"]), min_size=1, max_size=2),
        "N": st.lists(st.sampled_from(["3", "9.99", "10", "25"]), min_size=1, max_size=2),
        "S": st.lists(st.sampled_from("xy"), min_size=1, max_size=2),
        "T": st.lists(st.sampled_from("xy"), min_size=1, max_size=2),
    },
)
catalogues = st.lists(attributes, max_size=5)


@st.composite
def marks(draw: st.DrawFn) -> list[Mark]:
    found: list[Mark] = []
    for turn in (0, 2, 4):
        ops = st.sampled_from(["want", "want", "dislike", "drop"])
        said = draw(st.lists(st.tuples(ops, st.sampled_from(sorted(NAMES))), max_size=3))
        for op, slot in said:
            value = draw(st.sampled_from(NAMES[slot])) if op != "drop" else None
            found.append(Mark(turn, op, slot, value))
        if draw(st.booleans()) and draw(st.booleans()):
            found.append(Mark(turn, "new_topic"))
        if not any(mark.turn == turn for mark in found):
            found.append(Mark(turn, "none"))
    both = {(m.turn, m.slot, m.value) for m in found if m.op == "want"}
    return [m for m in found if m.op != "dislike" or (m.turn, m.slot, m.value) not in both]


def values_of(product: Mapping[str, Sequence[str]], slot: str) -> set[str]:
    """What a product has in a slot and its kin, read off value by value."""
    found = set()
    for name in KIN[slot]:
        for text in product.get(name.upper(), ()):
            found.add(("low" if float(text) < 10 else "high") if name == "n" else fold(text))
    return found


def violates(product: Mapping[str, Sequence[str]], slot: str, wanted: set[str], avoided: set[str]) -> bool:
    has = values_of(product, slot)
    if not has:
        return False
    return bool(wanted and not has & wanted) or bool(has & avoided and not has - avoided)


def sides(state: Sequence[Mapping[str, Any]]) -> dict[str, tuple[set[str], set[str]]]:
    found: dict[str, tuple[set[str], set[str]]] = {}
    for item in state:
        found.setdefault(item["slot"], (set(), set()))[item["polarity"] == "dislike"].add(item["value"])
    return found


def states_of(said: Sequence[Mark]) -> Iterator[tuple[int, dict[str, tuple[set[str], set[str]]], dict[str, int], bool]]:
    """Turn, what holds slot by slot, the turn that said it last, and whether the turn asks for anything."""
    held: dict[str, tuple[set[str], set[str]]] = {}
    last: dict[tuple[str, str], int] = {}
    for turn in (0, 2, 4):
        now = [mark for mark in said if mark.turn == turn]
        if any(mark.op == "new_topic" for mark in now):
            held, last = {}, {}
        for mark in now:
            if mark.op == "drop":
                held.pop(mark.slot, None)
                last = {key: at for key, at in last.items() if key[0] != mark.slot}
        for slot in {mark.slot for mark in now if mark.op == "want"}:
            values = {mark.value for mark in now if mark.op == "want" and mark.slot == slot}
            avoided = held.get(slot, (set(), set()))[1] - values
            held[slot] = values, avoided
            last = {key: at for key, at in last.items() if key[0] != slot or key[1] in avoided}
            last |= {(slot, value): turn for value in values}
        for mark in now:
            if mark.op == "dislike":
                wanted, avoided = held.get(mark.slot, (set(), set()))
                if mark.value not in avoided:
                    last[mark.slot, mark.value] = turn
                held[mark.slot] = wanted - {mark.value}, avoided | {mark.value}
        since = {slot: max(at for key, at in last.items() if key[0] == slot) for slot in held if any(held[slot])}
        asks = any(mark.op in ("want", "dislike") for mark in now)
        yield turn, {slot: held[slot] for slot in since}, since, asks


@given(catalogues, marks(), st.dictionaries(st.sampled_from([1, 3, 5]), st.lists(st.integers(0, 5), max_size=3)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_found_is_what_plain_loops_find(
    tmp_path: Path, products: list[dict[str, list[str]]], said: list[Mark], shown: dict[int, list[int]]
):
    catalogue = CatalogueIndex(LOOSE)
    for row, product in enumerate(products):
        catalogue.add(str(row), product)
    recommended = {at: [str(row) for row in rows] for at, rows in shown.items() if rows}
    label = annotation(*said)
    found = findings(tmp_path, label, recommended=recommended, ontology=LOOSE, catalogue=catalogue)
    expected: set[tuple[str, int]] = set()
    violated: set[tuple[Any, ...]] = set()
    first: set[tuple[str, int, str]] = set()
    for turn, holds, since, asks in states_of(said):
        answer = recommended.get(turn + 1) if asks else None
        if holds and not any(not any(violates(p, slot, *both) for slot, both in holds.items()) for p in products):
            expected.add(("unavailable" if answer is None else "unsatisfiable_state", turn))
        for slot, (wanted, avoided) in holds.items():
            speaking = [int(p) for p in answer or () if int(p) < len(products) and values_of(products[int(p)], slot)]
            if speaking and all(violates(products[p], slot, wanted, avoided) for p in speaking):
                code = "contradicts_recommendation" if since[slot] == turn else "outdated_want"
                key = (code, slot, frozenset(wanted), frozenset(avoided), since[slot])
                if key not in violated:
                    violated.add(key)
                    first.add((code, turn, slot))
    about = ("contradicts_recommendation", "outdated_want")
    assert {(f.code, f.turn, f.slot) for f in found if f.code in about} == first
    unsatisfied = {(f.code, f.turn) for f in found if f.code in ("unavailable", "unsatisfiable_state")}
    assert unsatisfied <= expected  # one conflict is said once, so not at every turn at which it holds
    assert bool(unsatisfied) == bool(expected)
    assert min((turn for _, turn in unsatisfied), default=None) == min((turn for _, turn in expected), default=None)


@given(
    catalogues, st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.integers(0, 3), st.integers(0, 3)), max_size=4)
)
@settings(max_examples=150, deadline=None)
def test_a_conflict_is_minimal(products: list[dict[str, list[str]]], picked: list[tuple[str, int, int]]):
    catalogue = CatalogueIndex(LOOSE)
    for row, product in enumerate(products):
        catalogue.add(str(row), product)
    wishes = {}
    for slot, want, avoid in picked:
        wanted, avoided = NAMES[slot][want : want + 1], NAMES[slot][avoid : avoid + 1]
        if (wanted or avoided) and wanted != avoided:
            wishes[slot] = Wish(slot, wanted, avoided)
    state = tuple(wishes[slot] for slot in sorted(wishes))
    one_by_one = any(not any(violates(p, w.slot, set(w.wanted), set(w.avoided)) for w in state) for p in products)
    assert catalogue.satisfiable(state) == (one_by_one or not state)
    if not catalogue.satisfiable(state):
        together = catalogue.conflict(state, {})
        assert together
        assert not catalogue.satisfiable(together)
        assert all(catalogue.satisfiable(tuple(w for w in together if w != left_out)) for left_out in together)


def test_what_a_product_has():
    index = shop()
    assert index.values("blue shirt", "color") == {"light blue"}
    assert index.values("blue shirt", "price") == {"under 25"}
    assert index.values("black dress", "size") == {"m", "s"}
    assert index.spelled("size", "m") == "M"
    assert index.values("plain shirt", "color") == set()
    assert index.values("gone", "color") == set()
    assert index.product_of("blue shirt.jpg") == "blue shirt"
    assert index.product_of("gone.jpg") is None
    assert index.size == 5
    assert SHOP.version == 3
