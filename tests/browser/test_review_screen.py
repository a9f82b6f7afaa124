"""The screen of a reviewer in a real browser: the answers stand beside their controls, and nothing in them is run."""

from __future__ import annotations

import html
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotate.label_studio.gateway import Gateway, connect
from pipeline.labelling.adjudicate import AdjudicateRequest, adjudicate
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from tests.browser.test_labelling_screen import FOREIGN, only_task, open_for_labelling, photograph
from tests.browser.test_labelling_screen import page as page
from tests.browser.test_labelling_screen import pick as pick_on_screen
from tests.label_exports import answer, answered, marked, pick, save, states_in, tasks_of, typed
from tests.labelling_corpus import PAYLOADS, dialogue, turn, write_workspace
from tests.studio_fixtures import RunningStudio

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.studio, pytest.mark.browser]


def test_payloads_in_answers_and_notes_are_shown_to_the_reviewer_and_fire_nothing(
    page: Page, studio_variables: RunningStudio, tmp_path: Path
):
    rows = [turn(2 * n, "user", payload, "pixel", dialogue="<b>x</b>") for n, payload in enumerate(PAYLOADS)]
    rows += [turn(2 * n + 1, "system", payload, "pixel", dialogue="<b>x</b>") for n, payload in enumerate(PAYLOADS)]
    rows.sort(key=lambda row: row["turn"])
    workspace = write_workspace(tmp_path / "evil", [rows])
    (task,) = tasks_of([rows], window=30)
    said = [typed(f"free_{n}", f"color=a {payload}") for n, payload in enumerate(PAYLOADS)]
    plain = [pick(f"want_{n}", "color=red") for n in range(len(PAYLOADS))]
    given = [
        answer(1, [*said, typed("note", PAYLOADS[1])], by=1),
        answer(2, [*plain, typed("note", PAYLOADS[0])], by=2),
    ]
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [answered(task, *given)])))
    assert adjudicate(workspace, AdjudicateRequest(project="payloads in review")).turns_new == len(PAYLOADS)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    open_for_labelling(page, connect(workspace.root), "payloads in review")
    page.get_by_role("button", name="Instructions").click()
    page.get_by_text("How to review").first.wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("window.fired") is None
    assert dialogs == []
    assert page.locator(FOREIGN).count() == 0
    shown = page.locator(".sem-answers").all_inner_texts()
    assert len(shown) == len(PAYLOADS)
    for payload, text in zip(PAYLOADS, shown, strict=True):
        assert " ".join(f"wants color=a {html.unescape(payload)}".split()) in text  # entities are resolved once
        assert "wants color=red" in text
    notes = " ".join(page.locator(".sem-end .sem-answer").all_inner_texts())
    assert PAYLOADS[0] in notes
    assert PAYLOADS[1] in notes
    page.keyboard.press("Escape")


def send(page: Page, gateway: Gateway, project: str, uid: str) -> None:
    """Open the page of a task and send it as it is."""
    found = gateway.require_project(project)
    (task,) = gateway.tasks(found, [uid])
    page.goto(f"{gateway.url}/projects/{found.id}/data?task={task.id}")
    page.wait_for_selector(".sem-row .ant-select-selection-item")
    page.get_by_role("button", name="Submit").first.click()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        (task,) = gateway.tasks(gateway.require_project(project), [uid])
        if task.annotations:
            return
        time.sleep(0.2)
    raise AssertionError(f"{uid} was not submitted")


def test_a_page_sent_untouched_keeps_what_is_agreed_and_the_rest_is_asked_again(
    page: Page, studio_variables: RunningStudio, tmp_path: Path
):
    project = "sent untouched"
    rows = dialogue("d1", users=1)
    workspace = write_workspace(tmp_path / "shop", [rows])
    (task,) = tasks_of([rows], window=30)
    given = [
        answer(who, [pick("want_0", *values)], by=who)
        for who, values in ((1, ["price=cheap", "color=red"]), (2, ["price=cheap", "color=black"]))
    ]
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [answered(task, *given)])))
    gateway = connect(workspace.root)
    for number in range(2):
        asked = adjudicate(workspace, AdjudicateRequest(project=project))
        assert (asked.turns_new, asked.left_open) == (1, number)
        send(page, gateway, project, f"d1#{number}")
        report = ingest_labels(workspace, IngestRequest(projects=(project,))).as_json()
        assert marked(states_in(workspace)["d1", 0]) == {"price=cheap"}
        assert (report["resolved"]["disputed"], report["resolved"]["by_verdict"]) == (1, 0)
        assert report["findings"]["undecided_review"] == 1
    assert adjudicate(workspace, AdjudicateRequest(project=project)).turns_new == 1
    (task,) = gateway.tasks(gateway.require_project(project), ["d1#2"])
    gateway.create_annotation(task.id, [pick("want_0", "price=cheap", "color=black")])
    ingest_labels(workspace, IngestRequest(projects=(project,)))
    assert marked(states_in(workspace)["d1", 0]) == {"price=cheap", "color=black"}
    done = adjudicate(workspace, AdjudicateRequest(project=project))
    assert (done.turns_new, done.decided) == (0, 1)


def test_a_reviewer_decides_turns_by_one_click_and_by_marks_and_no_key_does_it(
    page: Page, studio_variables: RunningStudio, tmp_path: Path
):
    rows = dialogue("d1", users=4)
    workspace = write_workspace(tmp_path / "shop", [rows])
    (task,) = tasks_of([rows], window=30)
    every = range(4)
    given = [
        answer(1, [pick(f"want_{n}", "color=red", "price=cheap") for n in every], by=1),
        answer(2, [pick(f"want_{n}", "color=red", "price=25-50") for n in every], by=2),
    ]
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [answered(task, *given)])))
    assert adjudicate(workspace, AdjudicateRequest(project="one click")).turns_new == 4
    gateway = connect(workspace.root)
    open_for_labelling(page, gateway, "one click")
    data = only_task(gateway, "one click").data
    assert [page.locator(".sem-state").nth(n).inner_text() for n in range(3)] == [
        "so far color=red not known: price"
    ] * 3
    cheap = next(name for name, entries in data["answers"]["0"].items() if ["want", "price=cheap"] in entries)
    rows_shown = page.locator(".sem-row")
    for key in "abcdefghijklmnopqrstuvwxyz0123456789":
        page.keyboard.press(key)
    assert page.locator(".sem-take input:checked").count() == 0
    rows_shown.nth(0).locator(".sem-take").get_by_text(cheap).click()
    rows_shown.nth(1).locator(".sem-take").get_by_text("as filled in").click()
    rows_shown.nth(2).locator(".sem-take").get_by_text(cheap).click()
    pick_on_screen(page, rows_shown.nth(2).locator(".sem-dislike .ant-select"), "25-50")
    rows_shown.nth(3).locator(".sem-take").get_by_text(cheap).click()
    rows_shown.nth(3).locator(".sem-take").get_by_text(cheap).click()  # taken back
    pick_on_screen(page, rows_shown.nth(3).locator(".sem-want .ant-select"), "25-50")
    assert page.locator(".sem-take input:checked").count() == 3
    photograph(page, "review-one-click")
    page.get_by_role("button", name="Submit").first.click()
    deadline = time.monotonic() + 20
    while only_task(gateway, "one click").annotations == 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    report = ingest_labels(workspace, IngestRequest(projects=("one click",)))
    assert report.quarantined == {}
    states = states_in(workspace)
    assert marked(states["d1", 0]) == {"color=red", "price=cheap"}
    assert marked(states["d1", 2]) == {"color=red", "price=cheap"}  # the second turn changes only what was agreed
    # a mark of one's own wins over the answer taken: the turn dislikes 25-50 and says no more of the price
    assert marked(states["d1", 4]) == {"color=red", "price=cheap", "!price=25-50"}
    assert marked(states["d1", 6]) == {"color=red", "price=25-50"}
