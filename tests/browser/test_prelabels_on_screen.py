"""Pre-labels in the real screen: filled in, left as they are, corrected; and what the server says of it afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotate.annotations.annotation import Annotation, read_annotations
from annotate.label_studio.gateway import Gateway, connect
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from tests.browser.test_labelling_screen import page  # noqa: F401 - the logged-in browser is a fixture
from tests.label_exports import marked, states_in
from tests.labelling_corpus import turn, write_workspace
from tests.studio_fixtures import RunningStudio

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.studio, pytest.mark.browser]

PROJECT = "prelabels on screen"
SAID = {"left": "I want something red under 50", "less": "I want something red or blue", "more": "Hello, I want a gift"}


@pytest.fixture
def workspace(tmp_path: Path, studio_variables: RunningStudio) -> Workspace:
    dialogues = [[turn(0, "user", text, dialogue=name)] for name, text in SAID.items()]
    made = write_workspace(tmp_path / "shop", dialogues)
    exported = export_for_labelling(made, ExportRequest(Selection(split="all"), project=PROJECT, prelabel="lexicon"))
    assert (exported.tasks_new, exported.prelabel) == (3, "lexicon-v1@ontology3")
    return made


def open_task(page: Page, gateway: Gateway, uid: str) -> None:  # noqa: F811
    project = gateway.require_project(PROJECT)
    (task,) = gateway.tasks(project, [uid])
    page.goto(f"{gateway.url}/projects/{project.id}/data?task={task.id}")
    page.wait_for_selector(".sem-row")
    page.wait_for_selector(".sem-want .ant-select")
    page.get_by_role("button", name="Submit").first.wait_for()


def submit(page: Page, gateway: Gateway, uid: str) -> None:  # noqa: F811
    page.get_by_role("button", name="Submit").first.click()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        (task,) = gateway.tasks(gateway.require_project(PROJECT), [uid])
        if task.annotations:
            return
        time.sleep(0.2)
    raise AssertionError(f"{uid} was not submitted")


def filled_in(page: Page, count: int) -> list[str]:  # noqa: F811
    items = "document.querySelectorAll('.sem-row .ant-select-selection-item').length"
    page.wait_for_function(f"{items} === {count}")
    return page.locator(".sem-row .ant-select-selection-item").all_inner_texts()


def test_prelabels_are_filled_in_and_what_becomes_of_them_is_known(workspace: Workspace, page: Page):  # noqa: F811
    gateway = connect(workspace.root)

    open_task(page, gateway, "left#0")
    assert filled_in(page, 1) == ["color=red"]
    assert page.get_by_text("price=under 50").count() == 1  # of no list, so it stands in the text field
    submit(page, gateway, "left#0")

    open_task(page, gateway, "less#0")
    assert sorted(filled_in(page, 2)) == ["color=blue", "color=red"]
    page.locator(".sem-want .ant-select-selection-item-remove").first.click()
    (kept,) = filled_in(page, 1)
    submit(page, gateway, "less#0")

    open_task(page, gateway, "more#0")
    assert filled_in(page, 0) == []
    submit(page, gateway, "more#0")

    report = ingest_labels(workspace, IngestRequest(projects=(PROJECT,)))
    answers: dict[str, Annotation] = {each.dialogue_id: each for each in read_annotations(workspace.annotations)}
    assert {name: each.untouched for name, each in answers.items()} == {"left": True, "less": False, "more": True}
    assert {each.prelabel for each in answers.values()} == {"lexicon-v1@ontology3"}
    assert all(each.prelabel_score is not None for each in answers.values())
    assert report.as_json()["untouched"]["untouched"] == 2
    states = {name: marked(state) for (name, _), state in states_in(workspace).items()}
    assert states == {"left": {"color=red", "price=under 50"}, "less": {kept}, "more": set()}
    origins = {name: {mark.origin for mark in each.marks} for name, each in answers.items()}
    assert origins == {"left": {"prediction"}, "less": {"prediction-changed"}, "more": {"manual"}}
