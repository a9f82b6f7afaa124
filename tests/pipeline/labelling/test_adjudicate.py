"""Answers that differ, a reviewer, and what the next ingest makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import _run
from pipeline.labelling.adjudicate import AdjudicateRequest, adjudicate
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError, WorkspaceError
from schemas.tables import ANNOTATIONS, D_F, D_P, STATES, read_table
from tests.label_exports import answer, answered, hashes, marked, pick, save, states_in, tasks_of
from tests.labelling_corpus import dialogue, write_workspace

D1 = dialogue("d1", users=3)
D2 = dialogue("d2", users=2)
RED, BLUE, BLACK = ("color=red", "color=blue", "color=black")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two annotators agree on d2 and on the first and last turn of d1, not on the second."""
    space = write_workspace(tmp_path / "shop", [D1, D2])
    ingest(space, "ann", 1, {"d1": {0: RED, 1: BLUE, 2: "price=cheap"}, "d2": {0: BLACK}})
    ingest(space, "bo", 2, {"d1": {0: RED, 1: BLACK, 2: "price=cheap"}, "d2": {0: BLACK}})
    return space


def ingest(space: Workspace, name: str, who: int, wants: dict[str, dict[int, str]], day: int = 3, **options: Any):
    """One annotator's answers to both dialogues, each in one task, from a project of their own."""
    tasks = {task["data"]["dialogue_id"]: task for task in tasks_of([D1, D2], window=3)}
    export = [
        answered(
            {**tasks[dialogue_id], "id": number},
            answer(
                number,
                [pick(f"want_{index}", value) for index, value in said.items()],
                by=who,
                at=f"2026-02-{day:02d}T10:00:00Z",
            ),
            project=who,
        )
        for number, (dialogue_id, said) in enumerate(wants.items())
    ]
    return ingest_labels(space, IngestRequest(export=save(space.root.parent / f"{name}-{day}.json", export), **options))


def reviewed(space: Workspace, tasks: Path, results: list[list[dict[str, Any]]], project: int = 9):
    """A reviewer answers the tasks of a file."""
    given = json.loads(tasks.read_bytes())
    export = [
        answered({"data": task["data"], "id": n}, answer(n, result, by=9, at="2026-03-01T10:00:00Z"), project=project)
        for n, (task, result) in enumerate(zip(given, results, strict=True))
    ]
    return ingest_labels(space, IngestRequest(export=save(space.root.parent / f"verdicts-{project}.json", export)))


def of_reviews(report: dict[str, Any]) -> dict[str, int]:
    return {code: report["findings"][code] for code in report["findings"] if "review" in code or "verdict" in code}


def rows_of(space: Workspace) -> dict[tuple[str, int], dict[str, Any]]:
    return {(row["dialogue_id"], row["turn"]): row for row in read_table(space.states, STATES).to_pylist()}


def test_agreeing_answers_merge_and_a_dispute_puts_its_dialogue_into_d_p(workspace: Workspace):
    rows = rows_of(workspace)
    assert rows["d2", 0]["annotators"] == ["user:1", "user:2"]
    assert len(rows["d2", 0]["source_annotations"]) == 2
    disputed = rows["d1", 2]
    assert (disputed["decided_by"], disputed["disputed_slots"]) == ("disputed", ["color"])
    assert [rows["d1", turn]["labelled_slots"] for turn in (0, 2, 4)] == [["color", "price"], ["price"], ["price"]]
    assert read_table(workspace.d_f, D_F).column("dialogue_id").to_pylist() == ["d2", "d2"]
    partial = read_table(workspace.d_p, D_P)
    assert partial.column("dialogue_id").to_pylist() == ["d1"] * 3
    assert partial.column_names == D_P.columns.names
    assert "decided_by" not in partial.column_names


def test_the_report_says_what_became_of_turns_of_several(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    report = ingest_labels(workspace, IngestRequest()).as_json()["resolved"]
    assert report == {
        "policy": "majority",
        "turns_of_several": 5,
        "agreed": 4,
        "by_policy": 0,
        "disputed": 1,
        "by_verdict": 0,
        "disputed_dialogues": 1,
        "annotators": {},
    }
    assert _run(["-w", str(workspace.root), "ingest-labels"]) == 0
    shown = capsys.readouterr().out
    assert "answered by several" in shown
    assert "a reviewer decides:" in " ".join(shown.split())
    assert "adjudicate" in shown


def test_the_reviewers_verdict_is_the_state_and_agreed_labels_stay(workspace: Workspace, tmp_path: Path):
    tasks = tmp_path / "review.json"
    result = adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    assert (result.tasks_new, result.turns_new, result.disputed, result.dialogues) == (1, 1, 1, 1)
    (task,) = json.loads(tasks.read_bytes())
    assert [turn["turn"] for turn in task["data"]["user_turns"]] == [2]
    report = reviewed(workspace, tasks, [[pick("want_0", BLACK)]]).as_json()
    assert report["annotations"] == {"received": 1, "accepted": 1, "quarantined": 0, "skipped": 0, "superseded": 0}
    assert (report["resolved"]["by_verdict"], report["resolved"]["disputed"]) == (1, 0)
    states = states_in(workspace)
    assert [marked(states["d1", turn]) for turn in (0, 2, 4)] == [
        {"color=red"},
        {"color=black"},
        {"color=black", "price=cheap"},
    ]
    row = rows_of(workspace)["d1", 2]
    assert (row["annotators"], row["decided_by"]) == (["user:9"], "verdict")
    assert report["d_f"]["dialogues"] == 2


@pytest.mark.parametrize("color", ["blue", "black"])
def test_a_reviewer_takes_over_an_annotators_answer_by_one_choice(workspace: Workspace, tmp_path: Path, color: str):
    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    (task,) = json.loads(tasks.read_bytes())
    held = task["data"]["answers"]["2"]
    (name,) = [name for name, entries in held.items() if entries == [["want", f"color={color}"]]]
    choice = {"from_name": "take_0", "to_name": "u0", "type": "choices", "value": {"choices": [name]}}
    report = reviewed(workspace, tasks, [[{**choice, "origin": "manual"}]]).as_json()
    assert report["annotations"]["quarantined"] == 0
    assert rows_of(workspace)["d1", 2]["decided_by"] == "verdict"
    assert marked(states_in(workspace)["d1", 2]) == {f"color={color}"}
    assert marked(states_in(workspace)["d1", 4]) == {f"color={color}", "price=cheap"}


def test_a_review_sent_untouched_is_no_verdict_and_is_asked_again(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    report = reviewed(workspace, tasks, [[]]).as_json()
    row = rows_of(workspace)["d1", 2]
    assert (row["decided_by"], row["disputed_slots"], row["labelled_slots"]) == ("disputed", ["color"], ["price"])
    assert (report["resolved"]["by_verdict"], report["d_f"]["dialogues"]) == (0, 1)
    assert report["annotations"]["accepted"] == 1
    assert of_reviews(report) == {"undecided_review": 1}
    assert "d1" not in workspace.requeue.read_text().split()  # labelled again it would be in dispute again
    again = adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    assert (again.tasks_new, again.turns_new, again.waiting, again.left_open, again.decided) == (1, 1, 0, 1, 0)
    assert again.vanished == ()
    assert [task["data"]["uid"] for task in json.loads(tasks.read_bytes())] == ["d1#0", "d1#1"]
    waiting = adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    assert (waiting.tasks_new, waiting.waiting, waiting.left_open) == (0, 1, 0)
    assert _run(["-w", str(workspace.root), "adjudicate", "--to-file", str(tasks)]) == 0
    assert "left open by the reviewer" in capsys.readouterr().out
    reviewed(workspace, tasks, [[], [pick("want_0", BLACK)]])
    assert rows_of(workspace)["d1", 2]["decided_by"] == "verdict"
    assert marked(states_in(workspace)["d1", 2]) == {"color=black"}
    done = adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    assert (done.tasks_new, done.decided, done.left_open) == (0, 1, 0)


def filled_in(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of a page as it opens."""
    (prediction,) = task["predictions"]
    return [{**entry, "origin": "prediction"} for entry in prediction["result"]]


def sent(space: Workspace, tasks: Path, results: list[list[dict[str, Any]]], *, at: str = "2026-03-01T10:00:00Z"):
    """A reviewer sends every page of a file; Label Studio keeps a copy of what each started from."""
    given = json.loads(tasks.read_bytes())
    export = [
        answered(
            {"data": task["data"], "id": n},
            answer(n, result, by=9, at=at, prediction={**task["predictions"][0], "id": n}),
            project=9,
        )
        for n, (task, result) in enumerate(zip(given, results, strict=True), start=100)
    ]
    return ingest_labels(
        space, IngestRequest(export=save(space.root.parent / f"sent-{at[:10]}.json", export))
    ).as_json()


@pytest.fixture
def two_slots(tmp_path: Path) -> Workspace:
    """Two annotators agree on a red dress to be cheap, and differ on what the second turn says of price and colour."""
    space = write_workspace(tmp_path / "two", [D1, D2])
    for name, who, more in (("ann", 1, [BLUE, "price=25-50"]), ("bo", 2, [BLACK])):
        task = {task["data"]["dialogue_id"]: task for task in tasks_of([D1, D2], window=3)}["d1"]
        said = [pick("want_0", RED, "price=cheap"), pick("want_1", *more), pick("want_2", RED)]
        export = [answered({**task, "id": 1}, answer(who, said, by=who), project=who)]
        ingest_labels(space, IngestRequest(export=save(tmp_path / f"{name}.json", export)))
    return space


def test_each_slot_is_decided_by_itself(two_slots: Workspace, tmp_path: Path):
    tasks = tmp_path / "review.json"
    adjudicate(two_slots, AdjudicateRequest(to_file=tasks))
    sent(two_slots, tasks, [[pick("want_0", BLACK)]])
    row = rows_of(two_slots)["d1", 2]
    assert (row["decided_by"], row["disputed_slots"]) == ("disputed", ["price"])
    assert marked(states_in(two_slots)["d1", 2]) == {"color=black"}
    again = adjudicate(two_slots, AdjudicateRequest(to_file=tasks))
    assert (again.turns_new, again.left_open) == (1, 1)
    first, second = json.loads(tasks.read_bytes())
    assert filled_in(first) == []
    assert [entry["value"] for entry in filled_in(second)] == [{"taxonomy": [[BLACK]]}]
    # the second page decides the price; its colour, left as it was filled in, is still that of the first
    sent(two_slots, tasks, [[pick("want_0", BLACK)], [pick("want_0", BLACK, "price=25-50")]])
    assert rows_of(two_slots)["d1", 2]["decided_by"] == "verdict"
    assert marked(states_in(two_slots)["d1", 2]) == {"color=black", "price=25-50"}


def test_what_annotators_agreed_on_survives_a_review_in_any_form(workspace: Workspace, tmp_path: Path):
    ingest(workspace, "bo", 2, {"d1": {0: BLUE, 1: BLUE, 2: "price=cheap"}}, day=4)
    ingest(workspace, "ann", 1, {"d1": {0: RED, 1: BLUE, 2: "price=cheap"}}, day=4)
    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    sent(workspace, tasks, [filled_in(task) for task in json.loads(tasks.read_bytes())])
    rows = rows_of(workspace)
    assert (rows["d1", 0]["decided_by"], rows["d1", 2]["decided_by"]) == ("disputed", "agreement")
    assert [marked(states_in(workspace)["d1", turn]) for turn in (2, 4)] == [
        {"color=blue"},
        {"color=blue", "price=cheap"},
    ]


def test_answers_after_the_verdict_make_it_outdated_and_the_reviewer_is_asked_again(
    workspace: Workspace, tmp_path: Path
):
    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    reviewed(workspace, tasks, [[pick("want_0", BLACK)]])
    assert of_reviews(ingest_labels(workspace, IngestRequest()).as_json()) == {}
    report = ingest(workspace, "bo", 2, {"d1": {0: RED, 1: BLUE, 2: "price=cheap"}}, day=20).as_json()
    assert marked(states_in(workspace)["d1", 2]) == {"color=black"}  # it holds until somebody looks again
    assert of_reviews(report) == {"outdated_verdict": 1}
    again = adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    assert (again.turns_new, again.outdated, again.decided) == (1, 1, 0)
    asked = json.loads(tasks.read_bytes())[-1]
    results = [[pick("want_0", BLACK)], [pick("want_0", BLUE)]]
    sent(workspace, tasks, results, at="2026-03-05T10:00:00Z")
    assert asked["data"]["uid"] == "d1#1"
    assert marked(states_in(workspace)["d1", 2]) == {"color=blue"}
    done = adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    assert (done.tasks_new, done.outdated, done.decided) == (0, 0, 1)


def test_answers_that_come_to_say_what_the_verdict_says_make_it_no_older(workspace: Workspace, tmp_path: Path):
    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    reviewed(workspace, tasks, [[pick("want_0", BLACK)]])
    report = ingest(workspace, "ann", 1, {"d1": {0: RED, 1: BLACK, 2: "price=cheap"}}, day=20).as_json()
    assert of_reviews(report) == {}
    assert adjudicate(workspace, AdjudicateRequest(to_file=tasks)).tasks_new == 0


def test_a_page_opened_before_an_answer_changed_decides_what_it_showed(workspace: Workspace, tmp_path: Path):
    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    ingest(workspace, "bo", 2, {"d1": {0: RED, 1: RED, 2: "price=cheap"}}, day=4)
    report = sent(workspace, tasks, [[pick("want_0", BLACK)]])  # later than the change, but the page is older
    assert of_reviews(report) == {"outdated_verdict": 1}


def test_a_turn_that_others_decided_and_the_reviewer_left_is_not_asked_again(workspace: Workspace, tmp_path: Path):
    ingest(workspace, "cy", 3, {"d1": {0: RED, 1: BLUE, 2: "price=cheap"}})
    tasks = tmp_path / "all.json"
    assert adjudicate(workspace, AdjudicateRequest(to_file=tasks, min_disagreement=0)).turns_new == 1
    sent(workspace, tasks, [filled_in(task) for task in json.loads(tasks.read_bytes())])
    assert marked(states_in(workspace)["d1", 2]) == {"color=blue"}
    again = adjudicate(workspace, AdjudicateRequest(to_file=tasks, min_disagreement=0))
    assert (again.turns_new, again.waiting, again.decided, again.left_open) == (0, 0, 1, 0)


def test_a_review_that_gives_the_turn_up_leaves_it_unlabelled(workspace: Workspace, tmp_path: Path):
    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    sent(workspace, tasks, [[pick("op_0", "flag=unsure")]])
    assert rows_of(workspace)["d1", 2]["decided_by"] == "verdict"
    assert states_in(workspace)["d1", 2] is None


def test_a_review_stored_by_an_earlier_version_is_a_verdict_unless_it_was_untouched(
    workspace: Workspace, tmp_path: Path
):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    sent(workspace, tasks, [[pick("want_0", BLACK)]])
    columns = ANNOTATIONS.earlier[2]
    kept = read_table(workspace.annotations, ANNOTATIONS).select(columns.names)
    kept = kept.filter(pc.invert(pc.is_in(kept["op"], pa.array(["decided", "left_open"]))))
    metadata = {"semctl.table": "annotations", "semctl.schema_version": "2", "semctl.inputs": "{}"}
    for untouched, decided_by in ((False, "verdict"), (True, "disputed")):
        values = pa.array([untouched and role == "review" for role in kept["role"].to_pylist()])
        stored = kept.set_column(columns.names.index("untouched"), "untouched", values)
        pq.write_table(pa.table(stored.columns, schema=columns.with_metadata(metadata)), workspace.annotations)
        ingest_labels(workspace, IngestRequest())
        assert rows_of(workspace)["d1", 2]["decided_by"] == decided_by


def test_a_verdict_wins_over_answers_given_later(workspace: Workspace, tmp_path: Path):
    adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "review.json"))
    reviewed(workspace, tmp_path / "review.json", [[pick("want_0", BLACK)]])
    for name, who in (("ann", 1), ("bo", 2)):
        ingest(workspace, name, who, {"d1": {0: RED, 1: BLUE}}, day=20)
    assert marked(states_in(workspace)["d1", 2]) == {"color=black"}


def test_run_again_it_adds_nothing_and_writes_the_same_bytes(workspace: Workspace, tmp_path: Path):
    adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "review.json"))
    before = hashes(tmp_path)
    again = adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "review.json"))
    assert (again.tasks_new, again.waiting, again.decided, again.batch) == (0, 1, 0, None)
    assert hashes(tmp_path) == before


def test_only_new_disputes_are_added_and_decided_ones_are_not(workspace: Workspace, tmp_path: Path):
    tasks = tmp_path / "review.json"
    adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    reviewed(workspace, tasks, [[pick("want_0", BLACK)]])
    ingest(workspace, "bo", 2, {"d1": {0: BLUE, 1: BLACK, 2: "price=cheap"}, "d2": {0: RED}}, day=4)
    again = adjudicate(workspace, AdjudicateRequest(to_file=tasks))
    assert (again.tasks_new, again.turns_new, again.waiting, again.decided) == (2, 2, 0, 1)
    asked = [
        (t["data"]["uid"], [turn["turn"] for turn in t["data"]["user_turns"]]) for t in json.loads(tasks.read_bytes())
    ]
    assert asked == [("d1#0", [2]), ("d1#1", [0]), ("d2#0", [0])]
    reviewed(workspace, tasks, [[], [pick("want_0", RED)], [pick("want_0", RED)]], project=10)
    states = states_in(workspace)
    assert (marked(states["d1", 0]), marked(states["d2", 0])) == ({"color=red"}, {"color=red"})
    assert ingest_labels(workspace, IngestRequest()).as_json()["d_p"]["dialogues"] == 0


def test_a_dispute_that_an_annotator_took_back_and_one_that_changed_are_reported(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "review.json"))
    ingest(workspace, "bo", 2, {"d1": {0: RED, 1: RED, 2: "price=cheap"}}, day=4)
    changed = adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "review.json"))
    assert [(one.dialogue_id, one.turn, one.uid) for one in changed.changed] == [("d1", 2, "d1#0")]
    assert (changed.tasks_new, changed.waiting, changed.vanished) == (0, 1, ())
    ingest(workspace, "bo", 2, {"d1": {0: RED, 1: BLUE, 2: "price=cheap"}}, day=5)
    gone = adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "review.json"))
    assert [(one.dialogue_id, one.turn, one.uid) for one in gone.vanished] == [("d1", 2, "d1#0")]
    assert (gone.tasks_new, gone.waiting, gone.disputed) == (0, 0, 0)
    options = ["-w", str(workspace.root), "adjudicate", "--to-file", str(tmp_path / "review.json")]
    assert _run([*options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vanished"] == [{"dialogue_id": "d1", "turn": 2, "uid": "d1#0"}]
    assert _run(options) == 0
    assert "no longer in dispute, a verdict would still count: d1, turn 2 (task d1#0)" in capsys.readouterr().err


def test_what_the_majority_decided_is_no_vanished_dispute(workspace: Workspace, tmp_path: Path):
    ingest(workspace, "cy", 3, {"d1": {0: RED, 1: BLUE, 2: "price=cheap"}})
    everything = adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "all.json", min_disagreement=0))
    assert everything.turns_new == 1
    undecided = adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "all.json"))
    assert (undecided.disputed, undecided.waiting, undecided.vanished) == (0, 1, ())


def test_the_policy_comes_from_the_settings_or_the_option(workspace: Workspace, tmp_path: Path):
    ingest(workspace, "cy", 3, {"d1": {0: RED, 1: BLUE, 2: "price=cheap"}})
    assert marked(states_in(workspace)["d1", 2]) == {"color=blue"}
    report = ingest_labels(workspace, IngestRequest(resolve_by="adjudicated")).as_json()["resolved"]
    assert (report["policy"], report["disputed"], report["by_policy"]) == ("adjudicated", 1, 0)
    settings = workspace.settings_file.read_text()
    assert 'resolve = "majority"' in settings
    workspace.settings_file.write_text(settings.replace('resolve = "majority"', 'resolve = "dawid-skene"'))
    report = ingest_labels(workspace, IngestRequest()).as_json()["resolved"]
    assert (report["policy"], report["disputed"], report["by_policy"]) == ("dawid-skene", 0, 1)
    assert sorted(report["annotators"]) == ["user:1", "user:2", "user:3"]
    assert (
        adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "r.json", resolve_by="adjudicated")).turns_new == 1
    )
    with pytest.raises(UsageError, match="unknown policy 'dawid'; did you mean 'dawid-skene'"):
        ingest_labels(workspace, IngestRequest(resolve_by="dawid"))


def test_what_cannot_be_used_is_one_line(workspace: Workspace, tmp_path: Path):
    from pipeline.chosen_dialogues import Selection
    from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling

    export_for_labelling(workspace, ExportRequest(Selection(split="all"), to_file=tmp_path / "tasks.json"))
    with pytest.raises(LabelError, match="the file holds labelling tasks"):
        adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "tasks.json"))
    with pytest.raises(UsageError, match="this is a folder"):
        adjudicate(workspace, AdjudicateRequest(to_file=tmp_path))
    with pytest.raises(UsageError, match="is no share of the annotators"):
        adjudicate(workspace, AdjudicateRequest(to_file=tmp_path / "r.json", min_disagreement=1.0))
    fresh = write_workspace(tmp_path / "fresh", [D1])
    with pytest.raises(WorkspaceError, match=r"no annotations yet .*ingest-labels"):
        adjudicate(fresh, AdjudicateRequest(to_file=tmp_path / "r.json"))
    assert _run(["-w", str(workspace.root), "adjudicate"]) == 2


def test_states_of_the_first_table_version_are_still_read(workspace: Workspace):
    import pyarrow.parquet as pq

    columns = STATES.earlier[1]
    data = pq.read_table(workspace.states).select(columns.names)
    metadata = {b"semctl.table": b"states", b"semctl.schema_version": b"1", b"semctl.inputs": b"{}"}
    pq.write_table(data.cast(columns).replace_schema_metadata(metadata), workspace.states)
    assert len(states_in(workspace)) == 5
