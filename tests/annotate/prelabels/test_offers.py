"""What is offered beside a pre-label, and what an annotator who knows the gold makes of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from annotate.annotations.annotation import turn_update
from annotate.exports.offers import CLEARED, with_taken_offers
from annotate.exports.results import read_result
from annotate.prelabels.offers import Offer, corrected_with_offers, offers_data, turn_offers, with_offers
from annotate.prelabels.prelabel_metrics import PrelabelFigures, measure_dialogue
from annotate.prelabels.prelabels import update_results
from schemas.accumulate import accumulate, difference
from schemas.belief import SlotValue, TurnUpdate
from schemas.corrections import corrected
from schemas.state_metrics import items_of
from tests.labelling_corpus import ONTOLOGY

RED = TurnUpdate(want={"color": ("red",)})
RED_CHEAP = TurnUpdate(want={"color": ("red",), "price": ("cheap",)})
IS_RED = (SlotValue("color", "red"),)
SINGLE = frozenset({"price"})


def texts(update: TurnUpdate, rises: dict[tuple[str, str], float], *, sure: float = 1.0) -> list[str]:
    state = tuple(SlotValue(s, v) for s, vs in update.want.items() for v in vs)
    found = turn_offers(update, state, {(s, v, "like"): rise for (s, v), rise in rises.items()}, SINGLE, sure)
    return [offer.text for offer in found]


def test_values_too_unsure_to_fill_in_are_offered_the_likeliest_first():
    assert texts(TurnUpdate(), {("price", "cheap"): 0.2, ("color", "red"): 0.3}) == ["color=red", "price=cheap"]
    assert texts(TurnUpdate(), {("price", "cheap"): 0.04, ("color", "red"): -0.3}) == []
    assert texts(RED, {("color", "red"): 0.9}) == []  # it is filled in


def test_a_slot_of_one_value_is_offered_another_one_and_other_slots_one_more():
    one = texts(TurnUpdate(want={"price": ("cheap",)}), {("price", "25-50"): 0.4, ("price", "50-100"): 0.2})
    assert one == ["price=25-50 instead of cheap", "price=50-100 instead of cheap"]
    assert texts(RED, {("color", "blue"): 0.4}) == ["also color=blue", "color=blue instead of red"]
    assert texts(TurnUpdate(), {("color", "blue"): 0.4, ("color", "black"): 0.2}) == ["color=blue, black", "color=blue"]


def test_doubtful_marks_can_be_cleared_and_no_more_is_offered_than_is_read():
    assert texts(RED_CHEAP, {}, sure=0.5) == [CLEARED]
    assert texts(RED_CHEAP, {}, sure=0.95) == []
    assert texts(RED, {}, sure=0.1) == []  # one mark is taken away with one click anyway
    many = {(slot, value): 0.3 for slot in ("color", "price") for value in ("a", "b", "c")}
    assert len(texts(RED_CHEAP, many, sure=0.5)) == 4


def test_one_click_does_for_a_removal_and_a_pick():
    blue = Offer("color=blue instead of red", frozenset({"color"}), {"color": ("blue",)})
    is_blue = (SlotValue("color", "blue"),)
    taken, rest = corrected_with_offers(RED, [blue], (), is_blue, ONTOLOGY)
    assert (taken, rest.edits) == ((blue,), ())
    assert corrected_with_offers(RED, [blue], (), IS_RED, ONTOLOGY)[0] == ()
    figures = PrelabelFigures()
    measure_dialogue(figures, [RED], [is_blue], ONTOLOGY, offered=("color=blue",), windows=1, offers=[[blue]])
    assert (figures.without.total, figures.by_hand.total, figures.corrections.total) == (2, 3, 2)
    # from nothing a pick and a submit; by hand a removal, a pick and a submit; else an offer and a submit
    assert (figures.without.strokes, figures.by_hand.strokes, figures.corrections.strokes) == (9, 10, 2)
    assert figures.corrections.of_slot == {"color": 1}


VALUES = {"color": ("red", "black", "blue"), "price": ("cheap", "25-50")}
sides = st.fixed_dictionaries({}, optional={s: st.lists(st.sampled_from(v), min_size=1, max_size=2, unique=True).map(tuple) for s, v in VALUES.items()})  # fmt: skip  # noqa: E501
states = sides.map(lambda side: tuple(SlotValue(slot, value) for slot, values in side.items() for value in values))
updates = st.builds(
    TurnUpdate, want=sides, drop=st.sets(st.sampled_from(sorted(VALUES))).map(frozenset), new_topic=st.booleans()
)
offers = st.builds(
    turn_offers,
    updates,
    states,
    st.dictionaries(
        st.sampled_from([(slot, value, "like") for slot, values in VALUES.items() for value in values]), st.floats(0, 1)
    ),
    st.sets(st.sampled_from(sorted(VALUES))),
    st.floats(0, 1),
)


@given(updates, offers, states, states)
def test_offers_never_cost_an_action_and_lead_where_corrections_do(update, offered, before, after):
    taken, rest = corrected_with_offers(update, offered, before, after, ONTOLOGY)
    assert len(taken) + len(rest.edits) <= len(corrected(update, before, after, ONTOLOGY).edits)
    reached = accumulate([difference((), before), rest.update], ONTOLOGY)[-1].state or ()
    assert items_of(reached) == items_of(after)


@given(updates, st.data())
def test_an_ingest_reads_offers_as_the_simulation_takes_them(update, data):
    every = data.draw(offers)
    taken = data.draw(st.lists(st.sampled_from(every), unique_by=lambda each: each.text)) if every else []
    filled_in = list(update_results(update, 0, "d#0", {f"{s}={v}" for s, vs in VALUES.items() for v in vs}))
    click = {"from_name": "offer_0", "type": "choices", "value": {"choices": [offer.text for offer in taken]}}
    annotation = {"result": [*filled_in, click], "prediction": {"model_version": "m", "result": filled_in}}
    task = {"user_turns": [{"turn": 0}], "offers": offers_data({0: every})}
    read = turn_update(read_result(with_taken_offers(annotation, task, ONTOLOGY), [0], ONTOLOGY).marks)
    expected = with_offers(update, taken)
    assert {slot: set(values) for slot, values in read.want.items()} == {
        slot: set(values) for slot, values in expected.want.items() if values
    }
    assert (read.drop, read.new_topic) == (expected.drop, expected.new_topic)
