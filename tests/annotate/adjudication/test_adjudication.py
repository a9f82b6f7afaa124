from __future__ import annotations

import re
from typing import Any

import pytest

from annotate.adjudication.review_tasks import disputes_of, review_tasks
from annotate.annotations.annotation import Annotation, Mark
from annotate.resolution.policies import Adjudicated, Majority, Policy
from annotate.resolution.resolve import resolve
from annotate.tasks.dialogue_tasks import TaskStyle
from tests.labelling_corpus import ONTOLOGY, PAYLOADS, dialogue

ROWS = dialogue("d1", users=4)
TURNS = (0, 2, 4, 6)
OFFERED = {"color=red", "color=black", "color=blue", "price=cheap"}


def answer(who: str, *marks: Mark, role: str = "label", **more: Any) -> Annotation:
    rest = [Mark(turn, "none") for turn in TURNS if all(mark.turn != turn or mark.op == "note" for mark in marks)]
    return Annotation(f"of {who}", "d1", who, "2026", task_uid="d1#0", role=role, **more).with_marks([*marks, *rest])


def want(turn: int, value: str, slot: str = "color") -> Mark:
    return Mark(turn, "want", slot, value)


def tasks(answers: list[Annotation], *, window: int = 5, policy: Policy | None = None, **more: Any):
    resolution = resolve(answers, TURNS, ONTOLOGY, policy or Majority())
    disputes = disputes_of(resolution, more.pop("min_disagreement", None))
    style = TaskStyle(window=window, ontology_version=3, config_sha256="c" * 64)
    return review_tasks(ROWS, disputes, resolution, style, ONTOLOGY, offered=OFFERED, **more)


def prefilled(task: dict[str, Any]) -> dict[str, list[str]]:
    (prediction,) = task["predictions"]
    return {
        entry["from_name"]: [step for path in entry["value"].get("taxonomy", []) for step in path]
        + entry["value"].get("text", [])
        for entry in prediction["result"]
    }


def test_only_turns_in_dispute_are_asked_for_and_the_others_are_shown_with_their_label():
    ann, bo = answer("ann", want(0, "red"), want(4, "blue")), answer("bo", want(0, "red"), want(4, "black"))
    (task,) = tasks([ann, bo])
    data = task["data"]
    assert [turn["turn"] for turn in data["user_turns"]] == [4]
    assert (data["uid"], data["role"], data["window"], data["windows"]) == ("d1#0", "review", 0, 1)
    assert "I want red 0" in data["past_html"]
    assert "labelled: wants color=red" in data["past_html"]
    assert "labelled: nothing" in data["past_html"]
    assert "I want red 2" in data["user_turns"][0]["html"]
    assert "I want red 3" in data["tail_html"]


def test_what_is_agreed_is_filled_in_and_the_rest_is_left_to_the_reviewer():
    cheap = want(0, "cheap", "price")
    ann, bo = answer("ann", want(0, "red"), cheap), answer("bo", want(0, "red"), want(0, "blue"), cheap)
    (task,) = tasks([ann, bo])
    assert prefilled(task) == {"want_0": ["color=red", "price=cheap"]}
    assert task["predictions"][0]["model_version"] == "agreed"


def test_a_value_that_the_screen_does_not_offer_is_filled_in_as_text():
    ann, bo = answer("ann", want(0, "teal"), want(0, "red")), answer("bo", want(0, "Teal"))
    assert prefilled(tasks([ann, bo])[0]) == {"free_0": ["color=Teal"]}


def test_all_answers_are_shown_without_names_and_what_is_not_common_stands_out():
    ann = answer("ann@shop", want(0, "red"), Mark(0, "drop", "price"))
    bo = answer("bo@shop", want(0, "Red"), Mark(0, "dislike", "color", "blue"))
    html = tasks([ann, bo])[0]["data"]["user_turns"][0]["html"]
    assert "shop" not in html
    assert "the answers differ on color, price" in html
    chips = re.findall(r'<span class="sem-mark( sem-differs)?">([^<]*)</span>', html)
    assert sorted((text, bool(differs)) for differs, text in chips) == [
        ("dislikes color=blue", True),
        ("drops price", True),
        ("wants color=Red", False),
        ("wants color=red", False),
    ]


def test_every_answer_that_marks_can_say_can_be_taken_over():
    ann = answer("ann", want(0, "red"), Mark(0, "drop", "price"))
    bo = answer("bo", Mark(0, "bad_dialogue"), want(0, "blue"))
    cy, di = answer("cy"), answer("di", Mark(0, "unsure"))
    data = tasks([ann, bo, cy, di])[0]["data"]
    (turn,) = [turn for turn in data["user_turns"] if turn["turn"] == 0]
    shown = dict(re.findall(r"<b>(answer \d)</b>(.*?)</div>", turn["html"]))
    held = data["answers"]["0"]
    assert [button["value"] for button in turn["answers"]] == sorted(held)
    assert {button["hotkey"] for button in turn["answers"]} == {"f19"}
    assert sorted(held.values()) == [[], [["op", "flag=unsure"]], [["want", "color=red"], ["op", "drop=price"]]]
    assert {name for name, html in shown.items() if "bad dialogue" in html} == shown.keys() - held.keys()
    assert "wants color=red" in shown[next(name for name, entries in held.items() if len(entries) == 2)]


def test_the_state_so_far_is_shown_with_the_turn_and_what_is_in_dispute_is_not_known():
    ann = answer("ann", want(0, "red"), want(2, "cheap", "price"), want(4, "blue"))
    bo = answer("bo", want(0, "red"), want(2, "25-50", "price"), want(4, "black"))
    first, second = tasks([ann, bo])[0]["data"]["user_turns"]
    assert (first["turn"], second["turn"]) == (2, 4)
    so_far = re.compile(r'<div class="sem-state"><b>so far</b> (.*?)</div>')
    assert so_far.findall(first["html"]) == ['<span class="sem-mark sem-like">color=red</span>']
    assert so_far.findall(second["html"]) == ['<span class="sem-mark sem-like">color=red</span> not known: price']


def test_the_numbers_of_answers_are_stable_within_a_dialogue_and_tell_nothing_across():
    people = [f"person {n}" for n in range(3)]
    firsts = set()
    for name in (f"d{n}" for n in range(12)):
        rows = [{**row, "dialogue_id": name} for row in ROWS]
        answers = [answer(who, want(0, str(n)), want(4, str(n))) for n, who in enumerate(people)]
        resolution = resolve(answers, TURNS, ONTOLOGY)
        style = TaskStyle(window=5, ontology_version=3, config_sha256="c" * 64)
        (task,) = review_tasks(rows, disputes_of(resolution), resolution, style, ONTOLOGY, offered=OFFERED)
        orders = [
            re.findall(r"<b>answer \d</b><span[^>]*>wants color=(\d)", turn["html"])
            for turn in task["data"]["user_turns"]
        ]
        assert orders[0] == orders[1]
        assert sorted(orders[0]) == ["0", "1", "2"]
        firsts.add(orders[0][0])
    assert len(firsts) > 1


def test_parts_are_numbered_on_from_earlier_review_tasks():
    marks = [want(turn, "red") for turn in TURNS]
    found = tasks([answer("ann", *marks), answer("bo")], window=3, first_window=2)
    assert [(task["data"]["uid"], task["data"]["window"]) for task in found] == [("d1#2", 2), ("d1#3", 3)]
    assert [[turn["turn"] for turn in task["data"]["user_turns"]] for task in found] == [[0, 2, 4], [6]]


def test_turns_with_a_verdict_are_not_asked_again():
    ann, bo = answer("ann", want(0, "red"), want(4, "red")), answer("bo")
    verdict = Annotation("v", "d1", "chief", "2027", role="review").with_marks([want(0, "blue")])
    (task,) = tasks([ann, bo, verdict])
    assert [turn["turn"] for turn in task["data"]["user_turns"]] == [4]


@pytest.mark.parametrize(("share", "turns"), [(None, [4]), (0.0, [2, 4]), (0.3, [2, 4]), (0.5, [4]), (0.7, [])])
def test_the_share_that_has_to_differ(share: float | None, turns: list[int]):
    ann = answer("ann", want(0, "red"), want(2, "red"), want(4, "red"))
    bo = answer("bo", want(0, "red"), want(4, "blue"))
    cy = answer("cy", want(0, "red"), want(4, "black"))
    disputes = disputes_of(resolve([ann, bo, cy], TURNS, ONTOLOGY), share)
    assert [dispute.turn for dispute in disputes] == turns


def test_under_adjudicated_every_difference_is_asked_for_and_nothing_of_it_is_filled_in():
    answers = [answer("ann", want(0, "red")), answer("bo", want(0, "red")), answer("cy")]
    (task,) = tasks(answers, policy=Adjudicated())
    assert prefilled(task) == {}
    (task,) = tasks(answers, min_disagreement=0.0)
    assert prefilled(task) == {"want_0": ["color=red"]}


def test_the_hash_of_a_dispute_changes_with_the_answers_and_not_with_who_gave_them():
    def hashed(*answers: Annotation) -> str:
        (dispute,) = disputes_of(resolve(answers, TURNS, ONTOLOGY))
        return dispute.sha256

    assert hashed(answer("ann", want(0, "red")), answer("bo")) == hashed(answer("bo", want(0, "Red")), answer("ann"))
    assert hashed(answer("ann", want(0, "red")), answer("bo")) != hashed(answer("ann", want(0, "blue")), answer("bo"))


def test_a_dialogue_that_half_of_them_call_useless_is_shown_whole_with_who_says_so():
    ann, bo = answer("ann", want(0, "red"), Mark(0, "bad_dialogue")), answer("bo", want(0, "red"))
    (task,) = tasks([ann, bo])
    assert [turn["turn"] for turn in task["data"]["user_turns"]] == list(TURNS)
    assert task["data"]["user_turns"][1]["html"].count("bad dialogue") == 1


def test_notes_reach_the_reviewer():
    (task,) = tasks([answer("ann", want(0, "red"), Mark(0, "note", value="is <b>this</b> a gift?")), answer("bo")])
    assert "is &lt;b&gt;this&lt;/b&gt; a gift?" in task["data"]["tail_html"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_whatever_people_typed_is_shown_and_never_interpreted(payload: str):
    note = Mark(0, "note", value=payload)
    ann, bo = answer("ann", want(0, payload), note), answer("bo", Mark(0, "dislike", "color", payload))
    data = tasks([ann, bo])[0]["data"]
    html = data["user_turns"][0]["html"] + data["tail_html"]
    known = re.sub(r'</?(div|b|span|figure|figcaption)( class="[a-z -]*")?>', "", html)
    assert "<" not in known.replace('<img src="', "")
