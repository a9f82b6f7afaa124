from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.belief import BeliefState, SlotValue
from schemas.state_metrics import Hits, StateFigures, items_of

VALUES = st.builds(
    SlotValue, st.sampled_from(["color", "type"]), st.sampled_from("abc"), st.sampled_from(["like", "dislike"])
)
STATES = st.lists(VALUES, max_size=4, unique=True).map(lambda items: tuple(sorted(items)))


def test_figures_worked_by_hand():
    figures = StateFigures()
    figures.add(
        (SlotValue("color", "Red"), SlotValue("type", "coat"), SlotValue("brand", "Acme")),
        (SlotValue("color", "red"), SlotValue("type", "dress")),
    )
    figures.add((), ())
    figures.add((SlotValue("color", "red", "dislike"),), (SlotValue("color", "red"),))  # the other way round: wrong
    assert figures.values == {"color": Hits(1, 1, 1), "type": Hits(0, 1, 1), "brand": Hits(0, 1, 0)}
    assert figures.filled == Hits(right=3, wrong=1)
    said = figures.as_json()
    assert said["value_f1"] == pytest.approx(2 / (2 + 3 + 2))
    assert said["slot_f1"] == pytest.approx(6 / 7)
    assert said["jga"] == pytest.approx(1 / 3)
    assert said["slots"]["brand"] == {"right": 0, "wrong": 1, "missing": 0, "f1": 0.0}


def test_nothing_to_read_has_no_figures():
    assert StateFigures().as_json() == {"turns": 0, "slot_f1": None, "value_f1": None, "jga": None, "slots": {}}


@given(st.lists(st.tuples(STATES, STATES), max_size=5))
def test_figures_agree_with_counting_sets(turns: list[tuple[BeliefState, BeliefState]]):
    figures = StateFigures()
    for said, gold in turns:
        figures.add(said, gold)
    right = sum(len(items_of(said) & items_of(gold)) for said, gold in turns)
    sizes = sum(len(items_of(said)) + len(items_of(gold)) for said, gold in turns)
    assert figures.value_f1 == (pytest.approx(2 * right / sizes) if sizes else None)
    assert figures.exact == sum(items_of(said) == items_of(gold) for said, gold in turns)
