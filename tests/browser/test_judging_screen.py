"""Two lists judged in a real browser: what is on the screen, what is not, and what a key press comes to.

With ``SEMCTL_SCREENSHOT_DIR`` set, an image of the screen is written there, of the generated corpus.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotate.judging.key import Key
from annotate.label_studio.gateway import Gateway, connect
from annotate.label_studio.studio import Studio
from pipeline.cli import _run
from pipeline.judging.export import Drawn, JudgeRequest, export_judgement, key_file, put_before_judges
from pipeline.judging.ingest import JudgeIngest, ingest_judgement
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.workspace import Workspace
from schemas.errors import LabelError
from schemas.progress import SilentProgress
from semantic_model.data.records import Product, Query
from tests.browser.test_labelling_screen import FOREIGN, browser_page
from tests.browser.test_real_dialogues_on_screen import photograph
from tests.judging_shop import made_shop, with_rankers
from tests.labelling_corpus import PAYLOADS, turn, write_workspace
from tests.studio_fixtures import RunningStudio, free_port, whole_export

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.studio, pytest.mark.browser]

TITLE = "which list is better"
WIDTH, HEIGHT = 1280, 900


@pytest.fixture(scope="module")
def shop(studio_server: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A generated shop with two runs, and a server of its own that serves its images."""
    made = made_shop(tmp_path_factory.mktemp("judged"))
    shutil.copytree(studio_server.root / ".studio", made.root / ".studio")
    (made.root / ".studio" / "server.json").unlink()
    studio = Studio.of_workspace(made.root)
    studio.start(free_port())
    yield made
    studio.stop()


@pytest.fixture(scope="module")
def page(shop: Workspace) -> Iterator[Page]:
    studio = Studio.of_workspace(shop.root)
    credentials, url = studio.credentials(), studio.url()
    assert credentials is not None
    assert url is not None
    with browser_page(url, credentials) as found:
        found.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        yield found


def open_for_judging(page: Page, gateway: Gateway, title: str) -> None:
    page.goto(f"{gateway.url}/projects/{gateway.require_project(title).id}/data?labeling=1")
    page.wait_for_selector(".jud-grid")
    page.get_by_role("button", name="Close modal").click()  # the instructions, shown at the beginning
    page.wait_for_function("!document.querySelector('.lsf-modal-ls')")
    page.wait_for_function("[...document.images].every(image => image.complete)")


def wait_for_answers(gateway: Gateway, title: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while gateway.totals(gateway.require_project(title)).answers < count:
        assert time.monotonic() < deadline, "the answer did not arrive"
        time.sleep(0.2)


def test_two_lists_are_judged_by_keys_and_come_back_as_win_tie_lose(
    page: Page, shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    with_rankers(monkeypatch)
    request = JudgeRequest("quince", "medlar", turns=10, seed=4, split="train", project=TITLE)
    made = export_judgement(shop, request)
    assert made.images_problem is None
    assert made.tasks_new == made.tasks == 10 - made.same
    assert export_judgement(shop, request).tasks_new == 0  # again adds nothing
    gateway, key = connect(shop.root), Key.read(made.key)
    open_for_judging(page, gateway, TITLE)
    assert page.locator(".jud-list").count() == 2
    assert [box.locator("img").count() for box in page.locator(".jud-list").all()] == [10, 10]
    assert page.evaluate("[...document.images].filter(i => i.closest('.jud')).every(i => i.naturalWidth > 0)")
    boxes = [box.bounding_box() for box in page.locator(".jud-said, .jud-list, .jud-ask").all()]
    assert all(box is not None and box["y"] + box["height"] <= HEIGHT and box["height"] > 40 for box in boxes)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
    assert page.locator(".jud-said .sem-cur").evaluate(
        "e => { const box = e.closest('.jud-said').getBoundingClientRect(), own = e.getBoundingClientRect();"
        " return own.bottom <= box.bottom + 1 && own.bottom > box.top }"
    )
    photograph(page, "judging-screen")
    # neither the page nor what it was made of tells whose lists these are
    export = whole_export(gateway, gateway.require_project(TITLE), tmp_path / "all.json").read_text()
    everything = page.content() + export
    for hidden in ("quince", "medlar", made.key.name, key.tasks[0].shown_sha256):
        assert hidden not in everything
    names = re.findall(r'"left": "([AB])"', made.key.read_text())
    assert set(names) == {"A", "B"}
    uid = next(task.uid for task in gateway.tasks(gateway.require_project(TITLE)))  # the first is asked first
    # nothing chosen is not taken
    page.keyboard.press("Control+Enter")
    page.get_by_text("Choose left, right or tie").first.wait_for()
    page.get_by_role("button", name="OK").click()
    assert gateway.totals(gateway.require_project(TITLE)).answers == 0
    page.locator(".jud-said").click()
    page.keyboard.press("1")
    assert page.locator(".jud-ask input:checked").count() == 1
    page.locator(".jud-ask input[name=comment]").fill("closer in colour")
    page.keyboard.press("Enter")
    page.get_by_text("closer in colour").wait_for()
    page.locator(".jud-said").click()
    page.keyboard.press("Control+Enter")
    wait_for_answers(gateway, TITLE, 1)
    open_for_judging(page, gateway, TITLE)
    page.keyboard.press("3")
    page.keyboard.press("Control+Enter")
    wait_for_answers(gateway, TITLE, 2)
    assert _run(["-w", str(shop.root), "judge", "ingest", "--project", TITLE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first = next(task for task in key.tasks if task.uid == uid)
    won = "win" if first.left == "A" else "lose"
    by_judge = found["figures"]["rows"][0]
    assert by_judge["of"] == "owner@semctl.local"
    assert by_judge["counts"] == {"win": 0, "lose": 0, "tie": 1, won: 1}
    assert found["figures"]["judged"] == 2
    assert found["figures"]["unanswered"] == made.tasks - 2
    (case,) = [case for case in found["cases"] if case["uid"] == uid]
    assert case["votes"]["owner@semctl.local"] == {"outcome": won, "side": "left", "comment": "closer in colour"}


def test_each_judge_has_a_project_and_a_labelling_export_does_not_take_it(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
):
    with_rankers(monkeypatch)
    people = ("ann@x.org", "bo@x.org")
    made = export_judgement(
        shop, JudgeRequest("quince", "medlar", turns=6, split="train", project="two judges", annotators=people)
    )
    gateway, key = connect(shop.root), Key.read(made.key)
    titles = [str(place.project) for place in made.places]
    assert titles == ["two judges (ann@x.org)", "two judges (bo@x.org)"]
    for title, side in zip(titles, ("left", "right"), strict=True):
        for task in gateway.tasks(gateway.require_project(title)):
            value = {"choices": [side]}
            gateway.create_annotation(
                task.id, [{"from_name": "better", "to_name": "context", "type": "choices", "value": value}]
            )
    report = ingest_judgement(shop, JudgeIngest(project="two judges"))
    left = sum(task.left == "A" for task in key.tasks)
    counts = {row.of: dict(row.counts) for row in report.figures.rows}
    assert counts["ann@x.org"] == {"win": left, "tie": 0, "lose": made.tasks - left}
    assert counts["bo@x.org"] == {"win": made.tasks - left, "tie": 0, "lose": left}
    assert counts["majority"]["tie"] == made.tasks
    with pytest.raises(LabelError, match="is not semctl's"):
        export_for_labelling(shop, ExportRequest(project=titles[0]))


def test_payloads_in_dialogues_and_products_are_shown_and_fire_nothing(
    page: Page, studio_server: RunningStudio, shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [turn(n, ("user", "system")[n % 2], payload, "pixel") for n, payload in enumerate(PAYLOADS)]
    evil = write_workspace(tmp_path / "evil", [rows])
    products = [
        Product(f"p{n}", payload, payload, {payload: (payload,)}, "pixel" if n % 2 else None, None)
        for n, payload in enumerate(PAYLOADS)
    ]
    asked = Query("d1", len(rows) + 1, "train", (), (), ())
    order = list(range(len(products)))
    monkeypatch.setenv("LABEL_STUDIO_URL", str(Studio.of_workspace(shop.root).url()))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio_server.token)
    request = JudgeRequest("quince", "medlar", turns=1, split="train", project="payloads to judge")
    put_before_judges(
        evil, request, Drawn("quince", "medlar", [asked], products, [order], [order[::-1]]), SilentProgress()
    )
    assert len(Key.read(key_file(evil, "payloads to judge")).tasks) == 1
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    open_for_judging(page, connect(evil.root), "payloads to judge")
    for image in page.locator(".jud-grid img").all():
        image.hover()
    page.wait_for_timeout(500)
    assert page.evaluate("window.fired") is None
    assert dialogs == []
    assert page.locator(FOREIGN).count() == 0
    said = page.locator(".jud-said .sem-x").all_inner_texts()
    assert [" ".join(text.split()) for text in said] == [" ".join(payload.split()) for payload in PAYLOADS]
    captions = page.locator(".jud-grid figcaption").all_text_contents()
    assert len(captions) == 2 * len(PAYLOADS)
    assert all(payload in " ".join(captions) for payload in PAYLOADS)
