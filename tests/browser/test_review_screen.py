"""The screen of a reviewer in a real browser: the answers stand beside their controls, and nothing in them is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotate.label_studio.gateway import connect
from pipeline.adjudicate import adjudicate_to_project
from pipeline.ingest_labels import ingest_labels
from tests.browser.test_labelling_screen import FOREIGN, open_for_labelling
from tests.browser.test_labelling_screen import page as page
from tests.label_exports import answer, answered, pick, save, tasks_of, typed
from tests.labelling_corpus import PAYLOADS, turn, write_workspace
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
    said = [typed(f"free_{n}", f"color={payload}") for n, payload in enumerate(PAYLOADS)]
    plain = [pick(f"want_{n}", "color=red") for n in range(len(PAYLOADS))]
    given = [
        answer(1, [*said, typed("note", PAYLOADS[1])], by=1),
        answer(2, [*plain, typed("note", PAYLOADS[0])], by=2),
    ]
    ingest_labels(workspace, export=save(tmp_path / "e.json", [answered(task, *given)]))
    assert adjudicate_to_project(workspace, "payloads in review").turns_new == len(PAYLOADS)
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
        assert " ".join(f"wants color={payload}".split()) in text
        assert "wants color=red" in text
    notes = " ".join(page.locator(".sem-end .sem-answer").all_inner_texts())
    assert PAYLOADS[0] in notes
    assert PAYLOADS[1] in notes
    page.keyboard.press("Escape")
