"""Answers given before a change of the ontology, opened again in a browser on the new screen."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annotate.label_studio.gateway import Gateway, connect
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from tests.browser.test_labelling_screen import page as page
from tests.browser.test_labelling_screen import photograph, pick
from tests.label_exports import marked, states_in
from tests.label_exports import pick as picked
from tests.labelling_corpus import dialogue, write_workspace
from tests.pipeline.labelling.test_ontology_changes import OLD, semctl, with_products
from tests.studio_fixtures import RunningStudio, whole_export

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.studio, pytest.mark.browser]

PROJECT = "reopened answers"


def results(gateway: Gateway, folder: Path) -> dict[str, Any]:
    file = whole_export(gateway, gateway.require_project(PROJECT), folder / "export.json")
    (task,) = json.loads(file.read_text())
    (annotation,) = task["annotations"]
    return {item["from_name"]: next(iter(item["value"].values())) for item in annotation["result"]}


def test_old_answers_show_on_the_new_screen_and_survive_an_update(
    page: Page, studio_variables: RunningStudio, tmp_path: Path
):
    workspace = with_products(write_workspace(tmp_path / "shop", [dialogue("d1")], ontology=OLD))
    export_for_labelling(workspace, ExportRequest(Selection(split="all"), project=PROJECT, window=2))
    gateway = connect(workspace.root)
    found = gateway.require_project(PROJECT)
    (task,) = gateway.tasks(found)
    old = [picked("want_0", "color=red"), picked("dislike_0", "color=jet black"), picked("op_1", "drop=color")]
    gateway.create_annotation(task.id, old, lead_time=0.01)
    assert semctl(workspace, "ontology", "rename", "color=red", "crimson") == 0
    assert semctl(workspace, "ontology", "merge", "color=black", "color=jet black", "--into", "noir") == 0
    assert semctl(workspace, "ontology", "rename", "color", "shade") == 0
    page.goto(f"{gateway.url}/projects/{found.id}/data?task={task.id}")
    page.wait_for_selector(".sem-row")
    rows = page.locator(".sem-row")
    page.wait_for_function("document.querySelectorAll('.ant-select-selection-item').length >= 3")
    shown = page.locator(".ant-select-selection-item").all_inner_texts()
    photograph(page, "reopened-after-a-rename")
    assert [text.strip() for text in shown] == ["color=red", "color=jet black", "drop=color"]
    pick(page, rows.nth(1).locator(".sem-want .ant-select"), "crimson")
    offered = page.locator(".sem-row").nth(1).locator(".ant-select-selection-item").all_inner_texts()
    assert "shade=crimson (red)" in [text.strip() for text in offered]
    page.locator(".sem-head").last.click()
    page.keyboard.press("Control+Enter")
    deadline = time.monotonic() + 20
    while "want_1" not in results(gateway, tmp_path) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert results(gateway, tmp_path) == {
        "want_0": [["color=red"]],
        "dislike_0": [["color=jet black"]],
        "op_1": [["drop=color"]],
        "want_1": [["shade=crimson"]],
    }
    report = ingest_labels(workspace, IngestRequest(projects=(PROJECT,)))
    assert report.quarantined == {}
    states = states_in(workspace)
    assert marked(states["d1", 0]) == {"shade=crimson", "!shade=noir"}
    assert marked(states["d1", 2]) == {"shade=crimson"}
