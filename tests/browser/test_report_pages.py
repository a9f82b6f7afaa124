"""The pages of ``semctl report`` in a real browser: they load nothing, run nothing, fit a phone, and print.

With ``SEMCTL_SCREENSHOT_DIR`` set, images of the pages are written there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.cli import _run
from tests.pipeline.reports.hostile_shop import RUN, TEXTS, add_run, make_shop, rank_by_words
from tests.pipeline.reports.test_agreement import payload_workspace
from tests.pipeline.reports.test_experiment_report import grid as grid
from tests.skipping import skip_or_fail

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from pipeline.workspace import Workspace

pytestmark = pytest.mark.browser

CHROMIUM = Path(os.environ.get("SEMCTL_CHROMIUM", "/usr/bin/chromium"))
WIDTHS = (320, 768, 1280)
FOLDED = """() => [...document.querySelectorAll('details > *:not(summary)')].filter(
  e => !e.checkVisibility({contentVisibilityAuto: true})).length"""
ISOLATED = """e => ['isolate', 'plaintext', 'isolate-override'].includes(getComputedStyle(e).unicodeBidi)"""
CONTRAST = """() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const linear = c => c / 255 <= .03928 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const behind = e => {
    for (let at = e; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [127, 127, 127];
  };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const says = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!says || e.closest('svg') || !e.checkVisibility()) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), e.tagName, e.className, e.textContent.slice(0, 30)]);
  }
  return found;
}"""
"""Of each text, its contrast by WCAG, and where it is."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip_or_fail("browser", "playwright is not installed")
    if not CHROMIUM.exists():
        skip_or_fail("browser", f"no Chromium at {CHROMIUM}; set SEMCTL_CHROMIUM")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


def opened(browser: Browser, file: Path, width: int, scheme: str) -> tuple[Page, list[str]]:
    """The page, and what it asked for or said that it should not."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    wrong: list[str] = []
    page.on("request", lambda request: None if request.url.startswith("data:") else wrong.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda problem: wrong.append(str(problem)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    wrong.remove(file.as_uri())
    return page, wrong


def check(browser: Browser, file: Path, name: str) -> None:
    """What holds for every page."""
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            page, wrong = opened(browser, file, width, scheme)
            page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("window.fired") is None
            contrasts = page.evaluate(CONTRAST)
            assert len(contrasts) > 20
            assert [each for each in contrasts if each[0] < 4.5] == []
            if folder := os.environ.get("SEMCTL_SCREENSHOT_DIR"):
                page.screenshot(path=str(Path(folder) / f"report-{name}-{width}-{scheme}.png"))
            assert wrong == []
            page.close()
    page, wrong = opened(browser, file, 1280, "dark")
    assert page.evaluate(FOLDED) > 0
    assert page.locator("h1").count() == 1
    for link in page.locator("nav a").all():
        assert page.locator(str(link.get_attribute("href"))).count() == 1
    page.emulate_media(media="print", color_scheme="light")
    page.wait_for_function(f"({FOLDED})() === 0")  # what is folded is printed, too
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 1
    assert wrong == []
    page.close()


def test_a_run_with_hostile_texts(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rank_by_words(monkeypatch)
    shop = make_shop(tmp_path / "shop")
    add_run(shop, "other")
    assert _run(["-q", "-w", str(shop.root), "report", RUN, "--against", "other"]) == 0
    file = shop.reports / f"{RUN}.html"
    check(browser, file, "run")
    page, _ = opened(browser, file, 1280, "light")
    images = page.locator("details[open] ol.top .im:not(.none)")
    assert images.count() == min(10, len(TEXTS))
    for image in images.all():
        assert image.evaluate("e => getComputedStyle(e).backgroundImage").startswith('url("data:image/webp;base64,')
        assert image.get_attribute("aria-label")
    turned = page.get_by_text("neddih")
    assert turned.count() > 2
    assert all(each.evaluate(ISOLATED) for each in turned.all())
    page.close()


def test_labels_with_hostile_names(browser: Browser, tmp_path: Path):
    from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
    from schemas.tables import RECOMMENDATIONS, write_table

    shop = payload_workspace(tmp_path / "shop")
    write_table(shop.recommendations, RECOMMENDATIONS, [])
    ingest_labels(shop, IngestRequest())
    assert _run(["-q", "-w", str(shop.root), "report", "--labels"]) == 0
    check(browser, shop.reports / "labels.html", "labels")


def test_an_experiment(browser: Browser, grid: Workspace):
    assert _run(["-q", "-w", str(grid.root), "report", "mine"]) == 0
    file = grid.reports / "experiment-mine.html"
    check(browser, file, "experiment")
    page, _ = opened(browser, file, 320, "light")
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    page.close()
