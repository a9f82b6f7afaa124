from __future__ import annotations

from hypothesis import given

from schemas.belief import DIALOGUE_OPS, OPS, SlotValue, state_from_rows, state_to_rows
from tests.annotate.belief_strategies import states


def test_an_unlabelled_state_stays_none_and_an_empty_one_empty():
    assert state_to_rows(None) is None
    assert state_from_rows(None) is None
    assert state_to_rows(()) == []
    assert state_from_rows([]) == ()


@given(states())
def test_a_state_comes_back_from_its_rows(state):
    assert state_from_rows(state_to_rows(state)) == state


def test_rows_have_the_columns_of_the_table():
    from schemas.tables import STATES

    (row,) = state_to_rows((SlotValue("color", "red"),)) or []
    struct = STATES.columns.field("state").type.value_type
    assert set(row) == {struct.field(index).name for index in range(struct.num_fields)}


def test_operations_of_a_dialogue_are_operations():
    assert set(OPS) > DIALOGUE_OPS
    assert len(set(OPS)) == len(OPS)
