"""What is in a task, and what is not."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from annotate.judging.key import Key
from annotate.judging.screen import CHOICES, SOURCE, judging_config, judging_instruction
from annotate.judging.tasks import ShownProduct, judging_task, shown_sha256
from annotate.tasks.dialogue_tasks import TaskStyle
from annotate.tasks.label_config import is_intact
from schemas.errors import LabelError
from tests.annotate.judging.judged import key, task_data
from tests.labelling_corpus import PAYLOADS, turn


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_configuration_asks_for_one_of_three_sides_and_is_no_labelling_screen():
    xml = judging_config()
    root = ElementTree.fromstring(xml)
    (choices,) = root.iter("Choices")
    assert choices.get("required") == "true"
    assert [(choice.get("alias"), choice.get("hotkey")) for choice in choices] == [
        (side, str(number)) for number, side in enumerate(CHOICES, start=1)
    ]
    shown = {element.get("value") for element in root.iter("HyperText")}
    assert shown == {f"${name}" for name in task_data(1) if name.endswith("_html")}
    assert is_intact(xml, SOURCE)
    assert not is_intact(xml)  # export-for-labelling must not take the project for one of its own
    assert not is_intact(xml.replace("required", "mandatory"), SOURCE)
    assert "1, 2 and 3" in judging_instruction()


def test_a_task_shows_both_lists_and_the_dialogue_and_nothing_else():
    rows = [
        turn(0, "user", "a coat please"),
        turn(1, "system", "which?", "red"),
        turn(2, "user", "a red one"),
        turn(3, "system", "sure?"),
    ]
    left = [ShownProduct("red coat", "price: 49", "red"), ShownProduct("blue coat", "", None)]
    style = TaskStyle(1, 0, "", {"red": "/data/local-files/?d=pictures/r.png"}.get, {"red": "red coat"})
    data = judging_task("j1", "j1-0001", rows, left, left[::-1], style)["data"]
    assert set(data) == {"uid", "judgement", "context_html", "left_html", "right_html"}
    images = [attributes for tag, attributes in Tags(data["left_html"]).found if tag == "img"]
    assert [(image["alt"], image["title"]) for image in images] == [("red coat", "red coat · price: 49")]
    assert data["left_html"].count("<figure>") == data["right_html"].count("<figure>") == 2
    assert "no photo" in data["left_html"]
    places = re.findall(r"<b>(\d)</b>([^<]+)", data["right_html"])
    assert places == [("1", "blue coat"), ("2", "red coat")]
    marked = re.findall(r'sem-cur"><b>(\d) USER', data["context_html"])
    assert marked == ["2"]  # the user's last words


@pytest.mark.parametrize("payload", PAYLOADS)
def test_text_of_dialogues_and_catalogues_stays_text(payload: str):
    style = TaskStyle(1, 0, "", lambda image: f"/data/local-files/?d={image}")
    product = ShownProduct(payload, payload, "red")
    data = judging_task("j1", "u", [turn(0, "user", payload)], [product], [product], style)["data"]
    for name in ("context_html", "left_html", "right_html"):
        tags = Tags(data[name]).found
        assert {tag for tag, _ in tags} <= {"div", "b", "span", "figure", "figcaption", "a", "img"}
        assert {attribute for _, attributes in tags for attribute in attributes} <= {
            *("class", "href", "target", "rel", "src", "alt", "title")
        }
    (image,) = (attributes for tag, attributes in Tags(data["left_html"]).found if tag == "img")
    assert image["alt"] == payload


def test_the_hash_is_of_what_is_shown_whoever_is_asked():
    data = task_data(1)
    assert shown_sha256(task_data(1, annotator="ann")) == shown_sha256(data)
    for name in ("context_html", "left_html", "right_html"):
        assert shown_sha256({**data, name: "x"}) != shown_sha256(data)
    swapped = {**data, "left_html": data["right_html"], "right_html": data["left_html"]}
    assert shown_sha256(swapped) != shown_sha256(data)


def test_a_key_comes_back_from_its_file_and_a_damaged_one_is_one_line(tmp_path: Path):
    path = tmp_path / "which.key.json"
    key(("ann@x.org",)).write(path)
    assert Key.read(path) == key(("ann@x.org",))
    assert path.stat().st_mode & 0o077 == 0
    value = json.loads(path.read_text())
    for broken in ({**value, "semctl_judgement": 2}, {**value, "tasks": [{"uid": 3}]}, {"a": 1}, []):
        path.write_text(json.dumps(broken))
        with pytest.raises(LabelError):
            Key.read(path)
