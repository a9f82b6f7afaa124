"""A task that no export pre-labelled, opened in the real screen: a served run has filled it in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotate.annotations.annotation import read_annotations
from annotate.label_studio.gateway import connect
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.serving.app import AppSettings
from pipeline.serving.studio_connection import ConnectRequest, connect_studio
from tests.browser.test_labelling_screen import (
    page,  # noqa: F401 - the logged-in browser is a fixture
    photograph,
)
from tests.browser.test_prelabels_on_screen import filled_in, open_task, submit
from tests.served import in_thread, trained_workspace
from tests.studio_fixtures import RunningStudio

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.studio, pytest.mark.browser, pytest.mark.slow]

PROJECT = "filled in by a run"
CHOSEN = Selection(split="test", limit=6)


def test_an_opened_task_is_filled_in_and_sent_as_it_is(
    page: Page,  # noqa: F811
    studio_variables: RunningStudio,
    tmp_path: Path,
):
    workspace = trained_workspace(tmp_path)
    export_for_labelling(workspace, ExportRequest(CHOSEN, project=PROJECT, window=4))
    file = tmp_path / "prelabelled.json"
    export_for_labelling(workspace, ExportRequest(CHOSEN, to_file=file, window=4, prelabel="run:latest"))
    expected = {task["data"]["uid"]: task["predictions"][0] for task in json.loads(file.read_text())}

    def marks(uid: str) -> list[str]:
        """What stands in the lists of a task."""
        return [path[0] for each in expected[uid]["result"] for path in each["value"].get("taxonomy", ())]

    fullest = max(expected, key=lambda uid: len(marks(uid)))
    assert marks(fullest)
    gateway = connect(workspace.root)
    with in_thread(workspace, settings=AppSettings(hosts=("127.0.0.1",))) as (address, _):
        connection = connect_studio(workspace, ConnectRequest(address=address))
        assert [each.predictions for each in connection.projects] == [0]
        open_task(page, gateway, fullest, PROJECT)
        shown = [text.partition(" (")[0] for text in filled_in(page, len(marks(fullest)))]  # without other spellings
        assert sorted(shown) == sorted(marks(fullest))
        photograph(page, "filled-in-by-a-run")
        submit(page, gateway, fullest, PROJECT)
    ingest_labels(workspace, IngestRequest(projects=(PROJECT,)))
    (answer,) = (each for each in read_annotations(workspace.annotations) if not each.is_corpus)
    assert (answer.task_uid, answer.prelabel, answer.untouched) == (fullest, connection.version, True)
    assert answer.prelabel_score == pytest.approx(expected[fullest]["score"], abs=1e-3)
    assert answer.lead_time is not None
