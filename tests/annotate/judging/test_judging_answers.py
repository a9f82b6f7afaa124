"""One vote of each judge and task; everything else is counted with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from annotate.judging.answers import REASONS, read_answers
from tests.annotate.judging.judged import exported, key, remark, side, task_data
from tests.label_exports import answer


def outcomes(*tasks: Any, annotators: tuple[str, ...] = (), users: dict[int, str] | None = None) -> dict[Any, str]:
    of = key(annotators)
    return {
        (vote.task.uid, vote.judge): vote.task.outcome(vote.choice) for vote in read_answers(tasks, of, users).votes
    }


def test_the_key_says_what_left_and_right_mean():
    # A is left in the first task, right in the second
    first = [answer(n, [side(chosen)], by=n) for n, chosen in enumerate(("left", "right", "tie"), start=1)]
    second = [answer(n, [side(chosen)], by=n) for n, chosen in enumerate(("left", "right", "tie"), start=1)]
    assert outcomes(exported(task_data(1), *first), exported(task_data(2), *second)) == {
        ("j1-0001", "user:1"): "win",
        ("j1-0001", "user:2"): "lose",
        ("j1-0001", "user:3"): "tie",
        ("j1-0002", "user:1"): "lose",
        ("j1-0002", "user:2"): "win",
        ("j1-0002", "user:3"): "tie",
    }


CHANGED = {**task_data(1), "left_html": "<b>another list</b>"}


@pytest.mark.parametrize(
    ("data", "given", "reason"),
    [
        ({"text": "no task of ours"}, answer(1, [side("left")]), "foreign_task"),
        (task_data(1, judgement="j2"), answer(1, [side("left")]), "foreign_task"),
        ({**task_data(1), "uid": "j1-9999"}, answer(1, [side("left")]), "unknown_task"),
        (CHANGED, answer(1, [side("left")]), "changed_task"),
        (task_data(1), answer(1, [side("left")], was_cancelled=True), "skipped"),
        (task_data(1), "left", "malformed_answer"),
        (task_data(1), answer(1, None), "malformed_answer"),
        (task_data(1), answer(1, ["left"]), "malformed_answer"),
        (task_data(1), answer(1, [{**side("left"), "value": {"choices": [3]}}]), "malformed_answer"),
        (task_data(1), answer(1, [{**side("left"), "from_name": "want_0"}]), "foreign_answer"),
        (task_data(1), answer(1, []), "empty_choice"),
        (task_data(1), answer(1, [remark("hard to say")]), "empty_choice"),
        (task_data(1), answer(1, [side("left", "tie")]), "several_choices"),
        (task_data(1), answer(1, [side("both")]), "unknown_choice"),
        (task_data(1), answer(1, [side("left")], by=None), "unknown_judge"),
    ],
)
def test_what_does_not_count_is_counted_with_its_reason(data: dict[str, Any], given: Any, reason: str):
    good = answer(9, [side("right")], by=9)
    found = read_answers([exported(data, given), exported(task_data(2), good)], key())
    assert found.counts() == {reason: 1}
    assert found.received == 2
    assert [vote.judge for vote in found.votes] == ["user:9"]
    assert reason in REASONS


def test_of_several_answers_of_a_judge_the_last_sent_counts_in_whatever_order_they_come():
    early = answer(1, [side("left")], at="2026-02-03T10:00:00Z")
    late = answer(2, [side("tie"), remark(" close "), remark("very")], at="2026-02-03T11:00:00Z")
    for given in ([early, late], [late, early]):
        found = read_answers([exported(task_data(1), *given, drafts=2)], key())
        (vote,) = found.votes
        assert (vote.choice, vote.comment) == ("tie", "close / very")
        assert (found.received, found.counts(), found.drafts) == (2, {"superseded": 1}, 2)


def test_a_judge_is_who_the_task_was_assigned_to_unless_another_judge_sent_the_answer():
    people = ("ann@x.org", "bo@x.org")
    users = {1: "Owner@x.org", 2: "bo@x.org"}
    mine = task_data(1, annotator="ann@x.org")
    assert outcomes(exported(mine, answer(1, [side("left")], by=1)), annotators=people, users=users) == {
        ("j1-0001", "ann@x.org"): "win"
    }
    assert outcomes(exported(mine, answer(1, [side("left")], by=2)), annotators=people, users=users) == {
        ("j1-0001", "bo@x.org"): "win"
    }
    # nobody was assigned: whoever sent it, by what is known of them
    free = [
        answer(1, [side("left")], by=1),
        answer(2, [side("left")], by={"id": 5, "email": "Cleo@x.org"}),
        answer(3, [side("left")], by="dan@x.org"),
        answer(4, [side("left")], by=7),
    ]
    assert {judge for _, judge in outcomes(exported(task_data(1), *free), users=users)} == {
        "owner@x.org",
        "cleo@x.org",
        "dan@x.org",
        "user:7",
    }
    # a name that tasks were never assigned to is not believed
    stranger = task_data(1, annotator="eve@x.org")
    assert set(outcomes(exported(stranger, answer(1, [side("left")], by=7)), annotators=people)) == {
        ("j1-0001", "user:7")
    }
