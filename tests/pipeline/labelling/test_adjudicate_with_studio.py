"""Two annotators disagree in a real Label Studio, a reviewer decides in a generated project, and that is the state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from annotate.label_studio.gateway import Gateway, connect
from pipeline.batches import read_batches
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.adjudicate import AdjudicateRequest, adjudicate
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.errors import LabelError
from schemas.tables import STATES, read_table
from tests.label_exports import hashes, marked, pick, states_in
from tests.labelling_corpus import dialogue, write_workspace
from tests.studio_fixtures import RunningStudio

pytestmark = pytest.mark.studio


@pytest.fixture
def workspace(tmp_path: Path, studio_variables: RunningStudio) -> Workspace:
    """Two annotators, a project each: they agree on the first turn of three, and not on the second."""
    space = write_workspace(tmp_path / "shop", [dialogue("d1", users=3)])
    gateway = connect(space.root)
    for title, value in (("two: ann", "color=blue"), ("two: bo", "color=black")):
        export_for_labelling(space, ExportRequest(Selection(split="all"), project=title, window=3))
        # both come back as the same user of this server unless the projects are assigned to people
        (task,) = gateway.tasks(gateway.require_project(title))
        batch = read_batches(space.labelling)[-1]
        assert batch.destination.project == title
        gateway.create_annotation(
            task.id, [pick("want_0", "color=red"), pick("want_1", value)], completed_by=_user(gateway, title)
        )
        ingest_labels(space, IngestRequest(projects=(title,)))
    return space


def _user(gateway, name: str) -> int:
    """A user of the server for each annotator."""
    email = name.replace(": ", ".") + "@semctl.local"
    known = {address: number for number, address in gateway.users().items()}
    if email not in known:
        made = gateway._client.users.create(email=email, username=email, first_name="a", last_name="b")
        return int(made.id)
    return known[email]


def test_disagree_adjudicate_answer_ingest_and_the_state_is_the_verdict(workspace: Workspace):
    row = {row["turn"]: row for row in read_table(workspace.states, STATES).to_pylist()}
    assert (row[0]["decided_by"], len(row[0]["annotators"])) == ("agreement", 2)
    assert (row[2]["decided_by"], row[2]["disputed_slots"]) == ("disputed", ["color"])

    result = adjudicate(workspace, AdjudicateRequest(project="two: review"))
    assert (result.tasks_new, result.turns_new) == (1, 1)
    gateway = connect(workspace.root)
    (task,) = gateway.tasks(gateway.require_project("two: review"))
    assert [turn["turn"] for turn in task.data["user_turns"]] == [2]
    assert task.data["role"] == "review"
    assert "wants color=blue" in task.data["user_turns"][0]["html"]
    assert read_batches(workspace.labelling)[-1].role == "review"
    before = hashes(workspace.root)
    again = adjudicate(workspace, AdjudicateRequest(project="two: review"))
    assert (again.tasks_new, again.waiting, again.batch) == (0, 1, None)
    assert hashes(workspace.root) == before

    gateway.create_annotation(task.id, [pick("want_0", "color=black")], lead_time=4.0)
    report = ingest_labels(workspace, IngestRequest(projects=("two: review",)))
    assert report.resolved["by_verdict"] == 1
    states = states_in(workspace)
    assert [marked(states["d1", turn]) for turn in (0, 2, 4)] == [{"color=red"}, {"color=black"}, {"color=black"}]
    row = {row["turn"]: row for row in read_table(workspace.states, STATES).to_pylist()}
    assert [row[turn]["decided_by"] for turn in (0, 2, 4)] == ["agreement", "verdict", "agreement"]
    assert report.as_json()["d_f"]["dialogues"] == 1
    done = adjudicate(workspace, AdjudicateRequest(project="two: review"))
    assert (done.tasks_new, done.waiting, done.decided, done.disputed) == (0, 0, 1, 0)


def test_an_interrupted_run_is_completed_and_no_task_comes_twice(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    push = Gateway.push

    def interrupted(*given: Any) -> None:
        push(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Gateway, "push", interrupted)
        with pytest.raises(KeyboardInterrupt):
            adjudicate(workspace, AdjudicateRequest(project="two: cut"))
    result = adjudicate(workspace, AdjudicateRequest(project="two: cut"))
    assert (result.tasks_new, result.waiting) == (0, 1)
    assert read_batches(workspace.labelling)[-1].uids == ("d1#0",)
    gateway = connect(workspace.root)
    assert len(list(gateway.tasks(gateway.require_project("two: cut")))) == 1


def test_a_project_of_labelling_tasks_is_no_place_for_a_review(workspace: Workspace):
    with pytest.raises(LabelError, match="'two: ann' holds labelling tasks"):
        adjudicate(workspace, AdjudicateRequest(project="two: ann"))


def test_without_a_dispute_no_project_is_made(tmp_path: Path, studio_variables: RunningStudio):
    space = write_workspace(tmp_path / "one", [dialogue("d1")])
    export_for_labelling(space, ExportRequest(Selection(split="all"), project="one: ann"))
    gateway = connect(space.root)
    (task,) = gateway.tasks(gateway.require_project("one: ann"))
    gateway.create_annotation(task.id, [])
    ingest_labels(space, IngestRequest(projects=("one: ann",)))
    assert adjudicate(space, AdjudicateRequest(project="one: review")).batch is None
    assert gateway.find_project("one: review") is None
