"""Ingest from a real Label Studio: edits, skips and drafts, as its own export tells them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from annotate.label_studio.gateway import Gateway, connect
from annotate.simulated_annotators import Annotator
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.errors import LabelError
from tests.label_exports import gold_of, hashes, marked, pick, states_in
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace
from tests.studio_fixtures import RunningStudio

pytestmark = pytest.mark.studio

RED, TEAL = (ONTOLOGY.link(ONTOLOGY.slot("color"), value) for value in ("red", "teal <&> “日本” 😀=!"))
NOT_BLACK = ONTOLOGY.link(ONTOLOGY.slot("color"), "black", "dislike")
STATES = ((RED,), (TEAL, NOT_BLACK), (), (RED, ONTOLOGY.link(ONTOLOGY.slot("price"), "30")))
GOLD = {**gold_of(STATES, "d1"), **gold_of(STATES, "d2")}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [dialogue("d1", users=4), dialogue("d2", users=4)])


@pytest.fixture
def http(studio_variables: RunningStudio) -> httpx.Client:
    key = {"Authorization": f"Token {studio_variables.token}"}
    return httpx.Client(base_url=studio_variables.url, headers=key, trust_env=False)


def labelled(workspace: Workspace, title: str) -> tuple[Gateway, dict[str, tuple[int, int]]]:
    """A project in which every task is answered as the gold says; uid -> number of task and annotation."""
    export_for_labelling(workspace, ExportRequest(Selection(split="all"), project=title, window=2))
    gateway = connect(workspace.root)
    annotator = Annotator(ONTOLOGY, GOLD)
    done = {}
    for task in gateway.tasks(gateway.require_project(title)):
        number = gateway.create_annotation(task.id, annotator.result(task.data), lead_time=4.0)
        done[task.uid] = (task.id, number)
    return gateway, done


def test_answers_come_back_as_the_gold_and_twice_gives_the_same_bytes(
    workspace: Workspace, studio_variables: RunningStudio
):
    labelled(workspace, "ingest: gold")
    report = ingest_labels(workspace, IngestRequest(projects=("ingest: gold",)))
    assert report.as_json()["annotations"] == {
        "received": 4,
        "accepted": 4,
        "quarantined": 0,
        "skipped": 0,
        "superseded": 0,
    }
    assert states_in(workspace) == GOLD
    before = hashes(workspace.root)
    assert ingest_labels(workspace, IngestRequest(projects=("ingest: gold",), full=True)) == report
    assert hashes(workspace.root) == before


def test_an_edit_wins_a_skip_unlabels_and_a_draft_waits(
    workspace: Workspace, studio_variables: RunningStudio, http: httpx.Client
):
    gateway, done = labelled(workspace, "ingest: edits")
    ingest_labels(workspace, IngestRequest(projects=("ingest: edits",)))
    edited = {"result": [pick("want_0", "color=blue")]}
    assert http.patch(f"/api/annotations/{done['d1#0'][1]}/", json=edited).status_code == 200
    skipped = http.patch(f"/api/annotations/{done['d2#0'][1]}/", json={"was_cancelled": True})
    assert skipped.status_code == 200
    draft = {"result": [pick("want_0", "color=black")], "lead_time": 1.0}
    assert http.post(f"/api/tasks/{done['d1#1'][0]}/drafts", json=draft).status_code == 201
    report = ingest_labels(workspace, IngestRequest(projects=("ingest: edits",)))
    assert (report.received, report.accepted, report.skipped, report.drafts) == (2, 1, 1, 1)
    states = states_in(workspace)
    assert [marked(states["d1", turn]) for turn in (0, 2)] == [{"color=blue"}] * 2
    assert [states["d2", turn] for turn in (0, 2)] == [None, None]
    assert marked(states["d1", 4]) == set()
    assert gateway.user


def test_a_project_edited_by_hand_and_a_project_that_is_not_there_are_refused(
    workspace: Workspace, studio_variables: RunningStudio, http: httpx.Client, capsys: pytest.CaptureFixture[str]
):
    gateway, _ = labelled(workspace, "ingest: by hand")
    before = hashes(workspace.root)
    project = gateway.require_project("ingest: by hand")
    edited = project.label_config.replace("color=black", "color=ebony")
    assert http.patch(f"/api/projects/{project.id}", json={"label_config": edited}).status_code == 200
    with pytest.raises(LabelError, match="was edited by hand"):
        ingest_labels(workspace, IngestRequest(projects=("ingest: by hand",)))
    assert _run(["-w", str(workspace.root), "ingest-labels", "--project", "no such one"]) == 2
    assert "Label Studio has no project 'no such one'" in " ".join(capsys.readouterr().err.split())
    assert hashes(workspace.root) == before
