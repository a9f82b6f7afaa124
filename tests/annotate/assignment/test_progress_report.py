"""Counting what is done, worked by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from annotate.assignment.progress_report import Answer, Count, TouchedTask, WantedTask, WorkPart, report_progress

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
ANN, BO = "ann@x", "bo@x"

# two dialogues: a in two windows of 3 and 2 turns, b in one of 4
WANTED = {"a#0": WantedTask("a", 3), "a#1": WantedTask("a", 2), "b#0": WantedTask("b", 4)}


def by(annotator: str, seconds: float | None = 30.0, *, skipped: bool = False, days: int = 0) -> Answer:
    return Answer(annotator, seconds, NOW - timedelta(days=days), skipped)


def test_a_dialogue_is_done_with_its_last_task_and_a_skipped_task_is_still_open():
    touched = {"a#0": TouchedTask((by(ANN),)), "b#0": TouchedTask((by(ANN, skipped=True),), has_draft=True)}
    report = report_progress([WorkPart(1, "p", WANTED, touched, annotator=ANN)], now=NOW, source="here")
    (row,) = report.rows
    assert (row.tasks, row.dialogues, row.turns) == (Count(1, 3), Count(0, 2), Count(3, 9))
    assert (row.left, row.skipped, row.drafts) == (2, 1, 1)
    assert row.pace.median == 10  # 30 seconds, 3 turns; the skipped task has no pace
    assert row.finish is not None
    assert row.finish.earliest == row.finish.latest == NOW + timedelta(seconds=(2 + 4) * 10)


def test_a_task_skipped_by_one_and_answered_by_another_is_done():
    touched = {"b#0": TouchedTask((by(ANN, skipped=True), by(BO)))}
    report = report_progress([WorkPart(1, "p", WANTED, touched)], now=NOW, source="here")
    assert (report.overall.tasks, report.overall.skipped) == (Count(1, 3), 0)


def test_what_two_were_assigned_is_to_be_done_twice():
    parts = [WorkPart(1, "p", WANTED, {}, annotator=ANN), WorkPart(2, "q", WANTED, {}, annotator=BO)]
    overall = report_progress(parts, now=NOW, source="here").overall
    assert (overall.tasks, overall.dialogues, overall.turns) == (Count(0, 6), Count(0, 4), Count(0, 18))
    assert overall.finish is None


def test_what_anybody_may_answer_shows_who_did_without_counting_it_twice():
    touched = {"a#0": TouchedTask((by(ANN), by(BO, 60))), "a#1": TouchedTask((by(BO, 10),))}
    report = report_progress([WorkPart(1, "p", WANTED, touched)], now=NOW, source="here")
    everybody, ann, bo = report.rows
    assert (everybody.annotator, everybody.tasks, everybody.dialogues) == (None, Count(2, 3), Count(1, 2))
    assert [(row.annotator, row.is_share, row.turns) for row in (ann, bo)] == [
        (ANN, True, Count(3, 3)),
        (BO, True, Count(5, 5)),
    ]
    assert (ann.pace.median, bo.pace.median) == (10, 12.5)  # bo: 60/3 and 10/2
    assert report.overall.tasks == Count(2, 3)
    assert report.overall.pace.measured == 3


def test_batches_of_one_annotator_are_done_one_after_the_other():
    done = {"a#0": TouchedTask((by(ANN, days=1),)), "a#1": TouchedTask((by(ANN, days=2),)), "b#0": TouchedTask(())}
    more = {f"c#{number}": WantedTask(f"c{number}", 5) for number in range(3)}
    rows = report_progress(
        [WorkPart(2, "p", more, {}, annotator=ANN), WorkPart(1, "p", WANTED, done, annotator=ANN)], now=NOW, source="s"
    ).rows
    assert [row.batch for row in rows] == [1, 2]
    first, second = (row.finish for row in rows)
    assert first is not None
    assert second is not None
    assert second.earliest > first.earliest


def test_who_has_left_holds_up_nobody():
    parts = [
        WorkPart(1, "p", WANTED, {}, annotator=ANN, has_left=True),
        WorkPart(2, "q", WANTED, {"a#0": TouchedTask((by(BO),))}, annotator=BO),
    ]
    report = report_progress(parts, now=NOW, source="here")
    assert report.rows[0].finish is None
    assert report.overall.finish == report.rows[1].finish is not None


def test_an_end_is_in_sight_only_when_everybodys_is():
    parts = [
        WorkPart(1, "p", WANTED, {}, annotator=ANN),
        WorkPart(2, "q", WANTED, {"a#0": TouchedTask((by(BO),))}, annotator=BO),
    ]
    assert report_progress(parts, now=NOW, source="here").overall.finish is None


def test_the_json_holds_what_the_table_shows():
    touched = {"a#0": TouchedTask((by(ANN, 5000), by(ANN, 30)))}
    part = WorkPart(1, "p", WANTED, touched, annotator=ANN, role="review")
    value = report_progress([part], now=NOW, source="http://x", notes=["n"]).as_json()
    assert (value["source"], value["at"], value["notes"]) == ("http://x", "2026-03-10T12:00:00Z", ["n"])
    assert value["rows"][0] == {
        "annotator": ANN,
        "batch": 1,
        "place": "p",
        "role": "review",
        "tasks": {"done": 1, "total": 3},
        "dialogues": {"done": 0, "total": 2},
        "turns": {"done": 3, "total": 9},
        "left": 2,
        "skipped": 0,
        "drafts": 0,
        "seconds_per_turn": {"median": 10.0, "quartiles": [10.0, 10.0], "measured": 1, "left_open": 1},
        "finish": {
            "earliest": "2026-03-10T12:01:00Z",
            "latest": "2026-03-10T12:01:00Z",
            "assuming": "working on without a break",
        },
        "is_share": False,
        "has_left": False,
    }
