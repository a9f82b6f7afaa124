"""A feedback pack as one HTML page that needs nothing else; images are inside it, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotate.adjudication.feedback import Difference, Feedback, Group, Kind
from annotate.adjudication.review_tasks import mark_text
from pipeline.reports.pages import render
from pipeline.reports.thumbnails import thumbnail_url

__all__ = ["MOST_SHOWN", "Images", "Said", "render_page"]

MOST_SHOWN = 12
"""Turns shown of one slot and kind; the JSON file holds all of them."""

_BEFORE = 3

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
    groups = feedback.groups
    shown_images: dict[str, str] = {}
    for one in (one for group in groups for one in group.differences[:MOST_SHOWN]):
        for row in said.until(one.dialogue_id, one.turn):
            for image_id in row["image_ids"]:
                if images.url(image_id) is not None:
                    shown_images.setdefault(image_id, f"p{len(shown_images)}")
    return render(
        "feedback.html",
        title=title,
        feedback=feedback,
        groups=groups,
        said=said,
        images=images,
        shown_images=shown_images,
        most_shown=MOST_SHOWN,
        kind_texts=_KIND_TEXTS,
        mark_text=mark_text,
        slot=_slot,
        nothing=_nothing,
        silent=_silent,
        why=_why,
        plural=_count,
    )


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
