"""The agreement page in a real browser: it loads nothing, runs nothing, and fits a small screen.

With ``SEMCTL_SCREENSHOT_DIR`` set, images of the page are written there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.cli import _run
from tests.pipeline.reports.test_agreement import payload_workspace
from tests.skipping import skip_or_fail

pytestmark = pytest.mark.browser

CHROMIUM = Path(os.environ.get("SEMCTL_CHROMIUM", "/usr/bin/chromium"))


def test_the_page_fires_no_payload_loads_nothing_and_does_not_scroll_sideways(tmp_path: Path):
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip_or_fail("browser", "playwright is not installed")
    if not CHROMIUM.exists():
        skip_or_fail("browser", f"no Chromium at {CHROMIUM}; set SEMCTL_CHROMIUM")
    workspace = payload_workspace(tmp_path / "shop")
    path = tmp_path / "page.html"
    assert _run(["-q", "-w", str(workspace.root), "agreement", "--bootstrap", "50", "--html", str(path)]) == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(path.as_uri())
        assert page.evaluate("window.fired") is None
        assert asked == [path.as_uri()]
        assert said == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 1366
        assert page.locator("h1").inner_text() == "Agreement between annotators"
        assert page.get_by_text("<script>window.fired = 1</script>").count() > 0
        for link in page.locator("nav a").all():
            assert page.locator(str(link.get_attribute("href"))).count() == 1
        dots = page.locator("td.dot svg circle")
        assert all((box := dot.bounding_box()) is not None and box["width"] > 5 for dot in dots.all())
        assert dots.count() > 0
        if folder := os.environ.get("SEMCTL_SCREENSHOT_DIR"):
            page.screenshot(path=str(Path(folder) / "agreement-payloads.png"))
        browser.close()
