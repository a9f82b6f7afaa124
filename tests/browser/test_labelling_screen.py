"""The labelling screen in a real browser, as an annotator sees and uses it.

With ``SEMCTL_SCREENSHOT_DIR`` set, images of the screen are written there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annotate.label_studio.gateway import Gateway, PushedTask, connect
from annotate.label_studio.studio import Credentials
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.workspace import Workspace
from schemas.ontology import Ontology, Slot, Value
from tests.labelling_corpus import PAYLOADS, turn, write_workspace
from tests.skipping import skip_or_fail
from tests.studio_fixtures import RunningStudio, whole_export

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.studio, pytest.mark.browser]

CHROMIUM = Path(os.environ.get("SEMCTL_CHROMIUM", "/usr/bin/chromium"))
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
OPEN_LIST = ".ant-select-dropdown:not(.ant-select-dropdown-hidden)"
SEARCH = f"{OPEN_LIST} [name=taxonomy-search-input]"
FOREIGN = (
    ".sem script, .sem iframe, .sem svg[onload], .sem [onerror], .sem a:not([href^='/data/local-files/?d=pictures/'])"
)
"""What no dialogue may bring onto the screen; links lead to the images' own files only."""
IS_FILTERED = """([list, typed]) => {
    const shown = [...document.querySelectorAll(`${list} .ant-select-tree-title`)].map(e => e.innerText);
    return shown.length > 0 && shown.every(text => text.includes(typed));
}"""

SHOP = Ontology(
    slots=(
        Slot(name="type", attribute="type", values=tuple(Value(value=v) for v in ("coat", "dress", "shirt", "shoes"))),
        Slot(
            name="color",
            attribute="color",
            values=tuple(
                Value(value=v, aliases=("gray",) if v == "grey" else ())
                for v in ("black", "blue", "grey", "light grey", "red", "white")
            ),
        ),
        Slot(name="pattern", attribute="pattern", values=tuple(Value(value=v) for v in ("plain", "striped"))),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(Value(value="below 50", high=50), Value(value="50 and more", low=50)),
        ),
    )
)


@pytest.fixture(scope="module")
def page(studio_server: RunningStudio) -> Iterator[Page]:
    """A browser that is logged in to the server of all tests."""
    credentials = studio_server.studio.credentials()
    assert credentials is not None
    with browser_page(studio_server.url, credentials) as found:
        yield found


@contextmanager
def browser_page(url: str, credentials: Credentials) -> Iterator[Page]:
    """A browser of the size of a small laptop, logged in."""
    if not CHROMIUM.exists():
        skip_or_fail("browser", f"no Chromium at {CHROMIUM}; set SEMCTL_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(CHROMIUM_OPTIONS))
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(60_000)
        page.goto(f"{url}/user/login")
        page.fill("input[name=email]", credentials.username)
        page.fill("input[name=password]", credentials.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/user/login" not in url)
        yield page
        browser.close()


def drawn_image(path: Path, kind: str, colour: str, size: tuple[int, int] = (240, 300)) -> None:
    """A garment, drawn: enough to see what the user points at."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (240, 300), "white")
    draw = ImageDraw.Draw(image)
    hem = 270 if kind in ("coat", "dress") else 190
    draw.polygon([(80, 40), (160, 40), (175, hem), (65, hem)], fill=colour, outline="#444444")
    for side in (-1, 1):
        draw.polygon(
            [(120 + 40 * side, 42), (120 + 75 * side, 130), (120 + 55 * side, 140), (120 + 38 * side, 90)],
            fill=colour,
            outline="#444444",
        )
    if kind == "coat":
        draw.line([(120, 42), (120, hem)], fill="#222222", width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize(size).save(path)


@pytest.fixture(scope="module")
def shop(studio_server: RunningStudio) -> Workspace:
    """A dialogue with images, in the workspace whose images the server serves."""
    from schemas.tables import IMAGES, PRODUCTS, write_table

    rows = [
        turn(0, "user", "Hi, I am looking for a coat for the autumn, something under 50.", dialogue="shop"),
        turn(1, "system", "Of course. How about one of these?", "grey", "red", "black", dialogue="shop"),
        turn(2, "user", "I like the 2nd one, but in blue. Nothing black, please!", dialogue="shop"),
        turn(3, "system", "This one is new in our shop.", "blue", "gone", dialogue="shop"),
        turn(4, "user", "Lovely. The price does not matter then. Is it lined?", dialogue="shop"),
        turn(5, "system", "It is, with viscose.", dialogue="shop"),
        turn(6, "user", "Great. Now show me striped shirts.", dialogue="shop"),
    ]
    workspace = write_workspace(studio_server.root, [rows], ontology=SHOP)
    colours = {"black": "#222222", "blue": "#3b6fb6", "grey": "#9a9a9a", "red": "#b8322a"}
    shown = {"url": None, "sha256": None, "width": 240, "height": 300}
    images: list[dict[str, Any]] = []
    products = []
    for name, colour in colours.items():
        size = (60, 45) if name == "blue" else (240, 300)
        drawn_image(workspace.root / "drawn" / f"{name}.png", "coat", colour, size)
        images.append(
            {"image_id": name, "file": str(workspace.root / "drawn" / f"{name}.png"), "status": "ok", **shown}
        )
        product = {"product_id": name, "name": f"{name.title()} wool coat", "description": "", "attributes": []}
        products.append({**product, "price": 49.0, "currency": None, "image_ids": [name], "source": "test"})
    images.append({"image_id": "gone", "file": None, "status": "missing", **shown})
    write_table(workspace.images, IMAGES, sorted(images, key=lambda row: str(row["image_id"])))
    write_table(workspace.products, PRODUCTS, products)
    return workspace


def only_task(gateway: Gateway, project: str) -> PushedTask:
    (task,) = gateway.tasks(gateway.require_project(project))
    return task


def open_for_labelling(page: Page, gateway: Gateway, project: str) -> None:
    page.goto(f"{gateway.url}/projects/{gateway.require_project(project).id}/data?labeling=1")
    page.wait_for_selector(".sem-row")
    page.wait_for_function("[...document.images].every(image => image.complete)")


def pick(page: Page, field: Locator, typed: str) -> None:
    """As the guideline says: click, wait for the cursor, type, wait for the matches, arrow down, Enter, Esc."""
    field.click()
    page.locator(SEARCH).wait_for()
    page.wait_for_function("document.activeElement && document.activeElement.closest('.ant-select-dropdown')")
    page.keyboard.press("Control+a")
    page.keyboard.type(typed)
    page.wait_for_function(IS_FILTERED, arg=[OPEN_LIST, typed])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.wait_for_function("selector => !document.querySelector(selector)", arg=SEARCH)


def photograph(page: Page, name: str) -> None:
    folder = os.environ.get("SEMCTL_SCREENSHOT_DIR")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def results(gateway: Gateway, project: str, folder: Path) -> dict[str, Any]:
    import json

    file = whole_export(gateway, gateway.require_project(project), folder / "export.json")
    (task,) = json.loads(file.read_text())
    (annotation,) = task["annotations"]
    return {item["from_name"]: next(iter(item["value"].values())) for item in annotation["result"]}


def test_a_dialogue_is_labelled_by_keyboard_and_arrives(page: Page, shop: Workspace, tmp_path: Path):
    export_for_labelling(shop, ExportRequest(Selection(), project="autumn coats"))
    gateway = connect(shop.root)
    open_for_labelling(page, gateway, "autumn coats")
    row = page.locator(".sem-row")
    assert row.count() == 5  # four user turns and the end
    assert page.locator(".sem-i img").count() == 4
    assert page.evaluate("[...document.images].filter(i => i.closest('.sem')).every(i => i.naturalWidth > 0)")
    pick(page, row.nth(0).locator(".sem-want .ant-select"), "coat")
    pick(page, row.nth(0).locator(".sem-want .ant-select"), "below")
    pick(page, row.nth(1).locator(".sem-want .ant-select"), "blue")
    pick(page, row.nth(1).locator(".sem-dislike .ant-select"), "=black")
    row.nth(1).locator(".sem-free input").fill("lining=viscose")
    page.keyboard.press("Enter")
    page.mouse.move(5, 5)
    photograph(page, "labelled-by-keyboard")
    pick(page, row.nth(2).locator(".sem-op .ant-select"), "drop=price")
    pick(page, row.nth(3).locator(".sem-op .ant-select"), "new_topic")
    pick(page, row.nth(3).locator(".sem-want .ant-select"), "shirt")
    pick(page, row.nth(4).locator(".ant-select"), "images_missing")
    row.nth(4).locator("input[name=note]").fill("typed, and submitted without Enter")
    photograph(page, "labelled-by-keyboard-end")
    page.locator(".sem-head").last.click()
    page.keyboard.press("Control+Enter")
    deadline = time.monotonic() + 20
    while only_task(gateway, "autumn coats").annotations == 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert results(gateway, "autumn coats", tmp_path) == {
        "want_0": [["type=coat"], ["price=below 50"]],
        "want_1": [["color=blue"]],
        "dislike_1": [["color=black"]],
        "free_1": ["lining=viscose"],
        "op_2": [["drop=price"]],
        "op_3": [["flag=new_topic"]],
        "want_3": [["type=shirt"]],
        "dialogue_op": [["flag=images_missing"]],
        "note": ["typed, and submitted without Enter"],
    }


def test_a_list_takes_every_letter_once_its_search_has_the_cursor_and_the_arrow_key_marks_what_enter_picks(
    page: Page, shop: Workspace
):
    export_for_labelling(shop, ExportRequest(Selection(), project="typing"))
    open_for_labelling(page, connect(shop.root), "typing")
    assert page.get_by_text("then press ↓ and Enter").count() == 1
    wants = page.locator(".sem-row").nth(0).locator(".sem-want")
    assert "then ↓ and Enter" in wants.inner_text()
    wants.locator(".ant-select").click()
    page.wait_for_function("document.activeElement.name === 'taxonomy-search-input'")
    page.keyboard.type("coat", delay=60)
    assert page.locator(SEARCH).input_value() == "coat"
    page.wait_for_function(IS_FILTERED, arg=[OPEN_LIST, "coat"])
    page.keyboard.press("Enter")
    assert wants.locator(".ant-select-selection-item").count() == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert wants.locator(".ant-select-selection-item").all_inner_texts() == ["type=coat"]
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement === document.body")


def test_the_text_field_takes_letters_at_once_and_keeps_the_cursor(page: Page, shop: Workspace):
    export_for_labelling(shop, ExportRequest(Selection(), project="typing at once"))
    open_for_labelling(page, connect(shop.root), "typing at once")
    field = page.locator(".sem-row").nth(0).locator(".sem-free")
    field.locator("input").click()
    for said in ("type=coat", "!color=gray"):
        page.keyboard.type(said, delay=60)
        page.keyboard.press("Enter")
        field.get_by_text(said).wait_for()
    assert field.inner_text().split() == ["Other", "type=coat", "!color=gray"]


def test_a_value_is_found_by_its_other_names_and_arrives_by_its_own(page: Page, shop: Workspace, tmp_path: Path):
    export_for_labelling(shop, ExportRequest(Selection(), project="other names"))
    gateway = connect(shop.root)
    open_for_labelling(page, gateway, "other names")
    wants = page.locator(".sem-row").nth(0).locator(".sem-want")
    pick(page, wants.locator(".ant-select"), "gray")
    assert wants.locator(".ant-select-selection-item").all_inner_texts() == ["color=grey (gray)"]
    page.get_by_role("button", name="Submit").first.click()
    deadline = time.monotonic() + 20
    while only_task(gateway, "other names").annotations == 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert results(gateway, "other names", tmp_path) == {"want_0": [["color=grey"]]}


def test_images_are_as_large_as_their_files_up_to_240_pixels_and_a_click_shows_them_whole(page: Page, shop: Workspace):
    export_for_labelling(shop, ExportRequest(Selection(), project="images"))
    open_for_labelling(page, connect(shop.root), "images")
    sizes = page.eval_on_selector_all(".sem-i img", "all => all.map(i => [i.clientWidth, i.clientHeight])")
    assert sizes == [[192, 240]] * 3 + [[60, 45]]  # files of 240 x 300, and a small one
    for box in page.locator(".sem-t").all():
        widths = box.evaluate(
            "e => [e.clientWidth, Math.max(...[...e.children].map(c => c.getBoundingClientRect().width))]"
        )
        assert widths[0] - widths[1] < 150
    with page.context.expect_page() as opened:
        page.locator(".sem-i img").first.click()
    opened.value.wait_for_load_state()
    assert opened.value.evaluate("[document.images[0].naturalWidth, document.images[0].naturalHeight]") == [240, 300]
    opened.value.close()


def test_stray_keys_change_nothing_and_the_guideline_is_one_click_away(page: Page, shop: Workspace):
    export_for_labelling(shop, ExportRequest(Selection(), project="stray keys"))
    gateway = connect(shop.root)
    open_for_labelling(page, gateway, "stray keys")
    page.locator(".sem-head").first.click()
    for key in "abcdefghijklmnopqrstuvwxyz0123456789":
        page.keyboard.press(key)
    assert page.locator(".ant-select-selection-item").count() == 0
    assert page.locator(".sem-row").count() == 5
    page.get_by_role("button", name="Instructions").click()
    page.get_by_text("Mark the update, not the state").wait_for()
    photograph(page, "instructions")
    page.keyboard.press("Escape")
    assert only_task(gateway, "stray keys").annotations == 0


def test_every_turn_stands_beside_its_controls_and_nothing_is_cut_off(page: Page, shop: Workspace):
    export_for_labelling(shop, ExportRequest(Selection(), project="geometry"))
    open_for_labelling(page, connect(shop.root), "geometry")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366
    for row in page.locator(".sem-row").all()[:4]:
        turn_box, control_box = row.locator(".sem-cur").bounding_box(), row.locator(".sem-lab").bounding_box()
        row_box = row.bounding_box()
        assert turn_box is not None
        assert control_box is not None
        assert row_box is not None
        assert turn_box["x"] + turn_box["width"] <= control_box["x"]
        assert control_box["x"] + control_box["width"] <= 1366
        assert row_box["y"] <= control_box["y"]
        assert min(turn_box["y"] + turn_box["height"], control_box["y"] + control_box["height"]) - 20 > max(
            turn_box["y"], control_box["y"]
        )
        assert row_box["height"] < 400
    sizes = page.eval_on_selector_all(".sem-x", "found => found.map(e => parseFloat(getComputedStyle(e).fontSize))")
    assert min(sizes) >= 13


def test_script_in_dialogues_names_and_values_fires_nothing(page: Page, studio_server: RunningStudio, tmp_path: Path):
    rows = [turn(2 * n, "user", payload, "pixel", dialogue="<b>x</b>") for n, payload in enumerate(PAYLOADS)]
    rows += [turn(2 * n + 1, "system", payload, "pixel", dialogue="<b>x</b>") for n, payload in enumerate(PAYLOADS)]
    values = tuple(Value(value=payload) for payload in PAYLOADS)
    evil = Ontology(
        slots=(Slot(name="<i>slot</i>", attribute="a", title=PAYLOADS[1], hint=PAYLOADS[0], values=values),)
    )
    workspace = write_workspace(tmp_path / "evil", [rows], ontology=evil)
    from schemas.tables import PRODUCTS, write_table

    product = {"product_id": "p", "name": PAYLOADS[1], "description": "", "attributes": [], "price": None}
    write_table(workspace.products, PRODUCTS, [{**product, "currency": None, "image_ids": ["pixel"], "source": "t"}])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in studio_server.environment.items():
            patch.setenv(name, value)
        export_for_labelling(workspace, ExportRequest(Selection(), project="payloads"))
        gateway = connect(workspace.root)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    open_for_labelling(page, gateway, "payloads")
    page.locator(".sem-row").first.locator(".sem-want .ant-select").click()
    page.locator(SEARCH).wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Instructions").click()
    page.get_by_text("Mark the update, not the state").wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("window.fired") is None
    assert dialogs == []
    assert page.locator(FOREIGN).count() == 0
    shown = page.locator(".sem-cur .sem-x").all_inner_texts()
    assert shown == [" ".join(payload.split()) for payload in PAYLOADS]
    page.keyboard.press("Escape")


def odd_images() -> dict[str, bytes]:
    """Image files that browsers show in their own ways, or not at all: left half red, right half blue, 60 by 40."""
    import io

    import numpy as np
    from PIL import Image

    halves = Image.new("RGB", (60, 40), "blue")
    halves.paste((255, 0, 0), (0, 0, 30, 40))
    quarter_turn, exif = halves.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    clear = halves.convert("RGBA")
    clear.paste((0, 0, 0, 0), (30, 0, 60, 40))
    grey = Image.fromarray(np.tile(np.linspace(0, 65535, 60).astype(np.uint16), (40, 1)))
    white = Image.new("RGB", (60, 40), "white")

    def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
        content = io.BytesIO()
        image.save(content, kind, **options)
        return content.getvalue()

    return {
        "nosuffix": saved(halves, "JPEG"),
        "turned.jpg": saved(quarter_turn, "JPEG", exif=exif),
        "turned.png": saved(quarter_turn, "PNG", exif=exif),
        "turned.webp": saved(quarter_turn, "WEBP", exif=exif),
        "sixteen.png": saved(grey, "PNG"),
        "sixteen.tif": saved(grey, "TIFF"),
        "clear.png": saved(clear, "PNG"),
        "new.avif": saved(halves, "AVIF"),
        "inks.jpg": saved(halves.convert("CMYK"), "JPEG"),
        "moving.gif": saved(halves, "GIF", save_all=True, append_images=[white], duration=40),
        "UPPER.BMP": saved(halves, "BMP"),
        "wrong.jpg": saved(halves, "WEBP"),
    }


SHOWN_PIXELS = """image => {
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    return [image.naturalWidth, image.naturalHeight, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
}"""


def test_odd_images_are_shown_as_the_encoder_reads_them(page: Page, studio_server: RunningStudio, tmp_path: Path):
    import numpy as np

    from schemas.files import sha256_bytes
    from schemas.tables import IMAGES, write_table
    from semantic_model.data.image_features import open_image

    files = odd_images()
    rows = [turn(0, "user", "hi", dialogue="odd"), turn(1, "system", "look", *files, dialogue="odd")]
    workspace = write_workspace(
        studio_server.root, [[*rows, turn(2, "user", "the first", dialogue="odd")]], ontology=SHOP
    )
    images = []
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        known = {"image_id": name, "file": str(path), "url": None, "sha256": sha256_bytes(content)}
        images.append({**known, "width": 60, "height": 40, "status": "ok"})
    write_table(workspace.images, IMAGES, sorted(images, key=lambda row: str(row["image_id"])))
    result = export_for_labelling(workspace, ExportRequest(Selection(), project="odd images"))
    assert dict(result.images) == {"shown": len(files), "missing": 0}
    types: dict[str, str] = {}
    page.on("response", lambda answer: types.update({answer.url: answer.headers.get("content-type", "")}))
    open_for_labelling(page, connect(workspace.root), "odd images")
    shown = page.locator(".sem-i img")
    assert shown.count() == len(files)
    for number, name in enumerate(files):
        width, height, levels = shown.nth(number).evaluate(SHOWN_PIXELS)
        read = open_image(tmp_path / name)
        assert read is not None
        assert (width, height) == read.size == (60, 40), name
        pixels = np.array(levels).reshape(height, width, 4)
        assert (pixels[..., 3] == 255).all(), name
        assert np.abs(pixels[..., :3] - np.asarray(read).astype(int)).mean() < 2.5, name
        address = str(shown.nth(number).evaluate("image => image.src"))
        assert types[address].startswith("image/"), (name, types[address])
    photograph(page, "odd-images")
