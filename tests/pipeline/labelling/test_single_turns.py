"""Single turns, labelled by their whole state: from a list to the partial labels of D_P."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate.label_studio.gateway import connect
from annotate.simulated_annotators import Annotator, fill_tasks
from pipeline.chosen_dialogues import Selection, named_dialogues, named_turns
from pipeline.labelling.assigned_export import export_assigned
from pipeline.labelling.assignment_record import AssignmentRequest
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.modelling.state_tracking import labelled_dialogues
from pipeline.workspace import Workspace
from schemas.belief import BeliefState
from schemas.errors import LabelError, UsageError
from schemas.tables import D_F, D_P, FINDINGS, QUARANTINE, read_table
from tests.annotate.belief_strategies import ONTOLOGY as WIDE
from tests.annotate.belief_strategies import states
from tests.label_exports import answer, answered, gold_of, marked, pick, save, states_in, typed
from tests.labelling_corpus import ONTOLOGY, dialogue, turn, write_workspace
from tests.studio_fixtures import RunningStudio

RED, BLACK = (ONTOLOGY.link(ONTOLOGY.slot("color"), value) for value in ("red", "black"))
THIRTY = ONTOLOGY.link(ONTOLOGY.slot("price"), "30")
SAID = [
    turn(0, "user", "I want red", dialogue="d1"),
    turn(1, "system", "This?", "pixel", dialogue="d1"),
    turn(2, "user", "I would like something for 25-50", dialogue="d1"),
    turn(3, "system", "That?", "pixel", dialogue="d1"),
    turn(4, "user", "Thanks", dialogue="d1"),
    turn(5, "system", "Bye", dialogue="d1"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [SAID, dialogue("d2", users=2), dialogue("tab\there", users=1)])


def exported(workspace: Workspace, *lines: str, name: str = "tasks.json", **more: Any) -> list[dict[str, Any]]:
    listed = save(workspace.root / "turns.txt", "")
    listed.write_text("".join(f"{line}\n" for line in lines))
    export_for_labelling(workspace, ExportRequest(Selection(named=listed), to_file=workspace.root / name, **more))
    tasks: list[dict[str, Any]] = json.loads((workspace.root / name).read_text())
    return tasks


def ingested(workspace: Workspace, export: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    file = save(workspace.root / "export.json", export)
    return ingest_labels(workspace, IngestRequest(export=file, **more)).as_json()


def prefilled(task: dict[str, Any]) -> dict[str, Any]:
    return {entry["from_name"]: entry["value"] for entry in task["predictions"][0]["result"]}


def test_a_task_shows_the_turn_with_all_before_it_and_the_whole_state_filled_in(workspace: Workspace):
    (task,) = exported(workspace, "d1\t2")
    data = task["data"]
    assert (data["uid"], data["asks"], data["window"]) == ("d1#state1", "state", 1)
    assert "I want red" in data["past_html"]
    assert "mark the whole state after the turn below" in data["past_html"]
    (shown,) = data["user_turns"]
    assert shown["turn"] == 2
    assert "This?" in shown["html"]
    assert "I would like something for 25-50" in shown["html"]
    assert "That?" not in json.dumps(data)
    assert "so far" not in shown["html"]  # what is filled in is the state
    assert prefilled(task) == {"want_0": {"taxonomy": [["color=red"], ["price=25-50"]]}}
    # what the rules are sure of: two updates, each right with 0.5
    assert task["predictions"][0]["score"] == 0.25
    manifest = json.loads((workspace.labelling / "batch-0001" / "manifest.json").read_text())
    assert (manifest["asks"], manifest["window"], manifest["prelabel"]) == ("state", 1, "lexicon-v1@ontology3")


def test_turns_are_exported_by_dialogue_in_the_order_of_the_list(workspace: Workspace):
    tasks = exported(workspace, "d2\t2", "d1\t4", "", "d1\t0", "d1\t4")
    assert [task["data"]["uid"] for task in tasks] == ["d2#state1", "d1#state0", "d1#state2"]
    named = named_turns(workspace.root / "turns.txt", workspace.turns)
    assert named == {"d2": (2,), "d1": (0, 4)}


def test_a_line_that_is_an_id_names_that_dialogue(workspace: Workspace):
    tasks = exported(workspace, "tab\there", "d2")
    assert [task["data"]["uid"] for task in tasks] == ["tab\there#0", "d2#0"]
    assert all("asks" not in task["data"] for task in tasks)


def test_the_labelled_turn_is_known_and_the_gaps_around_it_are_not(workspace: Workspace):
    gold = gold_of([(RED,), (BLACK, THIRTY), (THIRTY,)], "d1")
    report = ingested(workspace, fill_tasks(exported(workspace, "d1\t2"), gold, ONTOLOGY))
    assert report["annotations"]["accepted"] == 1
    assert states_in(workspace) == dict.fromkeys(
        [("d1", 0), ("d1", 2), ("d1", 4), ("d2", 0), ("d2", 2), ("tab\there", 0)]
    ) | {("d1", 2): (BLACK, THIRTY)}
    rows = {row["turn"]: row for row in read_table(workspace.d_p, D_P).to_pylist() if row["dialogue_id"] == "d1"}
    assert [rows[at]["labelled_slots"] for at in (0, 2, 4)] == [[], ["color", "price"], []]
    assert read_table(workspace.d_f, D_F).num_rows == 0


def test_turns_labelled_alone_are_no_missing_windows(workspace: Workspace):
    ingested(workspace, fill_tasks(exported(workspace, "d1\t2"), gold_of([(), (RED,), ()], "d1"), ONTOLOGY))
    found = read_table(workspace.findings, FINDINGS).to_pylist()
    assert "missing_window" not in {row["code"] for row in found}


def test_an_emptied_page_says_that_nothing_is_wanted(workspace: Workspace):
    tasks = exported(workspace, "d1\t2", "d1\t4")
    ingested(workspace, [answered(task, answer(n, [])) for n, task in enumerate(tasks, start=1)])
    found = states_in(workspace)
    assert [found["d1", at] for at in (0, 2, 4)] == [None, (), ()]


@pytest.mark.parametrize(
    ("result", "state", "known"),
    [
        ([pick("want_0", "color=black")], {"color=black"}, ["color", "price"]),
        (
            [pick("op_0", "drop=price", "flag=new_topic"), pick("want_0", "color=red")],
            {"color=red"},
            ["color", "price"],
        ),
        ([pick("dislike_0", "color=red")], {"!color=red"}, ["color", "price"]),
        ([pick("want_0", "color=red"), typed("free_0", "price!=30")], {"color=red"}, ["color"]),
        ([pick("want_0", "color=red"), pick("op_0", "flag=unsure")], None, []),
        ([pick("op_0", "flag=bad_turn")], None, []),
    ],
)
def test_answers_worked_by_hand(workspace: Workspace, result: list[Any], state: set[str] | None, known: list[str]):
    (task,) = exported(workspace, "d1\t2")
    ingested(workspace, [answered(task, answer(1, result))])
    rows = {row["turn"]: row for row in read_table(workspace.d_p, D_P).to_pylist() if row["dialogue_id"] == "d1"}
    assert marked(states_in(workspace)["d1", 2]) == state
    assert rows[2]["labelled_slots"] == known


def test_a_later_edit_wins_and_a_skip_takes_the_label_away(workspace: Workspace):
    (task,) = exported(workspace, "d1\t2")
    for at, result, more, state in (
        ("2026-02-03T10:00:00Z", [pick("want_0", "color=red")], {}, {"color=red"}),
        ("2026-02-03T11:00:00Z", [pick("want_0", "color=black")], {}, {"color=black"}),
        ("2026-02-03T12:00:00Z", [], {"was_cancelled": True}, None),
    ):
        ingested(workspace, [answered(task, answer(1, result, at=at, **more))])
        assert marked(states_in(workspace)["d1", 2]) == state


def test_a_turn_of_a_dialogue_labelled_before_keeps_what_follows_it(workspace: Workspace):
    """Corrected in the middle, the updates of later turns lead on from there."""
    whole = exported(workspace, "d1", name="whole.json")
    gold = gold_of([(RED,), (RED, THIRTY), (THIRTY,)], "d1")
    export = fill_tasks(whole, gold, ONTOLOGY)
    (task,) = exported(workspace, "d1\t2")
    later = answer(99, [pick("want_0", "color=black")], at="2026-09-01T10:00:00Z")
    ingested(workspace, [*export, answered(task, later, project=1)])
    found = states_in(workspace)
    assert [marked(found["d1", at]) for at in (0, 2, 4)] == [{"color=red"}, {"color=black"}, set()]
    assert len(read_table(workspace.d_f, D_F)) == 3


@pytest.mark.parametrize("asks", ["nothing", None, ["state"], "update"])
def test_a_task_that_does_not_say_what_it_asks_for_is_refused(workspace: Workspace, asks: object):
    (task,) = exported(workspace, "d1\t2")
    task["data"]["asks"] = asks
    report = ingested(workspace, [answered(task, answer(1, [pick("want_0", "color=red")]))])
    assert report["quarantined"] == {"task_without_keys": 1}
    assert read_table(workspace.quarantine, QUARANTINE).num_rows == 1
    assert states_in(workspace)["d1", 2] is None


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["d1\t3"], r"turn 3 of dialogue 'd1' is no user turn \(.*line 1\); its user turns are 0, 2, 4"),
        (["d1\t2", "d1\t40"], r"turn 40 of dialogue 'd1' is no user turn \(.*line 2"),
        (["d1\t2", "d2"], r"single turns and the whole dialogue 'd2' \(.*line 2"),
        (["d1\t2", "d3\t0"], r"unknown dialogue 'd3' \(.*line 2"),
        (["d1\tlast"], r"'last' is no number of a turn \(.*line 1\)"),
        (["d1\t-2"], "'-2' is no number of a turn"),
    ],
)
def test_bad_lists_are_refused(workspace: Workspace, lines: list[str], says: str):
    with pytest.raises(UsageError, match=says):
        exported(workspace, *lines)
    assert not (workspace.root / "tasks.json").exists()


def test_turns_and_dialogues_do_not_share_a_place_and_turns_have_no_window(workspace: Workspace):
    exported(workspace, "d1")
    with pytest.raises(LabelError, match="holds whole dialogues, single turns are to be added"):
        exported(workspace, "d1\t2")
    exported(workspace, "d1\t2", name="turns.json")
    with pytest.raises(LabelError, match="holds single turns, whole dialogues are to be added"):
        exported(workspace, "d1", name="turns.json")
    with pytest.raises(UsageError, match="--window 2: a single turn is a task by itself"):
        exported(workspace, "d1\t4", name="more.json", window=2)


def test_lists_of_turns_are_refused_where_only_dialogues_will_do(workspace: Workspace):
    exported(workspace, "d1\t2")
    listed = workspace.root / "turns.txt"
    with pytest.raises(UsageError, match="names single turns, as turn 2 of 'd1'"):
        named_dialogues(listed, ["d1"])
    request = ExportRequest(
        Selection(named=listed), to_file=workspace.root / "a.json", assignment=AssignmentRequest(["ann", "bo"])
    )
    with pytest.raises(UsageError, match="names single turns"):
        export_assigned(workspace, request)


def test_turns_labelled_alone_teach_the_lexicon(workspace: Workspace):
    assert labelled_dialogues(workspace, (), wholly=False) == {}  # type: ignore[arg-type]
    ingested(workspace, fill_tasks(exported(workspace, "d1\t2"), gold_of([(), (RED,), ()], "d1"), ONTOLOGY))
    assert labelled_dialogues(workspace, {}) == {}
    (found,) = labelled_dialogues(workspace, {}, wholly=False).values()
    assert found.states == {0: None, 2: (RED,), 4: None}
    assert labelled_dialogues(workspace, {"d1": ()}, wholly=False) == {}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    gold=st.lists(st.none() | states(), min_size=5, max_size=5),
    asked=st.sets(st.integers(0, 4), min_size=1),
    prelabel=st.sampled_from(["lexicon", None]),
)
def test_whatever_is_asked_comes_back_as_the_gold_and_nothing_else_is_known(
    gold: list[BeliefState | None], asked: set[int], prelabel: str | None
):
    with tempfile.TemporaryDirectory() as folder:
        shop = write_workspace(Path(folder) / "shop", [dialogue("d", users=5)], ontology=WIDE)
        tasks = exported(shop, *(f"d\t{2 * at}" for at in sorted(asked)))
        if prelabel is None:
            tasks = [{"data": task["data"]} for task in tasks]
        ingested(shop, fill_tasks(tasks, gold_of(gold, "d"), WIDE))
        found = states_in(shop)
    assert [found["d", 2 * at] for at in range(5)] == [gold[at] if at in asked else None for at in range(5)]


@pytest.mark.studio
def test_turns_come_back_from_a_real_label_studio(workspace: Workspace, studio_variables: RunningStudio):
    listed = workspace.root / "turns.txt"
    listed.write_text("d1\t2\nd1\t4\nd2\t0\n")
    export_for_labelling(workspace, ExportRequest(Selection(named=listed), project="single turns"))
    gateway = connect(workspace.root)
    gold = {**gold_of([(RED,), (BLACK, THIRTY), ()], "d1"), **gold_of([(RED,)], "d2")}
    tasks = list(gateway.tasks(gateway.require_project("single turns")))
    assert {task.uid for task in tasks} == {"d1#state1", "d1#state2", "d2#state0"}
    for task in tasks:
        gateway.create_annotation(task.id, Annotator(ONTOLOGY, gold).result(task.data), lead_time=4.0)
    ingest_labels(workspace, IngestRequest(projects=("single turns",)))
    found = states_in(workspace)
    assert [found["d1", at] for at in (0, 2, 4)] == [None, (BLACK, THIRTY), ()]
    assert [found["d2", at] for at in (0, 2)] == [(RED,), None]
