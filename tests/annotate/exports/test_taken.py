"""Answers that a reviewer takes over: what the turn then says, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.annotations.annotation import Mark
from annotate.exports.refusals import Refused
from annotate.exports.results import read_result
from annotate.exports.taken import answer_entries, taken_answers, with_taken_answers
from tests.label_exports import pick, typed
from tests.labelling_corpus import ONTOLOGY

TURNS = (4, 8)


def take(index: int, *names: str) -> dict[str, Any]:
    value = {"choices": list(names)}
    return {"from_name": f"take_{index}", "to_name": f"u{index}", "type": "choices", "value": value}


def said(result: list[Any], answer: list[Mark], filled_in: list[Any] | None = None) -> set[str]:
    """What turn 4 says when ``answer 1`` to it was ``answer``."""
    data = {
        "user_turns": [{"turn": turn} for turn in TURNS],
        "answers": {"4": {"answer 1": answer_entries(answer)}, "8": {"answer 1": [["want", "color=red"]]}},
    }
    given = {"result": result}
    if filled_in is not None:
        given["prediction"] = {"model_version": "agreed", "result": filled_in}
    read = read_result(with_taken_answers(given, data, ONTOLOGY), TURNS, ONTOLOGY)
    return {" ".join(filter(None, (mark.op, mark.slot, mark.value))) for mark in read.marks if mark.turn == 4}


RED_NOT_CHEAP = [Mark(4, "want", "color", "red"), Mark(4, "dislike", "price", "cheap")]


def test_one_click_makes_the_turn_say_what_the_answer_says():
    assert said([take(0, "answer 1")], RED_NOT_CHEAP) == {"want color red", "dislike price cheap"}
    assert said([take(0, "answer 1")], [Mark(4, "new_topic"), Mark(4, "drop", "price")]) == {"new_topic", "drop price"}
    assert said([take(0, "answer 1")], [Mark(4, "none")]) == {"none"}
    assert said([take(0, "answer 1")], [Mark(4, "unsure")]) == {"unsure"}


def test_what_is_filled_in_and_left_as_it_was_gives_way_to_the_answer():
    filled_in = [pick("want_0", "color=blue"), pick("op_0", "drop=price")]
    assert said([take(0, "answer 1"), *filled_in], RED_NOT_CHEAP, filled_in) == {
        "want color red",
        "dislike price cheap",
    }
    untouched = [pick("want_0", "color=blue", origin="prediction")]  # an export without the prediction itself
    assert said([take(0, "answer 1"), *untouched], RED_NOT_CHEAP) == {"want color red", "dislike price cheap"}


def test_in_a_slot_in_which_the_reviewer_adds_or_removes_something_the_fields_count():
    filled_in = [pick("want_0", "color=blue")]
    added = [pick("want_0", "color=blue", "color=black"), take(0, "answer 1")]
    assert said(added, RED_NOT_CHEAP, filled_in) == {"want color blue", "want color black", "dislike price cheap"}
    removed = [take(0, "answer 1")]
    assert said(removed, RED_NOT_CHEAP, filled_in) == {"dislike price cheap"}
    typed_in = [take(0, "answer 1"), typed("free_0", "!color=teal")]
    assert said(typed_in, RED_NOT_CHEAP, []) == {"dislike color teal", "dislike price cheap"}
    dropped = [take(0, "answer 1"), pick("op_0", "drop=price")]
    assert said(dropped, RED_NOT_CHEAP, []) == {"want color red", "drop price"}


def test_flags_of_the_reviewer_win_too():
    assert said([take(0, "answer 1"), pick("op_0", "flag=new_topic")], RED_NOT_CHEAP, []) == {
        "want color red",
        "dislike price cheap",
        "new_topic",
    }
    topic = [Mark(4, "new_topic"), Mark(4, "want", "color", "red")]
    assert said([take(0, "answer 1")], topic, [pick("op_0", "flag=new_topic")]) == {"want color red"}
    marked = [take(0, "answer 1"), pick("want_0", "color=black")]
    assert said(marked, [Mark(4, "unsure")], []) == {"want color black"}


def test_taking_what_is_filled_in_changes_nothing_and_other_turns_stay_as_they_are():
    result = [pick("want_0", "color=blue"), take(0, "as filled in"), pick("want_1", "color=black")]
    read = read_result(
        with_taken_answers({"result": result}, {"user_turns": [{"turn": 4}, {"turn": 8}], "answers": {}}, ONTOLOGY),
        TURNS,
        ONTOLOGY,
    )
    assert [(mark.turn, mark.value) for mark in read.marks] == [(4, "blue"), (8, "black")]
    assert taken_answers(result) == {0: "as filled in"}


@pytest.mark.parametrize(
    "choice", [take(0, "answer 9"), take(7, "answer 1"), take(0), take(0, "answer 1", "answer 2"), take(1, "answer 2")]
)
def test_an_answer_that_the_task_does_not_hold_is_refused(choice: dict[str, Any]):
    with pytest.raises(Refused) as problem:
        said([choice], RED_NOT_CHEAP)
    assert problem.value.refusal.reason == "malformed_value"
    assert choice["from_name"] in problem.value.refusal.detail


def test_a_mark_that_no_control_can_say_makes_an_answer_that_cannot_be_taken():
    assert answer_entries([Mark(4, "want", "color", "red"), Mark(4, "unknown", "price")]) is None


_VALUES = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=9)


@given(
    st.lists(st.tuples(st.sampled_from(("want", "dislike")), st.sampled_from(("color", "price")), _VALUES), max_size=4)
)
def test_an_answer_is_taken_over_value_for_value_whatever_was_filled_in(given: list[tuple[Any, str, str]]):
    sides = {(slot, value.casefold()): op for op, slot, value in given}
    marks = [Mark(4, op, slot, value) for op, slot, value in given if sides[slot, value.casefold()] == op]
    filled_in = [pick("want_0", "color=blue"), typed("free_0", "!price=25-50")]
    data = {"user_turns": [{"turn": 4}], "answers": {"4": {"answer 1": answer_entries(marks)}}}
    annotation = {"result": [*filled_in, take(0, "answer 1")], "prediction": {"result": filled_in}}
    found = {
        (entry["from_name"].split("_")[0], path[0])
        for entry in with_taken_answers(annotation, data, ONTOLOGY)
        for path in entry["value"]["taxonomy"]
    }
    assert found == {(mark.op, f"{mark.slot}={mark.value}") for mark in marks}
