from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.provenance.trace import trace_cell
from pipeline.workspace import Workspace
from schemas.errors import UsageError, WorkspaceError
from schemas.tables import ANNOTATIONS, write_table
from tests.label_exports import answer, answered, pick, save, tasks_of, typed
from tests.labelling_corpus import dialogue, write_workspace

D1 = dialogue("d1", users=4)
TASK = tasks_of([D1], window=4)[0]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [D1, dialogue("d2", users=1)])


def take_in(workspace: Workspace, folder: Path, *answers: Any, task: Any = TASK, **options: Any) -> str:
    report = ingest_labels(
        workspace, IngestRequest(export=save(folder / "e.json", [answered(task, *answers)]), **options)
    )
    return str(report.export_sha256)


def steps(workspace: Workspace, turn: int, slot: str = "color") -> list[tuple[int, list[str], str]]:
    trace = trace_cell(workspace, "d1", turn=turn, slot=slot)
    return [(step.origin.turn, [value.value for value in step.origin.values], step.origin.why) for step in trace.steps]


def standings(workspace: Workspace, turn: int) -> list[tuple[str, str, list[str | None]]]:
    (step, *_) = trace_cell(workspace, "d1", turn=turn, slot="color").steps
    return [
        (each.spoken.standing, each.spoken.annotation.annotator, [mark.value or mark.op for mark in each.spoken.marks])
        for each in step.witnesses
    ]


def test_a_value_carried_over_is_traced_to_the_turn_that_set_it(workspace: Workspace, tmp_path: Path):
    marks = [pick("want_0", "color=red"), pick("dislike_1", "color=black"), pick("want_3", "price=cheap")]
    take_in(workspace, tmp_path, answer(5, marks))
    only = "said by the only annotator of the turn"
    assert steps(workspace, 6) == [(2, ["black"], only), (0, ["red"], only)]
    assert steps(workspace, 0) == [(0, ["red"], only)]
    assert steps(workspace, 6, "price") == [(6, ["cheap"], only)]
    assert steps(workspace, 4, "price") == [(0, [], "nothing was asked of it up to here")]
    trace = trace_cell(workspace, "d1", turn=6, slot="color")
    assert [step.text for step in trace.steps] == ["I want red 1", "I want red 0"]
    assert (trace.text, trace.file.name, trace.split) == ("I want red 3", "D_F.parquet", "train")


def test_said_again_it_is_traced_to_where_it_was_said_last(workspace: Workspace, tmp_path: Path):
    marks = [pick("want_0", "color=red"), pick("want_1", "color=blue"), typed("free_2", "color=RED")]
    take_in(workspace, tmp_path, answer(5, marks))
    assert [step[:2] for step in steps(workspace, 6)] == [(4, ["red"])]
    assert [step[:2] for step in steps(workspace, 2)] == [(2, ["blue"])]


def test_a_slot_emptied_is_traced_to_the_drop_or_the_new_topic(workspace: Workspace, tmp_path: Path):
    marks = [pick("want_0", "color=red", "price=cheap"), pick("op_1", "drop=color"), pick("op_2", "flag=new_topic")]
    take_in(workspace, tmp_path, answer(5, marks))
    assert steps(workspace, 2)[0][::2] == (2, "dropped: said by the only annotator of the turn")
    assert steps(workspace, 6)[0][::2] == (4, "a new topic starts: said by the only annotator of the turn")
    assert steps(workspace, 6, "price")[0][0] == 4


def test_an_unknown_cell_says_since_when_and_why(workspace: Workspace, tmp_path: Path):
    take_in(workspace, tmp_path, answer(5, [pick("want_0", "color=red"), pick("op_1", "flag=unsure")]))
    assert steps(workspace, 2) == [(2, [], "unknown since then: the turn could not be labelled")]
    assert steps(workspace, 6)[0][2].startswith("unknown since then: the turn could not be labelled")
    trace = trace_cell(workspace, "d1", turn=6, slot="color")
    assert (trace.values(), trace.file.name) == (None, "D_P.parquet")
    other = trace_cell(workspace, "d2", turn=0, slot="color")
    assert other.steps[0].origin.why == "unknown since then: nobody has labelled the turn"
    assert other.steps[0].witnesses == ()


def test_everyone_is_shown_with_what_became_of_them(workspace: Workspace, tmp_path: Path):
    given = [
        answer(1, [pick("want_0", "color=red")], by=1),
        answer(2, [pick("want_0", "color=red")], by=2),
        answer(3, [pick("want_0", "color=blue")], by=3),
        answer(4, [pick("want_0", "color=black")], by=4, at="2026-02-02T10:00:00Z"),
    ]
    take_in(workspace, tmp_path, *given)
    later = [
        answer(3, [pick("want_0", "color=black")], by=3, at="2026-02-04T10:00:00Z"),
        answer(4, [], by=4, at="2026-02-04T10:00:00Z", was_cancelled=True),
        answer(6, [pick("want_0", "color=red")], by=1, at="2026-02-04T10:00:00Z"),
    ]
    take_in(workspace, tmp_path, *later)
    assert sorted(standings(workspace, 0)) == [
        ("in force", "user:1", ["red"]),
        ("in force", "user:2", ["red"]),
        ("outvoted", "user:3", ["black"]),
        ("superseded", "user:1", ["red"]),
        ("superseded", "user:3", ["blue"]),
        ("withdrawn", "user:4", ["black"]),
    ]
    assert steps(workspace, 6)[0] == (0, ["red"], "decided by the majority")


def test_a_dispute_and_a_verdict_are_told(workspace: Workspace, tmp_path: Path):
    take_in(
        workspace,
        tmp_path,
        answer(1, [pick("want_0", "color=red")], by=1),
        answer(2, [pick("want_0", "color=blue")], by=2),
    )
    assert steps(workspace, 4) == [(0, [], "unknown since then: annotators differ, and nothing has decided yet")]
    assert [standing for standing, _, _ in standings(workspace, 4)] == ["disputed", "disputed"]
    review = {"data": {**TASK["data"], "role": "review"}}
    take_in(workspace, tmp_path, answer(9, [pick("want_0", "color=blue")], by=7), task={**review, "id": 99})
    assert steps(workspace, 4) == [(0, ["blue"], "decided by a reviewer")]
    found = standings(workspace, 4)
    assert found[0] == ("in force", "user:7", ["blue"])
    assert [standing for standing, _, _ in found[1:]] == ["overruled", "overruled"]


def test_the_corpus_is_overruled_by_people(workspace: Workspace, tmp_path: Path):
    said = {"annotation_id": "corpus:d1", "dialogue_id": "d1", "annotator": "corpus", "op": "want", "slot": "color"}
    said |= {"value": "blue", "polarity": "like", "origin": "corpus", "ontology_version": 1, "role": "label"}
    empty = dict.fromkeys(ANNOTATIONS.columns.names)
    write_table(workspace.annotations, ANNOTATIONS, [{**empty, **said, "untouched": False, "turn": 0}])
    ingest_labels(workspace, IngestRequest())
    assert steps(workspace, 0) == [(0, ["blue"], "said by the corpus")]
    take_in(workspace, tmp_path, answer(1, [pick("want_0", "color=red")]))
    assert [standing for standing, _, _ in standings(workspace, 0)] == ["in force", "overruled"]


def test_every_source_is_named(workspace: Workspace, tmp_path: Path):
    tasks = tmp_path / "tasks.json"
    export_for_labelling(workspace, ExportRequest(Selection(split="all"), to_file=tasks, window=4))
    task = next(task for task in json.loads(tasks.read_bytes()) if task["data"]["dialogue_id"] == "d1")
    sha256 = take_in(
        workspace, tmp_path, answer(5, [pick("want_0", "color=red", origin="prediction")], lead_time=12.5), task=task
    )
    (step,) = trace_cell(workspace, "d1", turn=2, slot="color").steps
    (witness,) = step.witnesses
    found = witness.as_json()
    assert (
        found
        | {
            "standing": "in force",
            "annotator": "user:1",
            "completed_by": "1",
            "lead_time": 12.5,
            "marks": [{"op": "want", "slot": "color", "value": "red", "origin": "prediction"}],
            "project": "7",
            "task_id": "35",
            "task_uid": "d1#0",
            "task_url": None,
            "annotation_id": "ls:7:a5",
            "config_sha256": task["data"]["config_sha256"],
            "batch": str(workspace.labelling / "batch-0001"),
            "export_sha256": sha256,
            "raw_export": str(workspace.raw_exports / f"{sha256}.json.gz"),
            "ontology_version": 3,
        }
        == found
    )


def test_marks_of_an_older_ontology_are_shown_as_marked(workspace: Workspace, tmp_path: Path):
    take_in(workspace, tmp_path, answer(5, [pick("want_0", "color=red")]))
    assert _run(["-w", str(workspace.root), "ontology", "rename", "color=red", "crimson", "--offline"]) == 0
    ingest_labels(workspace, IngestRequest())
    (step,) = trace_cell(workspace, "d1", turn=2, slot="color").steps
    assert (step.origin.turn, [value.value for value in step.origin.values]) == (0, ["crimson"])
    assert [mark.value for mark in step.witnesses[0].spoken.marks] == ["red"]
    assert step.witnesses[0].spoken.annotation.ontology_version == 3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("d11", 0, "color"), "unknown dialogue 'd11'.*did you mean 'd1'"),
        (("d1", 3, "color"), "turn 3 of dialogue 'd1' is no user turn; the nearest one is 2"),
        (("d1", 99, "color"), "nearest one is 6"),
        (("d1", 0, "colour"), "unknown slot 'colour'; did you mean 'color'"),
        (("d1", 0, "voltage"), "one of color, price"),
    ],
)
def test_what_is_not_there_is_one_error_that_names_the_nearest(
    asked: tuple[str, int, str], said: str, workspace: Workspace, tmp_path: Path
):
    take_in(workspace, tmp_path, answer(5, []))
    with pytest.raises(UsageError, match=said):
        trace_cell(workspace, asked[0], turn=asked[1], slot=asked[2])


def test_before_any_ingest_the_mend_is_named(workspace: Workspace):
    with pytest.raises(WorkspaceError, match="semctl ingest-labels"):
        trace_cell(workspace, "d1", turn=0, slot="color")


def test_the_command_prints_a_table_and_one_object(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    take_in(workspace, tmp_path, answer(5, [pick("want_0", "color=red")]))
    semctl = ["-w", str(workspace.root), "trace", "d1", "--turn", "2", "--slot", "color"]
    assert _run(semctl) == 0
    shown = capsys.readouterr().out
    for expected in ("d1, turn 2: color = red", "turn 0; said by the only annotator", "in force", "want red", "d1#0"):
        assert expected in shown
    assert _run([*semctl, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["steps"][0]["turn"], found["steps"][0]["annotations"][0]["annotator"]) == (0, "user:1")
    assert found["values"][0]["value"] == "red"
