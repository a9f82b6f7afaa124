"""Pre-labels in the real screen: filled in, left as they are, corrected; and what the server says of it afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotate.annotations.annotation import Annotation, read_annotations
from annotate.label_studio.gateway import Gateway, connect
from annotate.prelabels.offers import Offer
from annotate.prelabels.prelabels import Prelabel, TurnPrelabel
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.belief import TurnUpdate
from tests.browser.test_labelling_screen import (
    page,  # noqa: F401 - the logged-in browser is a fixture
    photograph,
    pick,
)
from tests.label_exports import marked, states_in
from tests.labelling_corpus import dialogue, turn, write_workspace
from tests.studio_fixtures import RunningStudio

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.studio, pytest.mark.browser]

PROJECT, OFFERS = "prelabels on screen", "offers on screen"
SAID = {"left": "I want something red under 50", "less": "I want something red or blue", "more": "Hello, I want a gift"}


@pytest.fixture
def workspace(tmp_path: Path, studio_variables: RunningStudio) -> Workspace:
    dialogues = [[turn(0, "user", text, dialogue=name)] for name, text in SAID.items()]
    made = write_workspace(tmp_path / "shop", dialogues)
    exported = export_for_labelling(made, ExportRequest(Selection(split="all"), project=PROJECT, prelabel="lexicon"))
    assert (exported.tasks_new, exported.prelabel) == (3, "lexicon-v1@ontology3")
    return made


def open_task(page: Page, gateway: Gateway, uid: str, title: str = PROJECT) -> None:  # noqa: F811
    project = gateway.require_project(title)
    (task,) = gateway.tasks(project, [uid])
    page.goto(f"{gateway.url}/projects/{project.id}/data?task={task.id}")
    page.wait_for_selector(".sem-row")
    page.wait_for_selector(".sem-want .ant-select")
    page.get_by_role("button", name="Submit").first.wait_for()


def submit(page: Page, gateway: Gateway, uid: str, title: str = PROJECT) -> None:  # noqa: F811
    page.get_by_role("button", name="Submit").first.click()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        (task,) = gateway.tasks(gateway.require_project(title), [uid])
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


class Doubtful:
    """Is sure of some values, and offers others."""

    version = "doubtful"
    asked = None

    def prelabel(self, dialogue_id: str) -> Prelabel:
        color, both = frozenset({"color"}), frozenset({"color", "price"})
        red = TurnUpdate(want={"color": ("red",)})
        cheap_red = TurnUpdate(want={"color": ("red",), "price": ("cheap",)})
        blue = Offer("color=blue instead of red", color, {"color": ("blue",)})
        black = Offer("also color=black", color, {"color": ("red", "black")})
        nothing = Offer("nothing changes", both, {})
        return {
            0: TurnPrelabel(red, 0.6, (blue, black)),
            2: TurnPrelabel(cheap_red, 0.4, (nothing, black)),
            4: TurnPrelabel(red, 0.5, (black,)),
            6: TurnPrelabel(TurnUpdate(), 1.0),
        }


def test_what_is_offered_is_marked_by_one_click_and_by_no_key(
    page: Page,  # noqa: F811
    studio_variables: RunningStudio,
    tmp_path: Path,
):
    made = write_workspace(tmp_path / "shop", [dialogue("d1", users=4), dialogue("d2", users=1)])
    gateway = connect(made.root)
    one = Selection(exactly=("d1",))
    export_for_labelling(made, ExportRequest(one, project=OFFERS, prelabel="lexicon", prelabels=Doubtful()))
    export_for_labelling(made, ExportRequest(Selection(exactly=("d2",)), project=OFFERS))
    open_task(page, gateway, "d2#0", OFFERS)
    assert page.locator(".sem-offer").count() == 1
    assert page.locator(".sem-offer").first.is_hidden()
    submit(page, gateway, "d2#0", OFFERS)  # a page without offers can be sent

    open_task(page, gateway, "d1#0", OFFERS)
    filled_in(page, 4)
    rows = page.locator(".sem-row")
    assert [rows.nth(n).locator(".sem-offer").is_visible() for n in range(4)] == [True, True, True, False]
    for key in "abcdefghijklmnopqrstuvwxyz0123456789":
        page.keyboard.press(key)
    assert page.locator(".sem-offer input:checked").count() == 0
    shown = rows.nth(0).locator(".sem-offer label:visible").all_inner_texts()
    assert [text.strip() for text in shown] == ["color=blue instead of red", "also color=black"]
    rows.nth(0).get_by_text("color=blue instead of red").click()
    rows.nth(1).get_by_text("nothing changes").click()
    rows.nth(1).get_by_text("also color=black").click()
    rows.nth(2).get_by_text("also color=black").click()
    pick(page, rows.nth(2).locator(".sem-want .ant-select"), "blue")
    assert page.locator(".sem-offer input:checked").count() == 4
    photograph(page, "offers")
    submit(page, gateway, "d1#0", OFFERS)

    report = ingest_labels(made, IngestRequest(projects=(OFFERS,)))
    assert report.quarantined == {}
    states = {turn: marked(state) for (name, turn), state in states_in(made).items() if name == "d1"}
    assert states[0] == {"color=blue"}
    assert states[2] == {"color=red", "color=black"}  # the price was cleared, the colour cleared and taken
    assert states[4] == {"color=red", "color=blue"}  # marks of one's own count, not the offer
    (answer,) = (each for each in read_annotations(made.annotations) if each.dialogue_id == "d1")
    assert (answer.untouched, answer.prelabel) == (False, "doubtful")
