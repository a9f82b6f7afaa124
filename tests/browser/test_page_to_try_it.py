"""The page of ``semctl serve`` in a real browser: conversations by keyboard, corrections, images, hostile texts, keys.

With ``SEMCTL_SCREENSHOT_DIR`` set, images of the page are written there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pipeline.serving.app import AppSettings
from pipeline.workspace import Workspace
from tests.browser.test_report_pages import CONTRAST
from tests.browser.test_report_pages import browser as browser
from tests.pipeline.reports.hostile_shop import RUN, Model, make_shop
from tests.served import in_thread, trained_workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SMALL = """() => [...document.querySelectorAll('button, .button, select, summary')]
  .filter(e => e.checkVisibility()).map(e => [e.getBoundingClientRect().height, e.textContent])
  .filter(([height]) => height < 24)"""
NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, summary')]
  .filter(e => e.checkVisibility() && !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim()))"""
TITLES = ("Conversation", "What it believes you want", "Products")
SAID = "I am looking for a dress in red"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_workspace(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def address(workspace: Workspace) -> Iterator[str]:
    with in_thread(workspace) as (address, _):
        yield address


def opened(browser: Browser, address: str, width: int = 1280, **more: object) -> tuple[Page, list[str]]:
    """The page, and what it said or asked for that it should not."""
    page = browser.new_page(viewport={"width": width, "height": 900}, **more)
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    own = (address, f"blob:{address}")
    page.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda problem: wrong.append(str(problem)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    page.wait_for_selector("#about:has-text('products')")
    return page, wrong


def say(page: Page, text: str) -> None:
    """Write a message, and wait for its products."""
    turns = page.locator("#log li").count()
    page.locator("#message").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#log li:nth-child({turns + 1})")
    page.wait_for_selector("#cards[aria-busy=false] .card")


def names(page: Page) -> list[str]:
    return page.locator(".card h3").all_text_contents()


def shoot(page: Page, name: str, *, whole: bool = False) -> None:
    if folder := os.environ.get("SEMCTL_SCREENSHOT_DIR"):
        page.wait_for_load_state("networkidle")
        page.screenshot(path=str(Path(folder) / f"page-{name}.png"), full_page=whole)


def test_a_conversation_by_keyboard(browser: Browser, address: str):
    page, wrong = opened(browser, address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the message"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # from the place that was jumped to
    page.locator("#message").focus()
    page.keyboard.type(SAID)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("please")
    page.keyboard.press("Enter")
    page.wait_for_selector("#cards[aria-busy=false] .card")
    assert page.locator("#log .user .text").inner_text() == f"{SAID}\nplease"
    assert page.locator(".card").count() == 12
    assert "The 12 that fit best of" in page.locator("#status").inner_text()
    assert page.evaluate("document.activeElement.id") == "message"
    page.locator(".card summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".card .why").first.is_visible()
    say(page, "something like the first one, but cheaper")
    assert page.locator("#log li").count() == 3
    assert page.locator("#log .system img").count() == 3, "what was shown is part of the conversation"
    page.get_by_role("button", name="Show more").press("Enter")
    page.wait_for_selector(".card:nth-child(24)")
    page.get_by_role("button", name="New conversation").press("Enter")
    assert page.locator("#log li, .card, .chip").count() == 0
    assert wrong == []
    page.close()


def test_a_belief_is_corrected_by_a_click_and_the_ranking_answers(browser: Browser, address: str):
    page, wrong = opened(browser, address)
    assert not page.locator("#kept-note").is_visible()
    say(page, SAID)
    page.locator("#more summary").click()
    page.locator("#slot").select_option("colors")
    first = page.locator("#values option").first.get_attribute("value")
    before = names(page)
    page.locator("#value").fill(str(first))
    page.get_by_role("button", name="Add", exact=True).click()
    chip = page.locator(".chip.mine.like", has_text=str(first))
    chip.wait_for()
    assert "your correction" in chip.inner_text()
    assert page.evaluate("document.activeElement.id") == "value"
    page.wait_for_selector("#cards[aria-busy=false]")
    liked = names(page)
    assert liked != before
    chip.get_by_role("button", name="I do not want this").click()
    page.locator(".chip.mine.dislike", has_text=str(first)).wait_for()
    assert "I want this" in str(page.evaluate("document.activeElement.getAttribute('aria-label')")), "focus stays there"
    page.wait_for_selector("#cards[aria-busy=false]")
    avoided = names(page)
    assert avoided != liked
    page.get_by_role("button", name="Undo your correction").first.click()
    page.wait_for_selector(".chip.mine", state="detached")
    page.wait_for_selector("#cards[aria-busy=false]")
    assert names(page) == before
    page.locator("#value").fill("no such colour")
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_selector("#problem:not([hidden])")
    assert "has no value 'no such colour'" in page.locator("#problem").inner_text()
    assert names(page) == before
    wrong = [each for each in wrong if "422" not in each]  # which the browser notes
    assert wrong == []
    page.close()


def test_corrections_are_kept_where_that_was_asked_for_and_the_page_says_so(browser: Browser, tmp_path: Path):
    shop = trained_workspace(tmp_path)
    with in_thread(shop, settings=AppSettings(keep_corrections=True)) as (address, _):
        page, wrong = opened(browser, address)
        assert "are kept on this server" in page.locator("#kept-note").inner_text()
        say(page, SAID)
        page.locator("#more summary").click()
        page.locator("#slot").select_option("colors")
        value = str(page.locator("#values option").nth(2).get_attribute("value"))
        with page.expect_response("**/corrections"):
            page.locator("#value").fill(value)
            page.get_by_role("button", name="Add", exact=True).click()
        chip = page.locator(".chip.mine.like", has_text=value)
        with page.expect_response("**/corrections"):
            chip.get_by_role("button", name="I do not want this").click()
        shoot(page, "keeping")
        with page.expect_response("**/corrections"):
            page.get_by_role("button", name="Undo your correction").first.click()
        page.wait_for_selector(".chip.mine", state="detached")
        page.wait_for_selector("#cards[aria-busy=false]")
        photo = tmp_path / "photo.png"
        Image.new("RGB", (40, 40), "red").save(photo)
        page.locator("#files").set_input_files([str(photo)])
        page.wait_for_selector("#attached li")
        say(page, "like this one")
        page.locator("#value").fill(value)
        with page.expect_response("**/recommend"):
            page.get_by_role("button", name="Add", exact=True).click()
        chip.wait_for()
        page.wait_for_load_state("networkidle")
        assert wrong == []
        page.close()
    kept = [json.loads(line) for line in shop.page_corrections.read_text().splitlines()]
    by_hand = [(set(one["like"]) - {*one["left"]}, set(one["dislike"]), one["undone"]) for one in kept]
    assert by_hand == [({value}, set(), False), (set(), {value}, False), (set(), set(), True)]
    assert all([turn["text"] for turn in one["turns"]] == [SAID] for one in kept), "none after a photo"


def test_images_of_ones_own_and_of_the_catalogue_go_into_a_message(browser: Browser, address: str, tmp_path: Path):
    page, wrong = opened(browser, address)
    photo = tmp_path / "photo.png"
    Image.effect_noise((2500, 1500), 80).convert("RGB").save(photo)
    (tmp_path / "note.png").write_text("no image")
    page.locator("#files").set_input_files([str(photo)])
    page.wait_for_selector("#attached li")
    with page.expect_request("**/recommend") as asked:
        page.get_by_role("button", name="Send").click()
    sent = asked.value.post_data_json
    assert list(sent["images"]) == sent["turns"][0]["images"] == ["photo-1"]
    assert len(sent["images"]["photo-1"]) < 2_000_000, "a large photo is made smaller first"
    page.wait_for_selector("#cards[aria-busy=false] .card")
    page.get_by_role("button", name=re.compile("Show it in my message")).first.click()
    page.wait_for_selector("#attached li")
    assert page.evaluate("document.activeElement.id") == "message"
    page.get_by_role("button", name=re.compile("^Take .* out$")).click()
    assert page.locator("#attached li").count() == 0
    assert wrong == []
    page.locator("#files").set_input_files([str(tmp_path / "note.png")])
    page.wait_for_selector("#attached li")
    page.locator("#message").fill("like this")
    page.keyboard.press("Enter")
    page.wait_for_selector("#problem:not([hidden])")
    assert "cannot be decoded" in page.locator("#problem").inner_text()
    assert page.locator("#message").input_value() == "like this", "nothing that was written is lost"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read_everywhere(browser: Browser, address: str, scheme: str):
    page, wrong = opened(browser, address, color_scheme=scheme)
    say(page, SAID)
    say(page, "not too expensive, and not in black")
    page.locator("#more summary").click()
    page.locator(".card summary").first.click()
    for width in (320, 768, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        contrasts = page.evaluate(CONTRAST)
        assert len(contrasts) > 40
        assert [each for each in contrasts if each[0] < 4.5] == []
        assert page.evaluate(SMALL) == [], "what is tapped is large enough"
        shoot(page, f"{width}-{scheme}", whole=width == 320)
    assert page.evaluate(NAMELESS) == []
    heard = page.locator("body").aria_snapshot()
    for part in ("log", "status", *(f'heading "{title}"' for title in TITLES)):
        assert part in heard
    buttons = page.evaluate(
        "() => [...document.querySelectorAll('.card button, .chip button')].map(e => e.ariaLabel || e.textContent)"
    )
    assert all(": " in each or ". " in each for each in buttons), "each says what it is about"
    assert wrong == []
    page.close()


def test_hostile_texts_stay_texts(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.modelling.recommender.open_ranker", lambda folder, corpus, **_: Model().fit(corpus))
    shop = make_shop(tmp_path / "shop")
    with in_thread(shop, RUN) as (address, service):
        page, wrong = opened(browser, address)
        say(page, '<img src=x onerror="window.fired=1"> <script>window.fired=2</script> dress')
        page.get_by_role("button", name=re.compile("Show it in my message")).first.click()
        say(page, "javascript:window.fired=3 ]]>")
        for summary in page.locator(".card summary").all():
            summary.click()
        page.wait_for_load_state("networkidle")
        known = {product.name for product in service.shop.recommender.corpus.products}
        assert set(names(page)) <= known
        assert len(names(page)) == min(12, len(known))
        assert page.locator("main script, main iframe, main object, main style").count() == 0
        assert page.evaluate("window.fired") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert "no beliefs that could be shown" in page.locator("#belief-note").inner_text()
        assert wrong == []
        page.close()


def test_a_server_with_a_key_is_asked_with_it(browser: Browser, workspace: Workspace):
    key = "0123456789abcdef-secret"
    with in_thread(workspace, settings=AppSettings(api_key=key)) as (address, _):
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        for given in ("not the right key", key):
            page.wait_for_selector("#ask-key[open]")
            page.locator("#key").fill(given)
            page.keyboard.press("Enter")
        page.wait_for_selector("#about:has-text('products')")
        say(page, SAID)
        page.locator(".card img").first.scroll_into_view_if_needed()
        page.wait_for_selector(".card:first-child img[src^=blob]")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.querySelector('.card img').naturalWidth") > 0
        assert key not in page.url
        page.close()
