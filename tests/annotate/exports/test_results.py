from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.annotations.annotation import Annotation, Mark, turn_update
from annotate.exports.refusals import REASONS, Refused
from annotate.exports.results import read_result
from schemas.belief import TurnUpdate
from schemas.ontology import Ontology, Slot, Value
from tests.annotate.belief_strategies import ONTOLOGY, values
from tests.label_exports import pick, typed

TURNS = (4, 6, 9)


def read(*entries):
    return read_result(list(entries), TURNS, ONTOLOGY)


def updates(*entries) -> dict[int, TurnUpdate]:
    annotation = Annotation("a", "d", "user:1").with_marks(read(*entries).marks)
    return {turn: turn_update(marks) for turn, marks in annotation.turns().items()}


def test_a_control_speaks_of_the_turn_its_suffix_counts_to():
    found = updates(pick("want_1", "color=red", "price=cheap"), pick("dislike_2", "color=grey"))
    assert found == {
        4: TurnUpdate(),
        6: TurnUpdate(want={"color": ("red",), "price": ("cheap",)}),
        9: TurnUpdate(dislike={"color": ("grey",)}),
    }


def test_a_turn_without_results_changes_nothing_but_is_labelled():
    assert read().marks == tuple(Mark(turn, "none") for turn in TURNS)


def test_operations_drop_slots_start_topics_and_give_up_turns():
    found = updates(
        pick("op_0", "drop=color", "drop=price"), pick("op_1", "flag=new_topic"), pick("op_2", "flag=unsure")
    )
    assert found == {
        4: TurnUpdate(drop=frozenset({"color", "price"})),
        6: TurnUpdate(new_topic=True),
        9: TurnUpdate(readable=False),
    }


def test_typed_values_are_wanted_and_disliked_with_an_exclamation_mark():
    found = updates(typed("free_0", "color=teal", "! color = a=b ", "sleeve length=3/4", ""))
    assert found[4] == TurnUpdate(want={"color": ("teal",), "sleeveLength": ("3/4",)}, dislike={"color": ("a=b",)})


def test_html_entities_are_resolved_unless_a_value_is_spelled_so():
    found = updates(pick("want_0", "color=H&amp;M"), typed("free_1", "sleeve&nbsp;length=it&#39;s", "!color=&amp;lt;"))
    assert found[4].want == {"color": ("H&M",)}
    assert found[6] == TurnUpdate(want={"sleeveLength": ("it's",)}, dislike={"color": ("&lt;",)})
    spelled = Ontology(slots=(Slot(name="badge", attribute="badge", values=(Value(value="&lt;new"),)),))
    lines = typed("free_1", "badge=&lt;new", "badge=&quot;old&quot;")
    marks = read_result([pick("want_0", "badge=&lt;new"), lines], TURNS, spelled).marks
    assert [mark.value for mark in marks] == ["&lt;new", "&lt;new", '"old"', None]


def test_picked_and_typed_values_of_a_slot_come_together_once():
    assert updates(pick("want_0", "color=red"), typed("free_0", "colour=teal", "color=red"))[4].want == {
        "color": ("red", "teal")
    }


def test_flags_and_notes_of_the_dialogue_stand_at_the_first_turn_and_label_nothing():
    found = read(pick("dialogue_op", "flag=bad_dialogue", "flag=images_missing"), typed("note", "two users"))
    remarks = [mark for mark in found.marks if mark.op != "none"]
    assert remarks == [Mark(4, "bad_dialogue"), Mark(4, "images_missing"), Mark(4, "note", value="two users")]


def test_where_an_answer_comes_from_is_kept():
    entry = pick("want_0", "color=red", origin="prediction-changed")
    assert read(entry).marks[0].origin == "prediction-changed"
    assert read(pick("want_0", "color=red", origin=None)).marks[0].origin == "manual"
    assert read(pick("want_0", "color=red", origin="?")).marks[0].origin == "unknown"


@pytest.mark.parametrize(
    ("reason", "entry"),
    [
        ("wrong_type", pick("want_1", "color=red", type="choices")),
        ("wrong_type", typed("want_1", "color=red")),
        ("wrong_type", pick("free_1", "color=red")),
        ("wrong_target", pick("want_1", "color=red", to_name="u0")),
        ("malformed_value", pick("want_1", value={"taxonomy": "color=red"})),
        ("malformed_value", pick("want_1", value={"taxonomy": ["color=red"]})),
        ("malformed_value", pick("want_1", value={"taxonomy": [["color", "red"]]})),
        ("malformed_value", pick("want_1", value={"taxonomy": [[7]]})),
        ("malformed_value", pick("want_1", value=None)),
        ("malformed_value", typed("free_1", value={"text": [None]})),
        ("slot_without_value", pick("want_1", "color")),
        ("slot_without_value", pick("dislike_1", "color=")),
        ("slot_without_value", typed("free_1", "color= ")),
        ("unknown_slot", pick("want_1", "colr=red")),
        ("unknown_slot", typed("free_1", "!colr=red")),
        ("unknown_slot", pick("op_1", "drop=colr")),
        ("unknown_operation", pick("op_1", "flag=sleepy")),
        ("unknown_operation", pick("op_1", "drop=")),
        ("unknown_operation", pick("op_1", "color=red")),
        ("malformed_free_text", typed("free_1", "something red")),
        ("malformed_free_text", typed("free_1", "=red")),
        ("malformed_free_text", typed("free_1", "!")),
    ],
)
def test_a_turn_with_nothing_but_a_bad_result_is_unlabelled_and_the_others_count(reason: str, entry):
    found = read(pick("want_0", "color=red"), entry, pick("want_2", "color=grey"))
    assert [(refusal.reason, refusal.turn) for refusal in found.refused] == [(reason, 6)]
    assert found.refused_turns == {6: reason}
    assert found.refused[0].raw
    assert [mark.turn for mark in found.marks] == [4, 9]


def test_a_bad_line_costs_one_line_and_leaves_the_slot_it_names_unknown():
    found = read(typed("free_0", "color=red", "price>=2000", "not blue", "colr=teal", "!sleeve length=long"))
    assert found.refused_turns == {}
    assert [(each.turn, each.reason, each.slot) for each in found.refused] == [
        (4, "malformed_free_text", "price"),
        (4, "malformed_free_text", ""),
        (4, "unknown_slot", ""),
    ]
    assert [mark for mark in found.marks if mark.turn == 4] == [
        Mark(4, "want", "color", "red"),
        Mark(4, "dislike", "sleeveLength", "long"),
        Mark(4, "unknown", "price"),
    ]


def test_a_slot_with_a_valid_mark_beside_a_bad_line_stays_known():
    found = read(pick("want_1", "color=red"), typed("free_1", "color!=grey"))
    assert [mark for mark in found.marks if mark.turn == 6] == [Mark(6, "want", "color", "red")]
    assert [each.detail for each in found.refused] == [
        "'color!=grey'; write color=grey for a wish, !color=grey for something to avoid"
    ]


def test_choices_that_cannot_be_read_cost_themselves_alone():
    found = read(pick("want_1", "color=red", "colr=red", "price="), pick("op_1", "drop=nope"))
    assert sorted(each.reason for each in found.refused) == ["slot_without_value", "unknown_slot", "unknown_slot"]
    assert [mark.value for mark in found.marks if mark.turn == 6] == ["red"]


@pytest.mark.parametrize(
    "entry", [pick("op_1", "flag=sleepy"), pick("want_1", "color=red", to_name="u0"), typed("free_1", "!color=red")]
)
def test_what_may_turn_the_other_marks_around_costs_the_turn(entry):
    found = read(pick("want_1", "color=red"), entry)
    assert list(found.refused_turns) == [6]
    assert 6 not in {mark.turn for mark in found.marks}


def test_where_nothing_is_left_every_bad_line_is_named():
    with pytest.raises(Refused, match=r"turn 4: 'colr'.*; turn 6: '-color=red'.*; turn 9: 'price<5'"):
        read(pick("want_0", "colr=red"), typed("free_1", "-color=red"), typed("free_2", "price<5"))


def test_an_unknown_slot_names_the_nearest():
    assert "did you mean 'color'?" in read(pick("want_1", "colr=red")).refused[0].detail


def test_wanting_and_disliking_one_value_is_refused_however_it_is_spelled():
    found = read(pick("want_0", "color=red"), typed("free_0", "!Colour=CRIMSON"))
    assert found.refused_turns == {4: "wanted_and_disliked"}
    assert found.refused[0].detail == "both: color=red"


@pytest.mark.parametrize(
    ("reason", "result"),
    [
        ("malformed_annotation", None),
        ("malformed_annotation", {"from_name": "want_0"}),
        ("malformed_result", ["want_0"]),
        ("malformed_result", [{"from_name": 3}]),
        ("malformed_result", [{"type": "relation", "from_id": "a", "to_id": "b"}]),
        ("unknown_control", [pick("nope", "color=red")]),
        ("unknown_control", [pick("want_", "color=red")]),
        ("unknown_control", [pick("want_-1", "color=red")]),
        ("unknown_control", [pick("want_{{idx}}", "color=red")]),
        ("unknown_control", [pick("want_٣", "color=red")]),
        ("turn_out_of_range", [pick("want_3", "color=red")]),
        ("turn_out_of_range", [pick("op_99", "flag=unsure")]),
        ("unknown_operation", [pick("dialogue_op", "flag=sleepy")]),
        ("wrong_type", [typed("dialogue_op", "x")]),
        ("unknown_slot", [pick(f"want_{index}", "colr=red") for index in range(3)]),
    ],
)
def test_what_cannot_be_laid_at_a_turn_refuses_the_annotation(reason: str, result):
    with pytest.raises(Refused) as problem:
        read_result(result, TURNS, ONTOLOGY)
    assert problem.value.refusal.reason == reason


@given(st.lists(values, min_size=1, max_size=4))
def test_a_typed_value_comes_back_as_it_was_typed(texts: list[str]):
    found = updates(typed("free_0", *(f"sleeveLength={text}" for text in texts)))
    assert set(found[4].want["sleeveLength"]) == set(texts)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NOISE = st.fixed_dictionaries(
    {},
    optional={
        "from_name": st.sampled_from(["want_0", "free_1", "op_2", "note", "dialogue_op", "want_7"]) | JSON,
        "to_name": st.sampled_from(["u0", "u1", "tail"]) | JSON,
        "type": st.sampled_from(["taxonomy", "textarea"]) | JSON,
        "value": st.dictionaries(st.sampled_from(["taxonomy", "text"]), JSON) | JSON,
        "origin": JSON,
    },
)


@given(st.lists(NOISE, max_size=4) | JSON)
def test_any_json_is_read_or_refused_with_a_known_reason(result):
    try:
        found = read_result(result, TURNS, ONTOLOGY)
    except Refused as problem:
        reason = problem.refusal.reason
        assert reason in REASONS
        return
    labelled = {mark.turn for mark in found.marks} - {4}
    refused = set(found.refused_turns)
    assert labelled | refused | {4} == set(TURNS)
    assert not labelled & refused
