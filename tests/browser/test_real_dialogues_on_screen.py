"""Real dialogues with images on the screen of a small laptop: pre-labelled, in review, and on the agreement page.

With ``SEMCTL_SCREENSHOT_DIR`` set, the images of the README are written there: ``make screens``. They show the
generated corpus: the photos of the real one belong to others.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from annotate.label_studio.gateway import Gateway, connect
from annotate.label_studio.studio import Studio
from annotate.simulated_annotators import fill_tasks, offered_choices
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.labelling.adjudicate import AdjudicateRequest, adjudicate
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from tests.browser.test_labelling_screen import browser_page, open_for_labelling
from tests.label_exports import save, states_in
from tests.studio_fixtures import RunningStudio, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.realdata, pytest.mark.studio, pytest.mark.browser, pytest.mark.slow]

PEOPLE = {1: "ann@example.org", 2: "bo@example.org", 3: "cleo@example.org"}
FOR_THE_README = "SEMCTL_SCREENSHOT_DIR" in os.environ
PREFERRED, ITS_IMAGES = ("train/119", 16) if FOR_THE_README else ("12408", 13)


@pytest.fixture(scope="module")
def shop(
    shared_data: Path, studio_server: RunningStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """simmc2, labelled by its corpus, with a server of its own that serves its images."""
    folder = tmp_path_factory.mktemp("fashion")
    made = Workspace(folder / "shop")
    if FOR_THE_README:
        generate_corpus(folder / "corpus", GenerateRequest())
    import_corpus(
        made, ImportRequest(folder / "corpus" if FOR_THE_README else shared_data / "simmc2_fashion_mmd", "mmd")
    )
    ingest_labels(made, IngestRequest())
    shutil.copytree(studio_server.root / ".studio", made.root / ".studio")
    (made.root / ".studio" / "server.json").unlink()
    studio = Studio.of_workspace(made.root)
    studio.start(free_port())
    yield made
    studio.stop()


@pytest.fixture(scope="module")
def page(shop: Workspace) -> Iterator[Page]:
    studio = Studio.of_workspace(shop.root)
    credentials, url = studio.credentials(), studio.status().url
    assert credentials is not None
    assert url is not None
    with browser_page(url, credentials) as found:
        yield found


def photograph(page: Page, name: str) -> None:
    """An image in few colours, which the screen has anyway: a quarter of the size."""
    folder = os.environ.get("SEMCTL_SCREENSHOT_DIR")
    if folder:
        from PIL import Image

        target = Path(folder) / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        page.mouse.move(5, 5)
        page.wait_for_timeout(800)
        page.screenshot(path=target)
        with Image.open(target) as taken:
            taken.convert("RGB").quantize(256).save(target, optimize=True)
        assert target.stat().st_size < 300_000


def overlap(above: Locator, below: Locator) -> float:
    """Height in pixels that two things have in common."""
    one, other = above.bounding_box(), below.bounding_box()
    assert one is not None
    assert other is not None
    return min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])


def everything_is_in_place(page: Page, gateway: Gateway, title: str) -> None:
    """Every image loads, every turn stands beside its controls, and the page is small enough to stay quick."""
    assert page.evaluate("[...document.images].filter(i => i.closest('.sem')).every(i => i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366
    rows = page.locator(".sem-row").all()[:-1]
    for row in rows:
        row.locator(".sem-cur").evaluate("turn => turn.scrollIntoView({block: 'center'})")
        assert overlap(row.locator(".sem-cur"), row.locator(".sem-lab")) > 20
        for line in row.locator(".sem-answer").all():
            assert overlap(line, row.locator(".sem-lab")) > 15
    rows[0].evaluate("row => { row.closest('.lsf-main-content').scrollTop = 0 }")
    xml = ElementTree.fromstring(gateway.label_config(gateway.require_project(title).id))
    per_turn = [len(found) for found in xml.iter("Taxonomy") if found.get("name", "").startswith(("want", "dislike"))]
    assert len(per_turn) == 2
    assert sum(per_turn) * len(rows) <= 5_000
    assert page.evaluate("document.querySelectorAll('*').length") < 5_000


def test_a_prelabelled_dialogue_is_legible_and_a_mark_goes_with_one_click(shop: Workspace, page: Page, tmp_path: Path):
    named = tmp_path / "named"
    named.write_text(f"{PREFERRED}\n")
    title = "fashion, pre-labelled"
    export_for_labelling(shop, ExportRequest(Selection(split="all", named=named), project=title, prelabel="lexicon"))
    gateway = connect(shop.root)
    open_for_labelling(page, gateway, title)
    page.locator(".sem-row .ant-select-selection-item").first.wait_for()
    everything_is_in_place(page, gateway, title)
    assert page.locator(".sem-i img").count() == ITS_IMAGES
    told = page.locator(".sem-notice").all_inner_texts()
    assert "Check every mark" in told[0]
    assert "one click" in told[1]
    photograph(page, "labelling-screen")
    wanted = page.locator(".sem-row").first.locator(".sem-want")
    marks = wanted.locator(".ant-select-selection-item")
    before = marks.all_inner_texts()
    assert len(before) >= 2
    cross = marks.first.locator(".ant-select-selection-item-remove")
    box = cross.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 20
    cross.click()
    page.wait_for_function("n => document.querySelector('.sem-want').querySelectorAll('[title]').length < n", arg=2)
    assert marks.all_inner_texts() == before[1:]


def three_peoples_answers(shop: Workspace, folder: Path) -> None:
    tasks = folder / "tasks.json"
    export_for_labelling(shop, ExportRequest(Selection(limit=60), to_file=tasks))
    export = fill_tasks(
        json.loads(tasks.read_text()),
        states_in(shop),
        shop.ontology(),
        (1, 2, 3),
        redundancy=3,
        offered=offered_choices(next(shop.labelling.glob("batch-*/label_config.xml")).read_text()),
        error_rate=0.15,
        seed=7,
    )
    for task in export:
        for given in task["annotations"]:
            given["completed_by"] = PEOPLE[given["completed_by"]]
    ingest_labels(shop, IngestRequest(export=save(folder / "answers.json", export)))


def test_a_review_shows_all_answers_beside_the_controls_and_the_page_of_agreement_fits(
    shop: Workspace, page: Page, tmp_path: Path
):
    three_peoples_answers(shop, tmp_path)
    title = "fashion, review"
    adjudicate(shop, AdjudicateRequest(project=title, min_disagreement=0))
    gateway = connect(shop.root)
    open_for_labelling(page, gateway, title)
    page.locator(".sem-answers").first.wait_for()
    everything_is_in_place(page, gateway, title)
    sizes = page.eval_on_selector_all(".sem-mark", "all => all.map(e => parseFloat(getComputedStyle(e).fontSize))")
    assert min(sizes) >= 13
    assert page.locator(".sem-answers").count() == page.locator(".sem-cur").count()
    photograph(page, "review-screen")
    file = tmp_path / "agreement.html"
    assert _run(["-q", "-w", str(shop.root), "agreement", "--bootstrap", "500", "--html", str(file)]) == 0
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366
    assert page.get_by_text("ann@example.org").count() > 0
    photograph(page, "agreement-page")
