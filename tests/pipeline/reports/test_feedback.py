"""Feedback packs: what an annotator gets, as a page and as data."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.cli import _run
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.reports.feedback import FeedbackRequest, write_feedback
from pipeline.reports.pages import thumbnail_url
from pipeline.workspace import Workspace
from schemas.errors import UsageError, WorkspaceError
from tests.label_exports import answer, answered, hashes, pick, save, tasks_of, typed
from tests.labelling_corpus import PAYLOADS, dialogue, write_workspace
from tests.skipping import skip_or_fail

D1 = dialogue("d1", users=3)


def answers_of(space: Workspace, wants: dict[int, list[dict[str, object]]], rows=(D1,)) -> None:
    """Annotator number -> results of one task that holds the whole first dialogue."""
    (task,) = tasks_of([rows[0]], window=30)
    given = [answer(who, result, by=who) for who, result in wants.items()]
    ingest_labels(space, IngestRequest(export=save(space.root.parent / "e.json", [answered(task, *given)])))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    space = write_workspace(tmp_path / "shop", [D1])
    red = [pick("want_0", "color=red")]
    answers_of(space, {1: red, 2: red, 3: [pick("want_0", "color=blue"), pick("want_1", "price=cheap")]})
    return space


def test_a_pack_holds_every_difference_with_what_was_said_and_why(workspace: Workspace, tmp_path: Path):
    packs = write_feedback(workspace, FeedbackRequest(tmp_path / "packs"))
    assert [pack.feedback.annotator for pack in packs] == ["user:1", "user:2", "user:3"]
    data = json.loads(packs[2].data.read_bytes())
    assert data["turns"] == {"answered": 3, "compared": 3, "same": 1, "differing": 2, "undecided": 0}
    assert [(group["slot"], group["kind"], group["count"]) for group in data["groups"]] == [
        ("color", "another value", 1),
        ("price", "marked on top", 1),
    ]
    (first,) = data["groups"][0]["differences"]
    said = first.pop("said")
    assert first == {
        "dialogue_id": "d1",
        "turn": 0,
        "marked": ["wants color=blue"],
        "decided": ["wants color=red"],
        "decided_by": "majority",
        "alike": 2,
        "answers": 3,
    }
    assert said == [{"turn": 0, "speaker": "user", "text": "I want red 0"}]
    (second,) = data["groups"][1]["differences"]
    assert [row["turn"] for row in second["said"]] == [0, 1, 2]
    page = packs[2].page.read_text()
    for expected in ("Feedback for user:3", "wants color=blue", "wants color=red", "2 of 3 annotators answered like"):
        assert expected in page
    assert "user:1" not in page
    assert "Nothing differs so far." in packs[0].page.read_text()


def test_the_page_needs_nothing_else_and_names_no_other_place(workspace: Workspace, tmp_path: Path):
    page = write_feedback(workspace, FeedbackRequest(tmp_path / "packs", annotator="user:3"))[0].page.read_text()
    assert "data:image/jpeg;base64," in page
    assert re.search(r"https?://|<script|src=|url\((?!data:)", page) is None


def test_the_same_labels_give_the_same_bytes(workspace: Workspace, tmp_path: Path):
    write_feedback(workspace, FeedbackRequest(tmp_path / "packs"))
    before = hashes(tmp_path / "packs")
    write_feedback(workspace, FeedbackRequest(tmp_path / "packs"))
    assert hashes(tmp_path / "packs") == before
    assert len(before) == 6


def test_names_of_annotators_are_no_paths_and_never_collide(workspace: Workspace, tmp_path: Path):
    from pipeline.reports.feedback import _file_name

    names = ["../../etc/passwd", "a/b", "a b", "a.b", "", "..", "ann@shop.example", "日本", "x" * 300]
    files = [_file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(re.fullmatch(r"feedback-[a-z0-9-]{1,40}-[0-9a-f]{6}", file) for file in files)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.fixture
def hostile(tmp_path: Path) -> Workspace:
    """A workspace whose dialogue and answers are attempts to run a script."""
    rows = [{**row, "text": PAYLOADS[i % len(PAYLOADS)]} for i, row in enumerate(dialogue("d1", users=len(PAYLOADS)))]
    space = write_workspace(tmp_path / "hostile", [rows])
    said = [typed(f"free_{i}", f"color=a {payload}") for i, payload in enumerate(PAYLOADS)]
    answers_of(space, {1: [], 2: [], 3: said}, rows=(rows,))
    return space


def test_nothing_that_was_said_or_marked_becomes_markup(hostile: Workspace, tmp_path: Path):
    page = write_feedback(hostile, FeedbackRequest(tmp_path / "packs", annotator="user:3"))[0].page.read_text()
    found = Tags()
    found.feed(page)
    expected = "html head meta title style body h1 h2 p div b span table tr th td a figure figcaption"
    assert found.tags == set(expected.split())
    assert not {name for name in found.attributes if name.startswith("on")}


@pytest.mark.browser
def test_no_payload_fires_in_a_real_browser(hostile: Workspace, tmp_path: Path):
    chromium = Path(os.environ.get("SEMCTL_CHROMIUM", "/usr/bin/chromium"))
    if not chromium.exists():
        skip_or_fail("browser", f"no Chromium at {chromium}; set SEMCTL_CHROMIUM")
    from playwright.sync_api import sync_playwright

    page_file = write_feedback(hostile, FeedbackRequest(tmp_path / "packs", annotator="user:3"))[0].page
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        assert page.evaluate("window.fired") is None
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 1366
        assert page.locator(".turn").count() == len(PAYLOADS)
        assert page.locator(".label.mine .chip").first.inner_text().startswith("wants color=")
        browser.close()


def test_the_command_shows_who_differs_and_refuses_names_nobody_has(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = str(tmp_path / "packs")
    assert _run(["-w", str(workspace.root), "feedback", folder, "--annotator", "user:3", "--json"]) == 0
    (pack,) = json.loads(capsys.readouterr().out)["packs"]
    assert (pack["annotator"], pack["answered"], pack["compared"], pack["same"], pack["differences"]) == (
        "user:3",
        3,
        3,
        1,
        2,
    )
    assert Path(pack["page"]).is_file()
    assert _run(["-w", str(workspace.root), "feedback", folder]) == 0
    assert "user:3" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"no annotator 'user:33' answered anything; did you mean 'user:3'"):
        write_feedback(workspace, FeedbackRequest(tmp_path, annotator="user:33"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write the pack"):
        write_feedback(workspace, FeedbackRequest(tmp_path / "file"))
    with pytest.raises(WorkspaceError, match="no annotations yet"):
        write_feedback(write_workspace(tmp_path / "fresh", [D1]), FeedbackRequest(tmp_path / "packs"))


def test_an_image_that_is_none_has_no_thumbnail(tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    assert thumbnail_url(tmp_path / "broken.jpg") is None
    assert thumbnail_url(tmp_path / "gone.jpg") is None
