"""What the checks put up again, in a second round on a real Label Studio."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotate.label_studio.gateway import connect
from pipeline.cli import _run
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from tests.label_exports import answer, answered, save, tasks_of, typed
from tests.labelling_corpus import dialogue, write_workspace
from tests.studio_fixtures import RunningStudio

pytestmark = pytest.mark.studio

TWO = [dialogue(name, users=2, text="well") for name in ("d1", "d2")]


def test_dialogues_to_label_again_become_a_second_project(
    studio_variables: RunningStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    del studio_variables
    workspace = write_workspace(tmp_path / "shop", TWO)
    first, second = tasks_of(TWO)
    export = [
        {**answered(first, answer(1, [])), "id": 1},
        {**answered(second, answer(2, [typed("free_0", "color=blakc")])), "id": 2},
    ]
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", export)))
    monkeypatch.chdir(workspace.root)
    arguments = ["export-for-labelling", "--dialogues", "labels/requeue.txt", "--project", "round 2", "--json"]
    assert _run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["tasks_new"] == 1
    gateway = connect(workspace.root)
    tasks = gateway.tasks(gateway.require_project("round 2"))
    assert [task.uid for task in tasks] == ["d2#0"]
