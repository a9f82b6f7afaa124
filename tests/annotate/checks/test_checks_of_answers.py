from __future__ import annotations

import random
from pathlib import Path

import pytest

from annotate.annotations.annotation import Annotation, Mark
from annotate.checks.answers import RequestFinder
from annotate.checks.checks import Checks, FindingTotals
from annotate.checks.findings import Finding, codes_of
from schemas.ontology import Ontology, Slot, Value
from tests.checked_labels import SHOP, annotation, findings, told, wants

RED = wants(0, "color", "red")
NONE = (Mark(2, "none"), Mark(4, "none"))


# --- blank turns


def blank(folder: Path, text: str, *before: Mark, **more) -> list[tuple]:
    """What is said of turn 2, left blank, with this text."""
    label = annotation(*(before or wants(0, "type", "dress")), Mark(2, "none"))
    return told(findings(folder, label, says=["hello", text], **more))


def test_a_blank_turn_that_names_something_new_is_told(tmp_path: Path):
    assert blank(tmp_path, "Do you have any in Crimson?") == [("blank_turn", 2, None, None, "color=red")]
    (found,) = findings(tmp_path, annotation(*RED, Mark(2, "none")), says=["x", "show me black shirts"])
    assert found.detail == "left blank, but the text names color=black, type=shirt"
    assert found.annotation_ids == ("a",)


def test_a_blank_turn_that_names_what_is_held_already_is_no_finding(tmp_path: Path):
    assert blank(tmp_path, "any other dresses?") == []


def test_a_blank_turn_that_names_what_was_shown_before_is_no_finding(tmp_path: Path):
    assert blank(tmp_path, "black looks good", shown={1: ["black dress.jpg"]}) == []
    assert blank(tmp_path, "black looks good", recommended={1: ["black dress"]}, replies={1: "no, but"}) == []
    assert blank(tmp_path, "black looks good", shown={3: ["black dress.jpg"]}) != []


def test_a_turn_that_is_marked_is_not_blank(tmp_path: Path):
    label = annotation(*wants(0, "type", "dress"), Mark(2, "new_topic"))
    assert told(findings(tmp_path, label, says=["hello", "any in red?"])) == []


def test_in_a_dialogue_that_says_nothing_at_all_blank_turns_are_silent(tmp_path: Path):
    assert blank(tmp_path, "any in red?", Mark(0, "none")) == []


@pytest.mark.parametrize(
    "text",
    [
        "How much is the red dress?",
        "Add the red, black and light blue dress to my cart.",
        "Who makes those black ones?",
        "Does it come in M?",
        "Is it available in black?",
        "That's a very nice red dress!",
        "Is this a shirt?",
        "I mean a red one on the left.",
        "What kind of shirt is that?",
        "",
    ],
)
def test_what_is_in_sight_is_not_asked_for(text: str):
    assert RequestFinder(SHOP).values(text) == []


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Do you have any in red?", {"color=red"}),
        ("I like the black one. Do you have a shirt in light blue?", {"type=shirt", "color=light blue"}),
        ("Something like that dress but in black", {"color=black"}),
        ("Show me red dresses, please", {"color=red", "type=dress"}),
        ("Red!", {"color=red"}),
        ("Are there any other black dresses?", {"color=black", "type=dress"}),
        ("cheap winter things", set()),
    ],
)
def test_what_is_asked_for(text: str, asked: set[str]):
    assert {f"{slot}={value}" for slot, value in RequestFinder(SHOP).values(text)} == asked


# --- missing, refused and orphaned


def refusal(turn: int | None, *, name: str = "a", reason: str = "unknown_slot") -> dict:
    return {
        "annotation_id": name,
        "turn": turn,
        "reason": reason,
        "annotator": "user:1",
        "detail": "why",
        "dialogue_id": "d",
    }


def test_turns_that_nobody_answered_are_told_once(tmp_path: Path):
    (found,) = findings(tmp_path, annotation(*RED))
    assert told([found]) == [("missing_window", 2)]
    assert found.detail == "2 of 3 turns have no answer: 2, 4"


def test_a_dialogue_without_answers_or_with_gaps_in_the_corpus_alone_is_not_missing_any(tmp_path: Path):
    assert findings(tmp_path) == []
    assert findings(tmp_path, annotation(*RED, by="corpus")) == []


def test_a_refused_turn_is_told_as_that_and_not_as_missing(tmp_path: Path):
    label = annotation(*RED, Mark(2, "none"))
    (found,) = findings(tmp_path, label, refused=[refusal(4)])
    assert (found.code, found.turn, found.detail, found.severity) == ("quarantined", 4, "unknown_slot: why", "error")
    assert found.annotation_ids == ("a",)


def test_a_refused_answer_is_told_until_somebody_else_labels_the_turn(tmp_path: Path):
    refused = [refusal(4, name="y"), refusal(None, name="z")]
    assert [code for code, *_ in told(findings(tmp_path, annotation(*RED), refused=refused))] == ["quarantined"] * 2
    assert findings(tmp_path, annotation(*RED, *NONE), refused=refused) == []
    assert told(findings(tmp_path, refused=refused)) == [("quarantined",), ("quarantined", 4)]


def test_a_line_refused_in_an_answer_that_counts_is_told_whoever_else_answers(tmp_path: Path):
    label = annotation(*RED, Mark(2, "unknown", "size"), Mark(4, "none"))
    other = annotation(*RED, *NONE, name="b", by="user:2")
    (found,) = findings(tmp_path, label, refused=[refusal(2)])
    assert (found.code, found.turn, found.detail, found.severity) == ("line_refused", 2, "unknown_slot: why", "error")
    assert [one.code for one in findings(tmp_path, label, other, refused=[refusal(2)])] == ["line_refused"]
    assert findings(tmp_path, other, refused=[refusal(2)]) == []


def test_an_answer_to_turns_that_are_gone_is_orphaned(tmp_path: Path):
    old = annotation(*wants(8, "color", "red"), name="old", by="user:2")
    found = findings(tmp_path, annotation(*RED, *NONE), old)
    assert told(found) == [("orphaned", 8)]
    assert found[0].annotators == ("user:2",)


def test_answers_of_a_dialogue_that_is_gone_are_orphaned_and_withdrawn_ones_are_not():
    gone = Checks.gone("d", [annotation(*RED), annotation(Mark(0, "withdrawn"), name="b")])
    assert [(finding.code, finding.dialogue_id, finding.annotation_ids) for finding in gone] == [
        ("orphaned", "d", ("a",))
    ]


# --- marked by annotators


def test_what_annotators_say_beside_the_state_is_told(tmp_path: Path):
    marks = [*RED, Mark(0, "note", value="odd"), Mark(0, "images_missing"), Mark(2, "unsure"), Mark(4, "bad_turn")]
    found = findings(tmp_path, annotation(*marks))
    assert told(found) == [("images_missing",), ("note", 0), ("unsure", 2), ("bad_turn", 4)]
    assert found[1].detail == "odd"
    (useless, *rest) = findings(tmp_path, annotation(*RED, *NONE, Mark(0, "bad_dialogue")))
    assert (useless.code, rest) == ("bad_dialogue", [])


def test_a_turn_that_others_could_label_is_not_unsure(tmp_path: Path):
    others = [annotation(*RED, *NONE, name=name, by=f"user:{name}") for name in "bc"]
    assert findings(tmp_path, annotation(Mark(0, "unsure"), *NONE), *others) == []


# --- several annotators


def test_what_one_wants_and_another_dislikes_is_an_error_of_both(tmp_path: Path):
    one = annotation(*wants(0, "color", "crimson"), *NONE)
    other = annotation(Mark(0, "dislike", "color", "red"), *NONE, name="b", by="user:2")
    found = [each for each in findings(tmp_path, one, other) if each.code == "wanted_and_disliked"]
    assert told(found) == [("wanted_and_disliked", 0, "color", "red")]
    assert (found[0].annotators, found[0].annotation_ids) == (("user:1", "user:2"), ("a", "b"))


def test_a_finding_names_a_value_as_the_ontology_writes_it(tmp_path: Path):
    sizes = Ontology(slots=(Slot(name="size", attribute="size", values=(Value(value="L", count=1),)),))
    one = annotation(*wants(0, "size", "l"), *NONE)
    other = annotation(Mark(0, "dislike", "size", "L"), *NONE, name="b", by="user:2")
    found = [each for each in findings(tmp_path, one, other, ontology=sizes) if each.code == "wanted_and_disliked"]
    assert [each.detail for each in found] == ["size=L is wanted by one annotator and disliked by another"]


def test_a_verdict_ends_the_dispute(tmp_path: Path):
    one = annotation(*RED, *NONE)
    other = annotation(Mark(0, "dislike", "color", "red"), *NONE, name="b", by="user:2")
    verdict = annotation(*RED, name="c", by="user:3", role="review", updated_at="2026-01-02")
    assert findings(tmp_path, one, other, verdict) == []


def test_different_values_are_a_dispute_and_no_contradiction(tmp_path: Path):
    other = annotation(Mark(0, "dislike", "color", "black"), *NONE, name="b", by="user:2")
    assert "wanted_and_disliked" not in {each.code for each in findings(tmp_path, annotation(*RED, *NONE), other)}


# --- pre-labels


@pytest.mark.parametrize(
    ("seconds", "code"), [(8.9, "untouched_fast"), (9.0, "untouched"), (None, "untouched"), (0.0, "untouched_fast")]
)
def test_an_untouched_pre_label_is_told_and_one_sent_on_too_fast_is_worse(
    tmp_path: Path, seconds: float | None, code: str
):
    label = annotation(*RED, *NONE, untouched=True, prelabel="lexicon-1", lead_time=seconds)
    (found,) = findings(tmp_path, label)
    assert (found.code, found.turn) == (code, 0)
    assert "lexicon-1" in found.detail
    assert "3 turns" in found.detail


def test_a_pre_label_that_was_worked_on_is_no_finding(tmp_path: Path):
    assert findings(tmp_path, annotation(*RED, *NONE, prelabel="lexicon-1", lead_time=0.1)) == []


# --- all of them


def test_the_order_of_annotations_does_not_matter(tmp_path: Path):
    given: list[Annotation] = [
        annotation(*wants(0, "color", "teal"), Mark(2, "unsure"), Mark(4, "note", value="n")),
        annotation(Mark(0, "dislike", "color", "teal"), Mark(2, "drop", "size"), name="b", by="user:2"),
        annotation(*wants(8, "color", "red"), name="c", by="user:3"),
        annotation(*wants(0, "color", "blakc"), name="a", updated_at="2025-01-01"),
    ]
    refused = [refusal(4), refusal(2, name="b"), refusal(None, name="z")]
    first = findings(tmp_path, *given, refused=refused)
    assert len(first) > 4
    for seed in range(5):
        shuffle = random.Random(seed).sample
        assert findings(tmp_path, *shuffle(given, 4), refused=shuffle(refused, 3)) == first


def test_the_worst_dialogues_are_labelled_again_first():
    totals = FindingTotals(codes_of(["error", "warning"]))
    for name, codes in {
        "a": ["near_miss"],
        "b": ["near_miss", "unsure"],
        "c": ["quarantined"],
        "d": ["alias_used"] * 9,
        "e": ["near_miss"],
        "f": [],
    }.items():
        totals.add([Finding(code, name, "") for code in codes])
    totals.add([Finding("orphaned", "gone", "")], is_here=False)
    assert totals.again() == ["c", "b", "a", "e"]
    assert totals.by_code() == {"quarantined": 1, "near_miss": 3, "unsure": 1, "orphaned": 1, "alias_used": 9}
    assert totals.dialogues["alias_used"] == 1


@pytest.mark.parametrize(("seconds", "flagged"), [(0.0, True), (8.9, True), (9.0, False), (None, False)])
def test_an_empty_page_sent_faster_than_three_turns_are_read_is_flagged(
    tmp_path: Path, seconds: float | None, flagged: bool
):
    empty = annotation(*(Mark(turn, "none") for turn in (0, 2, 4)), lead_time=seconds)
    found = findings(tmp_path, empty)
    assert [(finding.code, finding.turn) for finding in found] == ([("untouched_fast", 0)] if flagged else [])
    if flagged:
        assert found[0].detail == f"an empty page: 3 turns in {seconds:.1f} s"


@pytest.mark.parametrize("mark", [*wants(2, "color", "red"), Mark(0, "note", value="two people"), Mark(4, "unsure")])
def test_a_page_with_anything_on_it_is_not_empty_however_fast_it_came(tmp_path: Path, mark: Mark):
    marks = [mark, *(Mark(turn, "none") for turn in (0, 2, 4) if turn != mark.turn or mark.op == "note")]
    assert "untouched_fast" not in [one.code for one in findings(tmp_path, annotation(*marks, lead_time=0.5))]


def test_an_empty_page_that_was_outvoted_is_flagged_too(tmp_path: Path):
    rest = [Mark(2, "none"), Mark(4, "none")]
    read = [annotation(*RED, *rest, name=name, by=name, lead_time=60.0) for name in ("b", "c")]
    hasty = annotation(Mark(0, "none"), *rest, name="z", by="z", lead_time=1.0)
    (found,) = [one for one in findings(tmp_path, *read, hasty) if one.code == "untouched_fast"]
    assert (found.annotators, found.annotation_ids) == (("z",), ("z",))
