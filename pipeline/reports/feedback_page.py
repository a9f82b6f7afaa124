"""A feedback pack as one HTML page that needs nothing else: no script, no network, every text escaped.

The page is built as a tree of elements, so that no text of a dialogue or an annotator can become markup. Images are
inside it, each once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from annotate.adjudication.feedback import Difference, Feedback, Group, Kind
from annotate.adjudication.review_tasks import mark_text
from annotate.annotations.annotation import Mark
from pipeline.reports.feedback_style import STYLE
from pipeline.reports.thumbnails import thumbnail_url

__all__ = ["MOST_SHOWN", "Images", "Said", "render_page"]

MOST_SHOWN = 12
"""Turns shown of one slot and kind; the JSON file holds all of them."""

_BEFORE = 3
_NOT_PRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_KIND_TEXTS: Mapping[Kind, str] = {
    "another value": "another value",
    "left out": "in the final label, not in your answer",
    "marked on top": "in your answer, not in the final label",
    "the other side": "wanted or disliked, the other way round",
    "said otherwise": "marked in another way",
    "not labelled": "whether the turn can be labelled",
}


@dataclass(frozen=True)
class Said:
    """What is said in the dialogues that are shown.

    Attributes:
        rows: dialogue id -> its rows of ``turns.parquet``, in order.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]]

    @classmethod
    def of(cls, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Said:
        return cls(rows)

    def until(self, dialogue_id: str, turn: int) -> list[Mapping[str, Any]]:
        """A turn and the three before it."""
        before = [row for row in self.rows.get(dialogue_id, ()) if row["turn"] <= turn]
        return before[-1 - _BEFORE :]


@dataclass
class Images:
    """Images of a page: small, and each in it once.

    Attributes:
        files: image id -> its file.
        names: image id -> name of the product in it.
    """

    files: Mapping[str, Path]
    names: Mapping[str, str]
    _urls: dict[str, str | None] = field(default_factory=dict, repr=False)

    def url(self, image_id: str) -> str | None:
        """Its content as a ``data:`` address; None when there is no such image."""
        if image_id not in self._urls:
            file = self.files.get(image_id)
            self._urls[image_id] = None if file is None else thumbnail_url(file)
        return self._urls[image_id]


def render_page(feedback: Feedback, said: Said, images: Images, *, title: str) -> str:
    """The page as text: the same feedback gives the same bytes.

    Args:
        feedback: of one annotator.
        said: the dialogues.
        images: their images.
        title: of the workspace.
    """
    page = Element("html", {"lang": "en"})
    head = _add(page, "head")
    _add(head, "meta", charset="utf-8")
    _add(head, "meta", **{"http-equiv": "Content-Security-Policy", "content": _POLICY})
    _add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "title", f"Feedback for {feedback.annotator}")
    style = _add(head, "style", STYLE)
    body = _add(page, "body")
    _summary(body, feedback, title)
    groups = feedback.groups
    if groups:
        _overview(body, groups)
    used: dict[str, str] = {}
    for number, group in enumerate(groups):
        _group(body, group, number, said, images, used)
    style.text = STYLE + "".join(f".{name} {{ background-image: url({images.url(i)}) }}\n" for i, name in used.items())
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _summary(body: Element, feedback: Feedback, title: str) -> None:
    _add(body, "h1", f"Feedback for {feedback.annotator}")
    _add(body, "p", f"{title}: your answers beside the final labels", _class="soft")
    cards = _add(body, "div", _class="head")
    share = f" ({feedback.same / feedback.compared:.0%})" if feedback.compared else ""
    for figure, text in (
        (f"{feedback.answered:,}", "turns you answered"),
        (f"{feedback.compared:,}", "of them others answered too, or a reviewer decided"),
        (f"{feedback.same:,}{share}", "of these say what the final label says"),
        (f"{feedback.compared - feedback.same:,}", "differ, and are shown below"),
        (f"{feedback.undecided:,}", "are not decided yet"),
    ):
        card = _add(cards, "div", _class="card")
        _add(card, "b", figure)
        _add(card, "span", text)
    if not feedback.groups:
        _add(body, "p", "Nothing differs so far.")
        return
    _add(
        body,
        "p",
        "What differs most often comes first. A final label is what most people said or what a reviewer decided; it "
        "can be wrong. Where your answer still seems right to you, tell whoever leads the labelling: give the dialogue "
        "and the turn.",
    )


def _overview(body: Element, groups: Sequence[Group]) -> None:
    table = _add(body, "table")
    top = _add(table, "tr")
    for heading in ("slot", "what differs", "turns", "most often: your answer", "final label"):
        _add(top, "th", heading, _class="number" if heading == "turns" else "")
    for number, group in enumerate(groups):
        row = _add(table, "tr")
        _add(_add(row, "td"), "a", _slot(group), href=f"#g{number}")
        _add(row, "td", _KIND_TEXTS[group.kind])
        _add(row, "td", f"{len(group.differences):,}", _class="number")
        first = group.differences[0]
        times = f" ({group.typical[0][2]} times)" if group.typical else ""
        _chips(_add(row, "td"), first.marked, "nothing")
        _chips(_add(row, "td"), first.decided, _nothing(first), after=times)


def _group(body: Element, group: Group, number: int, said: Said, images: Images, used: dict[str, str]) -> None:
    heading = _add(body, "h2", f"{_slot(group)}: {_KIND_TEXTS[group.kind]} ", id=f"g{number}")
    _add(heading, "span", f"{_count(len(group.differences), 'turn')}", _class="soft")
    for one in group.differences[:MOST_SHOWN]:
        _turn(body, one, said, images, used)
    if len(group.differences) > MOST_SHOWN:
        more = len(group.differences) - MOST_SHOWN
        _add(body, "p", f"{more:,} more of this kind are in the JSON file.", _class="soft")


def _turn(body: Element, one: Difference, said: Said, images: Images, used: dict[str, str]) -> None:
    box = _add(body, "div", _class="turn")
    left, right = _add(box, "div", _class="said"), _add(box, "div", _class="labels")
    _add(left, "div", f"dialogue {one.dialogue_id}, turn {one.turn}", _class="where")
    for row in said.until(one.dialogue_id, one.turn):
        _utterance(left, row, row["turn"] == one.turn, images, used)
    for title, marks, nothing, kind in (
        ("Your answer", one.marked, _silent(one), "mine"),
        ("Final label", one.decided, _nothing(one), "final"),
    ):
        label = _add(right, "div", _class=f"label {kind}")
        _add(label, "b", title)
        _chips(label, marks, nothing)
    _add(right, "div", _why(one), _class="why")


def _utterance(box: Element, row: Mapping[str, Any], current: bool, images: Images, used: dict[str, str]) -> None:
    is_user = row["speaker"] == "user"
    line = _add(box, "div", _class="u" + (" user" if is_user else "") + (" current" if current else ""))
    _add(line, "b", "USER" if is_user else "ASSISTANT")
    _add(line, "span", row["text"], _class="x")
    shown = [(number, image_id) for number, image_id in enumerate(row["image_ids"], start=1)]
    if not shown:
        return
    gallery = _add(line, "div", _class="images")
    for number, image_id in shown:
        figure = _add(gallery, "figure")
        name = "" if is_user else images.names.get(image_id, "")
        if images.url(image_id) is None:
            _add(figure, "div", "image not available", _class="none")
        else:
            style = used.setdefault(image_id, f"p{len(used)}")
            _add(figure, "div", _class=f"image {style}", role="img", **{"aria-label": f"image #{number} {name}"})
        caption = _add(figure, "figcaption")
        _add(caption, "b", f"#{number}").tail = _text(f" {name}")


def _chips(box: Element, marks: Sequence[Mark], nothing: str, after: str = "") -> None:
    for mark in marks:
        _add(box, "span", mark_text(mark), _class="chip")
    if not marks:
        _add(box, "span", nothing, _class="chip empty")
    if after:
        _add(box, "span", after, _class="soft")


def _nothing(one: Difference) -> str:
    """How an empty final label reads."""
    if one.kind == "not labelled" and not any(mark.op in ("unsure", "bad_turn", "bad_dialogue") for mark in one.marked):
        return "cannot be labelled"
    return _silent(one)


def _silent(one: Difference) -> str:
    return f"nothing about {one.slot}" if one.slot else "nothing"


def _why(one: Difference) -> str:
    alike = f"{one.alike} of {_count(one.answers, 'annotator')} answered like the final label"
    match one.decided_by:
        case "verdict":
            return f"A reviewer decided; {alike}."
        case "dawid-skene":
            return f"Answers are weighed by how reliable each annotator is; {alike}."
        case _:
            return f"Decided by majority: {alike}."


def _slot(group: Group) -> str:
    if group.slot:
        return group.slot
    return "the turn as a whole" if group.kind == "not labelled" else "new topic"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _add(parent: Element, tag: str, text: str | None = None, _class: str = "", **attributes: str) -> Element:
    shown = {name: _text(value) for name, value in attributes.items()}
    child = ElementTree.SubElement(parent, tag, {**({"class": _class} if _class else {}), **shown})
    child.text = None if text is None else _text(text)
    return child


def _text(text: str) -> str:
    return _NOT_PRINTABLE.sub("\ufffd", text)
