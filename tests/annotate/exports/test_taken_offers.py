"""Offers that were taken with a click: what the turn then says, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from annotate.exports.offers import with_taken_offers
from annotate.exports.refusals import Refused
from annotate.exports.results import read_result
from tests.label_exports import pick, typed
from tests.labelling_corpus import ONTOLOGY

TURNS = (4, 8)
DATA = {
    "user_turns": [{"turn": turn} for turn in TURNS],
    "offers": {
        "4": {
            "color=blue instead of red": {"slots": ["color"], "marks": [["want", "color=blue"]]},
            "also color=black": {"slots": ["color"], "marks": [["want", "color=red"], ["want", "color=black"]]},
            "price=cheap": {"slots": ["price"], "marks": [["want", "price=cheap"]]},
            "nothing changes": {"slots": ["color", "price"], "marks": []},
        }
    },
}
FILLED_IN = [pick("want_0", "color=red"), pick("op_0", "drop=price", "flag=new_topic"), pick("want_1", "color=red")]


def click(*texts: str, index: int = 0) -> dict[str, Any]:
    value = {"choices": list(texts)}
    return {"from_name": f"offer_{index}", "to_name": f"u{index}", "type": "choices", "value": value}


def said(*result: dict[str, Any], turn: int = 4) -> set[str]:
    annotation = {"result": list(result), "prediction": {"model_version": "m", "result": FILLED_IN}}
    marks = read_result(with_taken_offers(annotation, DATA, ONTOLOGY), TURNS, ONTOLOGY).marks
    return {" ".join(filter(None, (mark.op, mark.slot, mark.value))) for mark in marks if mark.turn == turn}


def test_an_offer_replaces_what_was_filled_in_in_its_slot_and_nothing_else():
    taken = click("color=blue instead of red")
    assert said(*FILLED_IN, taken) == {"want color blue", "drop price", "new_topic"}
    assert said(*FILLED_IN, taken, turn=8) == {"want color red"}
    assert said(*FILLED_IN, click("price=cheap")) == {"want color red", "want price cheap", "new_topic"}


def test_offers_of_one_slot_count_together():
    both = click("color=blue instead of red", "also color=black")
    assert said(*FILLED_IN, both) == {
        "want color red",
        "want color blue",
        "want color black",
        "drop price",
        "new_topic",
    }


def test_the_turn_is_cleared_of_what_was_filled_in_and_of_nothing_else():
    assert said(*FILLED_IN, click("nothing changes")) == {"none"}
    assert said(*FILLED_IN, click("nothing changes", "price=cheap")) == {"want price cheap"}
    unsure = [FILLED_IN[0], pick("op_0", "drop=price", "flag=new_topic", "flag=bad_turn"), FILLED_IN[2]]
    assert said(*unsure, click("nothing changes")) == {"bad_turn"}


def test_in_a_slot_in_which_a_mark_was_changed_the_fields_count():
    added = [pick("want_0", "color=red", "color=black"), *FILLED_IN[1:]]
    assert said(*added, click("color=blue instead of red")) == {
        "want color red",
        "want color black",
        "drop price",
        "new_topic",
    }
    removed = FILLED_IN[1:]
    assert said(*removed, click("color=blue instead of red")) == {"drop price", "new_topic"}
    line = typed("free_0", "!color=teal")
    assert said(*FILLED_IN, line, click("nothing changes")) == {"want color red", "dislike color teal"}


def test_an_answer_without_offers_is_left_as_it_is():
    result = [*FILLED_IN]
    assert with_taken_offers({"result": result}, {}, ONTOLOGY) is result
    assert with_taken_offers({"result": None}, {}, ONTOLOGY) is None


@pytest.mark.parametrize(
    "taken",
    [
        click("color=green"),
        click("price=cheap", index=1),
        click("price=cheap", index=7),
        {**click(), "value": {"choices": [1]}},
        {**click(), "value": None},
    ],
)
def test_an_offer_that_the_task_does_not_hold_refuses_the_answer(taken: dict[str, Any]):
    with pytest.raises(Refused):
        said(*FILLED_IN, taken)
