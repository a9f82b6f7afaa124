from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.accumulate import accumulate, difference
from schemas.belief import BeliefState, TurnUpdate
from schemas.corrections import Edit, corrected, edited
from schemas.folding import fold
from schemas.ontology import Ontology, Slot, Value
from tests.annotate.belief_strategies import ONTOLOGY, states, values

COLOR, PRICE = ONTOLOGY.slot("color"), ONTOLOGY.slot("price")
RED, GREY = ONTOLOGY.link(COLOR, "red"), ONTOLOGY.link(COLOR, "grey")
NOT_GREY = ONTOLOGY.link(COLOR, "grey", "dislike")
THIRTY = ONTOLOGY.link(PRICE, "30")


@st.composite
def updates(draw: st.DrawFn) -> TurnUpdate:
    names = st.sampled_from([slot.name for slot in ONTOLOGY.slots])
    sides = st.dictionaries(names, st.lists(values, min_size=1, max_size=3, unique_by=fold).map(tuple), max_size=2)
    return TurnUpdate(draw(sides), draw(sides), draw(st.frozensets(names, max_size=2)), draw(st.booleans()))


def after(before: BeliefState, update: TurnUpdate) -> set[tuple[str, str, str]]:
    """What an ingest makes of the update."""
    state = accumulate([difference((), before), update], ONTOLOGY)[-1].state or ()
    return {(item.slot, item.polarity, fold(item.value)) for item in state}


def items(state: BeliefState) -> set[tuple[str, str, str]]:
    return {(item.slot, item.polarity, fold(item.value)) for item in state}


@given(updates(), states(), states())
@settings(max_examples=300)
def test_correcting_towards_the_gold_always_ends_in_the_gold(
    update: TurnUpdate, before: BeliefState, gold: BeliefState
):
    correction = corrected(update, before, gold, ONTOLOGY)
    assert after(before, correction.update) == items(gold)
    assert after(before, edited(update, correction.edits, ONTOLOGY)) == items(gold)
    assert corrected(correction.update, before, gold, ONTOLOGY).edits == ()


@given(updates(), states())
def test_after_a_gap_only_a_new_topic_leads_to_the_gold(update: TurnUpdate, gold: BeliefState):
    correction = corrected(update, None, gold, ONTOLOGY)
    assert correction.update.new_topic
    assert after((RED,), correction.update) == items(gold)


@given(states(), states())
def test_nobody_needs_more_marks_than_the_difference_of_the_states(before: BeliefState, gold: BeliefState):
    plain = difference(before, gold)
    marks = sum(map(len, (*plain.want.values(), *plain.dislike.values()))) + len(plain.drop) + plain.new_topic
    assert len(corrected(TurnUpdate(), before, gold, ONTOLOGY).edits) <= marks


SMALL = Ontology(slots=(Slot(name="c", attribute="c", values=(Value(value="x"), Value(value="y"))),))


def every_update() -> list[TurnUpdate]:
    """All updates over one slot with two values, none of them both wanted and disliked."""
    found = []
    for x, y, drop, new_topic in product("-+!", "-+!", (False, True), (False, True)):
        sides = {mark: tuple(v for v, said in (("x", x), ("y", y)) if said == mark) for mark in "+!"}
        want, dislike = ({"c": sides[mark]} if sides[mark] else {} for mark in "+!")
        found.append(TurnUpdate(want, dislike, frozenset({"c"}) if drop else frozenset(), new_topic))
    return found


def distance(a: TurnUpdate, b: TurnUpdate) -> int:
    return len({*marks(a)} ^ {*marks(b)})


def marks(update: TurnUpdate) -> list[tuple[str, str]]:
    found = [("want", value) for value in update.want.get("c", ())]
    found += [("dislike", value) for value in update.dislike.get("c", ())]
    return found + [("drop", "c")] * bool(update.drop) + [("new_topic", "")] * update.new_topic


def test_no_other_update_with_the_same_effect_is_nearer():
    every = every_update()
    reached = {
        id(update): {before: accumulate([start, update], SMALL)[-1].state for before, start in enumerate(every)}
        for update in every
    }
    for before, start in enumerate(every):
        state = accumulate([start], SMALL)[-1].state
        for goal in every:
            gold = reached[id(goal)][before]
            possible = [update for update in every if reached[id(update)][before] == gold]
            for given_update in every:
                edits = corrected(given_update, state, gold, SMALL).edits
                assert len(edits) == min(distance(given_update, update) for update in possible)


@pytest.mark.parametrize(
    ("update", "before", "gold", "edits"),
    [
        # from nothing
        (TurnUpdate(), (), (RED,), [Edit("want", "color", "red")]),
        # right already; another spelling of it is right, too
        (TurnUpdate(want={"color": ("red",)}), (), (RED,), []),
        (TurnUpdate(want={"color": ("crimson",)}), (), (RED,), []),
        # wanted again: nothing to take away
        (TurnUpdate(want={"color": ("red",)}), (RED,), (RED,), []),
        # one wrong value, one missing
        (
            TurnUpdate(want={"color": ("grey",)}),
            (),
            (RED,),
            [Edit("want", "color", "grey", removes=True), Edit("want", "color", "red")],
        ),
        # the wrong side
        (
            TurnUpdate(want={"color": ("grey",)}),
            (),
            (NOT_GREY,),
            [Edit("want", "color", "grey", removes=True), Edit("dislike", "color", "grey")],
        ),
        # three slots given up: one flag instead of dropping two and wanting one anew
        (TurnUpdate(new_topic=True), (RED, THIRTY), (), []),
        (TurnUpdate(), (RED,), (), [Edit("drop", "color")]),
        # a turn nobody can label
        (TurnUpdate(want={"color": ("grey",)}), (), None, [Edit("unsure")]),
    ],
)
def test_corrections_worked_by_hand(update, before, gold, edits):
    assert list(corrected(update, before, gold, ONTOLOGY).edits) == edits


def test_what_is_overseen_stays_as_it_was():
    update = TurnUpdate(want={"color": ("grey",)})
    edits = corrected(update, (), (RED, THIRTY), ONTOLOGY).edits
    assert [edit.removes for edit in edits] == [True, False, False]
    assert edited(update, edits[:1], ONTOLOGY) == TurnUpdate()
    assert edited(update, edits[1:], ONTOLOGY).want == {"color": ("grey", "red"), "price": ("30",)}
