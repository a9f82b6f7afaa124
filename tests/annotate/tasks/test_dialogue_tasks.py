from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.annotations.dialogue_index import dialogue_sha256
from annotate.tasks.dialogue_tasks import TaskStyle, dialogue_of_page, dialogue_tasks, image_url, states_html
from schemas.belief import TurnUpdate
from schemas.errors import CorpusError
from tests.labelling_corpus import ONTOLOGY, PAYLOADS, dialogue, turn

STYLE = TaskStyle(window=2, ontology_version=3, config_sha256="c" * 64)
SERVED_IMAGES = TaskStyle(
    window=9,
    ontology_version=1,
    config_sha256="c",
    shown_image=lambda image_id: None if image_id == "gone" else image_url(f"pictures/{image_id}.jpg"),
    names={"a": "Red <Coat>"},
)


class Reader(HTMLParser):
    """What a browser would see: tags with attributes, and text by class of the element around it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self._inside_text = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if ("class", "sem-x") in attrs:
            self._inside_text = True
            self.said.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "span":
            self._inside_text = False

    def handle_data(self, data: str) -> None:
        if self._inside_text:
            self.said[-1] += data


def pages(tasks: list[dict[str, Any]]) -> list[str]:
    found = []
    for task in tasks:
        data = task["data"]
        found += [data["past_html"], *(user_turn["html"] for user_turn in data["user_turns"]), data["tail_html"]]
    return found


def test_a_dialogue_is_cut_into_windows_of_user_turns():
    rows = [
        turn(0, "user", "hello"),
        turn(1, "system", "hi"),
        turn(2, "user", "red please"),
        turn(3, "system", "here"),
        turn(4, "user", "not that one"),
        turn(5, "system", "bye"),
    ]
    first, second = (task["data"] for task in dialogue_tasks(rows, STYLE))
    assert (first["uid"], second["uid"]) == ("d1#0", "d1#1")
    assert [data["window"] for data in (first, second)] == [0, 1]
    assert [data["windows"] for data in (first, second)] == [2, 2]
    assert [entry["turn"] for entry in first["user_turns"]] == [0, 2]
    assert [entry["turn"] for entry in second["user_turns"]] == [4]
    assert [Reader(entry["html"]).said for entry in first["user_turns"]] == [["hello"], ["hi", "red please"]]
    assert Reader(first["past_html"]).said == []
    assert Reader(first["tail_html"]).said == []
    assert Reader(second["past_html"]).said == ["hello", "hi", "red please"]
    assert Reader(second["user_turns"][0]["html"]).said == ["here", "not that one"]
    assert Reader(second["tail_html"]).said == ["bye"]


def test_a_task_says_what_it_was_made_from():
    data = dialogue_tasks(dialogue("x"), STYLE)[0]["data"]
    expected = {"dialogue_id": "x", "semctl_schema": 1, "ontology_version": 3, "config_sha256": "c" * 64}
    assert expected.items() <= data.items()
    assert data["dialogue_sha256"] == dialogue_sha256(dialogue("x"))


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 5))
def test_every_utterance_stands_in_exactly_one_row_or_the_tail(speakers: list[bool], window: int):
    rows = [turn(n, "user" if user else "system", f"utterance {n}") for n, user in enumerate(speakers)]
    tasks = dialogue_tasks(rows, TaskStyle(window=window, ontology_version=1, config_sha256="c"))
    rowed = [said for t in tasks for entry in t["data"]["user_turns"] for said in Reader(entry["html"]).said]
    tail = Reader(tasks[-1]["data"]["tail_html"]).said if tasks else []
    assert rowed + tail == ([row["text"] for row in rows] if any(speakers) else [])
    assert [entry["turn"] for t in tasks for entry in t["data"]["user_turns"]] == [
        n for n, u in enumerate(speakers) if u
    ]
    for number, task in enumerate(tasks):
        before = [said for t in tasks[:number] for e in t["data"]["user_turns"] for said in Reader(e["html"]).said]
        assert Reader(task["data"]["past_html"]).said == before


def test_a_click_on_an_image_opens_the_file_itself_in_a_new_tab():
    data = dialogue_tasks([turn(0, "user", "like this", "a", "gone")], SERVED_IMAGES)[0]["data"]
    tags = Reader(data["user_turns"][0]["html"]).tags
    (link,) = [attributes for tag, attributes in tags if tag == "a"]
    assert (link["href"], link["target"]) == (image_url("pictures/a.jpg"), "_blank")
    assert [tag for tag, _ in tags if tag in ("a", "img")] == ["a", "img"]


def test_images_are_numbered_from_one_in_each_turn_and_named_under_the_system():
    rows = [turn(0, "user", "like this", "a"), turn(1, "system", "look", "b", "gone", "a"), turn(2, "user", "the 3rd")]
    data = dialogue_tasks(rows, SERVED_IMAGES)[0]["data"]
    shown, answered = data["user_turns"][0]["html"], data["user_turns"][1]["html"]
    assert '<img src="/data/local-files/?d=pictures/a.jpg" alt="image #1">' in shown
    assert "Red" not in shown
    assert [attributes["alt"] for tag, attributes in Reader(answered).tags if tag == "img"] == ["image #1", "image #3"]
    assert '<div class="sem-none">image not available</div><figcaption><b>#2</b>' in answered
    assert "<b>#3</b>Red &lt;Coat&gt;</figcaption>" in answered


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_shown_and_not_interpreted(payload: str):
    rows = [turn(0, "user", payload, "pixel", dialogue=payload), turn(1, "system", payload, "pixel", dialogue=payload)]
    style = TaskStyle(1, 1, "c", shown_image=lambda name: f"/x?{payload}", names={"pixel": payload})
    for page in pages(dialogue_tasks([*rows, turn(2, "user", payload, dialogue=payload)], style)):
        reader = Reader(page)
        assert {tag for tag, _ in reader.tags} <= {"div", "b", "span", "figure", "a", "img", "figcaption"}
        assert {name for _, attributes in reader.tags for name in attributes} <= {
            *("class", "src", "alt", "href", "target", "rel", "title")
        }
        assert {attributes["href"] for tag, attributes in reader.tags if tag == "a"} <= {f"/x?{payload}"}
        assert set(reader.said) <= {payload}


def test_the_state_before_each_turn_but_the_first_is_shown_escaped():
    updates = [
        TurnUpdate(want={"color": ("<red>",)}),
        TurnUpdate(dislike={"price": ("cheap",)}),
        None,
        TurnUpdate(want={"color": ("blue",)}),
        TurnUpdate(),
    ]
    shown = states_html((0, 2, 4, 6, 8), updates, ONTOLOGY, source=", as filled in")
    text = {turn: re.sub("<[^>]*>", "|", page).strip("|") for turn, page in shown.items()}
    assert text == {
        0: "",
        2: "so far, as filled in| |color=&lt;red&gt;",
        4: "so far, as filled in| |color=&lt;red&gt;| |not price=cheap",
        6: "so far, as filled in| not known",
        8: "so far, as filled in| |color=blue| not known: price",
    }
    assert states_html((0, 2), [TurnUpdate(), TurnUpdate()], ONTOLOGY)[2].endswith("</b> nothing</div>")


@given(st.text())
def test_any_text_reads_as_it_was_said_but_for_control_characters(text: str):
    said = Reader(dialogue_tasks([turn(0, "user", text)], STYLE)[0]["data"]["user_turns"][0]["html"]).said
    shown = "".join("\ufffd" if (ord(c) < 32 and c not in "\t\n\r") or ord(c) == 127 else c for c in text)
    assert said == [shown]


def test_the_fingerprint_changes_with_every_word_speaker_and_image():
    base = [turn(0, "user", "red", "a"), turn(1, "system", "here")]
    changed = [
        [turn(0, "user", "Red", "a"), base[1]],
        [turn(0, "user", "red", "b"), base[1]],
        [turn(0, "user", "red"), base[1]],
        [turn(0, "system", "red", "a"), base[1]],
        [base[0], turn(2, "system", "here")],
        base[:1],
    ]
    prints = [dialogue_sha256(rows) for rows in (base, *changed)]
    assert len(set(prints)) == len(prints)


def test_the_fingerprint_is_the_same_whatever_else_a_row_holds():
    rows = [turn(0, "user", "red", "a")]
    assert dialogue_sha256(rows) == dialogue_sha256([{**rows[0], "split": "valid", "act": "greet"}])


def test_a_dialogue_without_a_user_gives_no_task():
    assert dialogue_tasks([turn(0, "system", "anyone?")], STYLE) == []
    assert dialogue_tasks([], STYLE) == []


def test_turns_of_two_dialogues_are_refused():
    with pytest.raises(CorpusError, match="several dialogues"):
        dialogue_tasks([turn(0, "user", "a"), turn(1, "user", "b", dialogue="d2")], STYLE)


@given(
    st.lists(st.tuples(st.booleans(), st.text() | st.sampled_from(PAYLOADS)), min_size=1, max_size=9), st.integers(1, 4)
)
def test_a_page_tells_what_was_said_up_to_its_last_turn(said: list[tuple[bool, str]], window: int):
    rows = [
        turn(number, "user" if is_user else "system", text, *(["a", "gone"] if number % 2 else []))
        for number, (is_user, text) in enumerate(said)
    ]
    for task in dialogue_tasks(rows, TaskStyle(window, 1, "c", SERVED_IMAGES.shown_image, SERVED_IMAGES.names)):
        data = task["data"]
        for shown in data["user_turns"]:  # as pre-labelled tasks have it
            shown["html"] += states_html([0, 2], [TurnUpdate(want={"color": ("red",)})], ONTOLOGY)[2]
        last = data["user_turns"][-1]["turn"]
        found = dialogue_of_page(data)
        assert [(each["turn"], each["speaker"]) for each in found] == [
            (row["turn"], row["speaker"]) for row in rows if row["turn"] <= last
        ]
        for each, row in zip(found, rows, strict=False):
            told = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", row["text"])
            assert each["text"].replace("\r\n", "\n").replace("\r", "\n") == told.replace("\r\n", "\n").replace(
                "\r", "\n"
            )


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"past_html": 3, "user_turns": "x"},
        {"past_html": "<div class='sem-t'>no number", "user_turns": [None]},
        {"user_turns": [{"html": "<div class='sem-t sem-u'><b>x USER</b></div>"}]},
        {"user_turns": [{"html": "<div class='sem-t'><b>2 USER</b></div><div class='sem-t'><b>1 USER</b></div>"}]},
        {"user_turns": [{"html": "<div class='sem-t'><b>1 USER</b></div>" * 60_000}]},
    ],
)
def test_a_page_of_somebody_else_is_refused(data: dict[str, Any]):
    with pytest.raises(CorpusError, match="shows no dialogue"):
        dialogue_of_page(data)
