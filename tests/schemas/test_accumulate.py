from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.accumulate import accumulate, difference, one_after_the_other
from schemas.belief import TurnUpdate
from schemas.errors import OntologyError
from schemas.folding import fold
from tests.annotate.belief_strategies import ONTOLOGY, states, values
from tests.label_exports import marked

SLOTS = [slot.name for slot in ONTOLOGY.slots]
NONE = TurnUpdate()
UNREADABLE = TurnUpdate(readable=False)


def want(**slots: str) -> TurnUpdate:
    return TurnUpdate(want={slot: (value,) for slot, value in slots.items()})


def said(*updates: TurnUpdate | None) -> list[set[str] | None]:
    return [marked(known.state) for known in accumulate(updates, ONTOLOGY)]


def known(*updates: TurnUpdate | None) -> list[set[str]]:
    return [set(known.known_slots) for known in accumulate(updates, ONTOLOGY)]


def test_wants_pile_up_over_slots_and_replace_within_one():
    assert said(want(color="red"), want(price="30"), want(color="blue"), NONE) == [
        {"color=red"},
        {"color=red", "price=30"},
        {"color=blue", "price=30"},
        {"color=blue", "price=30"},
    ]


def test_dislikes_pile_up_within_a_slot_and_outlive_new_wants():
    first, second = TurnUpdate(dislike={"color": ("red",)}), TurnUpdate(dislike={"color": ("black",)})
    assert said(first, second, want(color="blue"))[-1] == {"!color=red", "!color=black", "color=blue"}


def test_wanting_a_value_takes_it_off_the_dislikes_and_the_other_way_round():
    avoid = TurnUpdate(dislike={"color": ("Crimson",)})
    assert said(avoid, want(color="red"), avoid) == [{"!color=red"}, {"color=red"}, {"!color=red"}]


def test_within_a_turn_the_topic_starts_before_drops_before_wants_before_dislikes():
    everything = TurnUpdate(
        want={"price": ("30",), "color": ("red", "blue")},
        dislike={"color": ("red",)},
        drop=frozenset({"price"}),
        new_topic=True,
    )
    assert said(want(sleeveLength="long", price="10"), everything)[-1] == {"price=30", "color=blue", "!color=red"}


def test_a_drop_clears_wants_and_dislikes_of_one_slot():
    both = TurnUpdate(want={"color": ("blue",), "price": ("30",)}, dislike={"color": ("red",)})
    assert said(both, TurnUpdate(drop=frozenset({"colour"})))[-1] == {"price=30"}


def test_a_turn_that_asks_for_nothing_is_empty_and_an_unlabelled_one_is_none():
    assert said(NONE, None) == [set(), None]


@pytest.mark.parametrize("gap", [None, UNREADABLE])
def test_after_a_gap_only_what_is_said_again_is_known(gap: TurnUpdate | None):
    updates = [
        want(color="red", price="30"),
        gap,
        NONE,
        want(color="blue"),
        TurnUpdate(drop=frozenset({"price"})),
        TurnUpdate(new_topic=True),
    ]
    assert said(*updates) == [{"color=red", "price=30"}, None, None, {"color=blue"}, {"color=blue"}, set()]
    assert known(*updates) == [set(SLOTS), set(), set(), {"color"}, {"color", "price"}, set(SLOTS)]


def test_a_dislike_after_a_gap_shows_once_its_slot_is_known():
    avoid = TurnUpdate(dislike={"color": ("black",)})
    assert said(None, avoid, want(color="red")) == [None, None, {"color=red", "!color=black"}]


def test_values_are_keyed_to_the_catalogue():
    states = accumulate([TurnUpdate(want={"Colour": ("Crimson",), "price": ("$30",)})], ONTOLOGY)
    found = {item.slot: item for item in states[0].state or ()}
    assert (found["color"].value, found["color"].catalogue_value, found["color"].attribute) == ("red", "red", "color")
    assert (found["price"].value, found["price"].catalogue_value) == ("$30", "25-50")


@pytest.mark.parametrize("side", ["want", "dislike", "drop"])
def test_an_unknown_slot_is_refused_with_its_turn_and_the_nearest_name(side: str):
    said = frozenset({"colr"}) if side == "drop" else {"colr": ("red",)}
    with pytest.raises(OntologyError, match=r"unknown slot 'colr' \(turn 4\); did you mean 'color'"):
        accumulate([TurnUpdate(**{side: said})], ONTOLOGY, where=["turn 4"])


updates = st.builds(
    TurnUpdate,
    want=st.dictionaries(st.sampled_from(SLOTS), st.lists(values, min_size=1, max_size=3).map(tuple), max_size=2),
    dislike=st.dictionaries(st.sampled_from(SLOTS), st.lists(values, min_size=1, max_size=3).map(tuple), max_size=2),
    drop=st.frozensets(st.sampled_from(SLOTS), max_size=2),
    new_topic=st.booleans(),
    readable=st.sampled_from([True, True, True, False]),
)


def by_hand(updates: list[TurnUpdate | None]) -> list[tuple[dict[str, set[str]], dict[str, set[str]], set[str]] | None]:
    """The rules again, as two sets of folded values a slot."""
    likes: dict[str, set[str]] = {}
    avoids: dict[str, set[str]] = {}
    sure = set(SLOTS)
    told: list[tuple[dict[str, set[str]], dict[str, set[str]], set[str]] | None] = []

    def spelled(slot: str, texts: tuple[str, ...]) -> set[str]:
        return {fold(ONTOLOGY.link(ONTOLOGY.slot(slot), text).value) for text in texts}

    for update in updates:
        if update is None or not update.readable:
            likes, avoids, sure = {}, {}, set()
            told.append(None)
            continue
        if update.new_topic:
            likes, avoids, sure = {}, {}, set(SLOTS)
        for slot in update.drop:
            likes.pop(slot, None)
            avoids.pop(slot, None)
            sure.add(slot)
        for slot, texts in update.want.items():
            likes[slot] = spelled(slot, texts)
            avoids[slot] = avoids.get(slot, set()) - likes[slot]
            sure.add(slot)
        for slot, texts in update.dislike.items():
            avoids[slot] = avoids.get(slot, set()) | spelled(slot, texts)
            likes[slot] = likes.get(slot, set()) - avoids[slot]
        clean = [{slot: set(held[slot]) for slot in sorted(sure) if held.get(slot)} for held in (likes, avoids)]
        told.append((clean[0], clean[1], set(sure)) if sure else None)
    return told


@given(st.lists(st.one_of(updates, st.none()), max_size=6))
def test_states_follow_the_rules_whatever_is_marked(updates: list[TurnUpdate | None]):
    for found, expected in zip(accumulate(updates, ONTOLOGY), by_hand(updates), strict=True):
        if expected is None:
            assert found.state is None
            assert found.known_slots == frozenset()
            continue
        likes: dict[str, set[str]] = {}
        avoids: dict[str, set[str]] = {}
        assert found.state is not None
        for item in found.state:
            (likes if item.polarity == "like" else avoids).setdefault(item.slot, set()).add(fold(item.value))
        assert (likes, avoids, set(found.known_slots)) == expected


@given(st.lists(st.one_of(updates, st.none()), max_size=6))
def test_a_state_is_sorted_and_holds_a_value_once(updates: list[TurnUpdate | None]):
    for found in accumulate(updates, ONTOLOGY):
        items = found.state or ()
        assert list(items) == sorted(items, key=lambda item: (item.slot, item.polarity == "dislike", item.value))
        assert len({(item.slot, fold(item.value)) for item in items}) == len(items)


@given(st.lists(states(), min_size=1, max_size=6))
def test_differences_of_states_accumulate_to_the_states(sequence):
    before = ()
    found = []
    for state in sequence:
        found.append(difference(before, state))
        before = state
    assert [known.state for known in accumulate(found, ONTOLOGY)] == sequence


@given(states(), states())
def test_after_a_gap_the_difference_says_everything_again(before, after):
    updates = [difference((), before), None, difference(None, after)]
    last = accumulate(updates, ONTOLOGY)[-1]
    assert last.state == after
    assert last.known_slots == set(SLOTS)


@given(states())
def test_nothing_changed_is_an_empty_update(state):
    assert difference(state, state) == TurnUpdate()


def test_giving_up_one_slot_is_a_drop_and_all_of_several_a_new_topic():
    one = accumulate([want(color="red")], ONTOLOGY)[0].state
    two = accumulate([want(color="red", price="30")], ONTOLOGY)[0].state
    assert one is not None
    assert two is not None
    assert difference(one, ()) == TurnUpdate(drop=frozenset({"color"}))
    assert difference(two, ()) == TurnUpdate(new_topic=True)
    assert difference(two, one) == TurnUpdate(drop=frozenset({"price"}))


_SPELLED = {"color": ("red", "polka-dot, blue", "grey"), "price": ("cheap", "25-50"), "sleeveLength": ("long", "3/4")}


@st.composite
def updates(draw: st.DrawFn) -> TurnUpdate:
    """Any update, with values as the ontology spells them."""

    def side() -> dict[str, tuple[str, ...]]:
        chosen = {slot: st.lists(st.sampled_from(known), min_size=1, unique=True) for slot, known in _SPELLED.items()}
        return {slot: tuple(draw(chosen[slot])) for slot in draw(st.sets(st.sampled_from(SLOTS)))}

    slots = st.frozensets(st.sampled_from(SLOTS))
    return TurnUpdate(side(), side(), draw(slots), draw(st.booleans()), unknown=draw(slots))


@given(st.lists(updates(), max_size=3), updates(), updates())
def test_two_updates_as_one_leave_what_they_leave_one_after_the_other(
    earlier: list[TurnUpdate], first: TurnUpdate, then: TurnUpdate
):
    before = accumulate(earlier, ONTOLOGY)[-1].state if earlier else ()
    for_a_moment = {(slot, v) for slot in first.want if slot in then.want for v in first.want[slot]}
    assume(not any((item.slot, item.value) in for_a_moment for item in before or () if item.polarity == "dislike"))
    together = accumulate([*earlier, one_after_the_other(first, then)], ONTOLOGY)[-1]
    assert together == accumulate([*earlier, first, then], ONTOLOGY)[-1]


def test_a_value_wanted_for_a_moment_only_stays_disliked_if_it_was():
    as_one = one_after_the_other(want(color="red"), want(color="grey"))
    assert said(TurnUpdate(dislike={"color": ("red",)}), as_one)[-1] == {"color=grey", "!color=red"}


def test_a_want_taken_back_at_once_still_replaces_what_was_wanted_before():
    as_one = one_after_the_other(want(color="red"), TurnUpdate(dislike={"color": ("red",)}))
    assert said(want(color="grey"), as_one)[-1] == {"!color=red"}
