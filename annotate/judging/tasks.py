"""Turns to judge as tasks: the dialogue before a recommendation, and two lists of products, left and right.

Nothing in a task tells whose list is where: no run, no score, no mark of what the dialogue's system recommends next.
The context is the labelling screen's; text of dialogues and catalogues is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.tasks.dialogue_tasks import TaskStyle, shown_text, turn_html
from schemas.files import sha256_bytes

_SHOWN = ("context_html", "left_html", "right_html")


@dataclass(frozen=True)
class ShownProduct:
    """A product of a list, as judges see it."""

    name: str
    about: str  # what else the catalogue says of it, in a line; "" for nothing
    image_id: str | None  # its photo; None without one


def judging_task(
    judgement: str,
    uid: str,
    rows: Sequence[Mapping[str, Any]],
    left: Sequence[ShownProduct],
    right: Sequence[ShownProduct],
    style: TaskStyle,
    *,
    annotator: str | None = None,
) -> dict[str, Any]:
    """The task that asks which of two lists fits better.

    Args:
        judgement: what tells this human evaluation from all others.
        uid: semctl's name of the task.
        rows: the rows of ``turns.parquet`` before the recommendation, in order; the user's last one is marked.
        left, right: the lists, best first.
        style: how images are addressed and named.
        annotator: whom the task is assigned to.

    Returns:
        ``{"data": {...}}``.
    """
    last = max((place for place, row in enumerate(rows) if row["speaker"] == "user"), default=None)
    said = "".join(turn_html(row, style, current=place == last) for place, row in enumerate(rows))
    data = {
        "uid": uid,
        "judgement": judgement,
        "context_html": f'<div class="sem-head">start of the dialogue</div>{said}',
        "left_html": _list("Left", left, style),
        "right_html": _list("Right", right, style),
    }
    return {"data": data if annotator is None else {**data, "annotator": annotator}}


def shown_sha256(data: Mapping[str, Any]) -> str:
    """Hash of what a task shows."""
    return sha256_bytes("\x1f".join(str(data.get(name)) for name in _SHOWN).encode("utf-8", "surrogatepass"))


def _list(title: str, products: Sequence[ShownProduct], style: TaskStyle) -> str:
    figures = "".join(_figure(place, product, style) for place, product in enumerate(products, start=1))
    return f'<div class="jud-side">{title}</div><div class="jud-grid">{figures}</div>'


def _figure(place: int, product: ShownProduct, style: TaskStyle) -> str:
    name, about = shown_text(product.name), shown_text(product.about)
    hint = " · ".join(filter(None, (name, about)))
    url = None if product.image_id is None else style.shown_image(product.image_id)
    if url is None:
        photo = f'<div class="sem-none" title="{hint}">no photo</div>'
    else:
        address = html.escape(url)
        image = f'<img src="{address}" alt="{name}" title="{hint}">'
        photo = f'<a href="{address}" target="_blank" rel="noopener">{image}</a>'
    said = f'<div class="jud-about" title="{hint}">{about}</div>'
    return f"<figure>{photo}<figcaption><b>{place}</b>{name}</figcaption>{said}</figure>"
