"""Dialogues as labelling tasks: windows of user turns, with everything said before them in sight.

All text of a dialogue is escaped: what a user typed is shown, never interpreted.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser
from typing import Any, Literal, get_args
from urllib.parse import quote

from annotate.annotations.dialogue_index import dialogue_sha256
from schemas.accumulate import accumulate
from schemas.belief import SlotValue, TurnUpdate
from schemas.errors import CorpusError
from schemas.ontology import Ontology

TASK_SCHEMA = 1

Asks = Literal["update", "state"]
"""What the marks of a task's turns mean: what each changes, or, of a single turn, all that holds after it."""

ASKS: tuple[Asks, ...] = get_args(Asks)

_SLOTS: Literal["slots"] = "slots"

_WHOLE_STATE = (
    "Here, mark the whole state after the turn below, not what it changes: everything that the user wants or avoids by "
    "now, whenever it was said. Take away what no longer holds."
)

_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters, which no database keeps and no reader sees."""


_LARGEST_PAGE = 2_000_000
"""Characters of a page that are read back."""


@lru_cache(maxsize=1 << 14)
def image_url(name: str) -> str:
    """Address at which Label Studio serves the file ``name`` of its document root."""
    return f"/data/local-files/?d={quote(name)}"


@dataclass(frozen=True)
class TaskStyle:
    """What all tasks of an export share."""

    window: int  # user turns in one task
    ontology_version: int  # of the ontology that the label configuration offers
    config_sha256: str  # hash of that configuration
    # image id -> its address in Label Studio, or None when there is no image to show
    shown_image: Callable[[str], str | None] = field(default=lambda _: None)
    names: Mapping[str, str] = field(default_factory=dict)  # image id -> name of the product in the image, where known


def dialogue_tasks(rows: Sequence[Mapping[str, Any]], style: TaskStyle) -> list[dict[str, Any]]:
    """The labelling tasks of one dialogue, one per window of user turns.

    Args:
        rows: the dialogue's rows of ``turns.parquet``, in order.
        style: what all tasks share.

    Returns:
        A list of ``{"data": {...}}``; empty when no user speaks.

    Raises:
        CorpusError: rows of several dialogues, or out of order.
    """
    user_rows, fingerprint = _checked(rows)
    dialogue_id = rows[0]["dialogue_id"] if rows else ""
    count = -(-len(user_rows) // style.window)
    tasks = []
    for window in range(count):
        current = user_rows[window * style.window : (window + 1) * style.window]
        first = user_rows[window * style.window - 1] + 1 if window else 0
        part = f"part {window + 1} of {count}" if count > 1 else ""
        tail = rows[current[-1] + 1 :] if window == count - 1 else None
        data = {
            **_keys(rows, window, count, fingerprint, style),
            "past_html": _past(rows[:first], dialogue_id, part, style),
            "user_turns": _user_turns(rows, first, current, style),
            "tail_html": _tail(tail, style),
        }
        tasks.append({"data": data})
    return tasks


def state_tasks(rows: Sequence[Mapping[str, Any]], turns: Iterable[int], style: TaskStyle) -> list[dict[str, Any]]:
    """Tasks that ask for the whole state after single user turns of a dialogue, in order: one per turn.

    What is said after the turn is not shown.

    Args:
        rows: the dialogue's rows of ``turns.parquet``, in order.
        turns: the user turns to label, by number.
        style: what all tasks share; its window does not count.

    Raises:
        CorpusError: rows of several dialogues or out of order, or a turn that is no user turn.
    """
    user_rows, fingerprint = _checked(rows)
    dialogue_id = rows[0]["dialogue_id"] if rows else ""
    position = {int(rows[index]["turn"]): place for place, index in enumerate(user_rows)}
    tasks = []
    for turn in sorted(set(turns)):
        if turn not in position:
            raise CorpusError(f"turn {turn} is no user turn", where=f"dialogue {dialogue_id}")
        place = position[turn]
        first = user_rows[place - 1] + 1 if place else 0
        data = {
            **_keys(rows, place, len(user_rows), fingerprint, style, asks="state"),
            "asks": "state",
            "past_html": _past(rows[:first], dialogue_id, f"turn {turn} alone", style) + notice_html(_WHOLE_STATE),
            "user_turns": _user_turns(rows, first, [user_rows[place]], style),
            "tail_html": '<div class="sem-head">what comes later does not count here</div>',
        }
        tasks.append({"data": data})
    return tasks


def task_uid(dialogue_id: str, window: int, asks: str = "update") -> str:
    """semctl's name of a task."""
    return f"{dialogue_id}#{'' if asks == 'update' else asks}{window}"


def corrections_uid(dialogue_id: str, turn: int) -> str:
    """What stands for a task where slots of one turn were corrected on the page of ``semctl serve``."""
    return f"{dialogue_id}#{_SLOTS}{turn}"


def asks_for(uid: str | None) -> Asks | Literal["slots"]:
    """What the task of this name asks for; ``slots``: what holds of some slots after a turn, whichever was wrong."""
    kind = (uid or "").rpartition("#")[2].rstrip("0123456789")
    return "state" if kind == "state" else _SLOTS if kind == _SLOTS else "update"


def _checked(rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], str]:
    """Where a dialogue's user turns stand among its rows, and the hash of what it says."""
    dialogue_id = rows[0]["dialogue_id"] if rows else ""
    turns = [row["turn"] for row in rows]
    if any(row["dialogue_id"] != dialogue_id for row in rows) or turns != sorted(set(turns)):
        raise CorpusError("turns of several dialogues, or out of order", where=dialogue_id, fix="import again")
    return [index for index, row in enumerate(rows) if row["speaker"] == "user"], dialogue_sha256(rows)


def _keys(
    rows: Sequence[Mapping[str, Any]], window: int, count: int, fingerprint: str, style: TaskStyle, asks: str = "update"
) -> dict[str, Any]:
    """What says which turns of which dialogue a task shows."""
    dialogue_id = rows[0]["dialogue_id"]
    return {
        "uid": task_uid(dialogue_id, window, asks),
        "dialogue_id": dialogue_id,
        "window": window,
        "windows": count,
        "dialogue_sha256": fingerprint,
        "semctl_schema": TASK_SCHEMA,
        "ontology_version": style.ontology_version,
        "config_sha256": style.config_sha256,
    }


def _user_turns(
    rows: Sequence[Mapping[str, Any]], first: int, current: Sequence[int], style: TaskStyle
) -> list[dict[str, Any]]:
    turns = []
    for index in current:
        since = "".join(turn_html(row, style) for row in rows[first:index])
        turns.append({"turn": int(rows[index]["turn"]), "html": since + turn_html(rows[index], style, current=True)})
        first = index + 1
    return turns


def _past(rows: Sequence[Mapping[str, Any]], dialogue_id: str, part: str, style: TaskStyle) -> str:
    head = "earlier in the dialogue" if rows else "start of the dialogue"
    parts = " · ".join(filter(None, (f"dialogue {shown_text(dialogue_id)}", part, head)))
    return f'<div class="sem-head">{parts}</div>' + "".join(turn_html(row, style) for row in rows)


def notice_html(text: str) -> str:
    """A line for the annotator, to stand between what was said before and the first turn to label."""
    return f'<div class="sem-notice">{shown_text(text)}</div>'


def states_html(
    turns: Sequence[int], updates: Sequence[TurnUpdate | None], ontology: Ontology, *, source: str = ""
) -> dict[int, str]:
    """User turn -> the state before it, to stand below the turn; nothing at the first one.

    Args:
        turns: the user turns of a dialogue, in order.
        updates: what each of them changes; None where that is not known.
        ontology: names the slots there are.
        source: where the updates are from, for people.
    """
    shown = {turns[0]: ""} if turns else {}
    for turn, known in zip(turns[1:], accumulate(updates, ontology), strict=False):
        parts = [
            f'<span class="sem-mark sem-{item.polarity}">{shown_text(_said(item))}</span>' for item in known.state or ()
        ]
        unknown = [slot.name for slot in ontology.slots if slot.name not in known.known_slots]
        if len(unknown) == len(ontology.slots):
            parts = ["not known"]
        elif unknown:
            parts.append(f"not known: {shown_text(', '.join(unknown))}")
        shown[turn] = f'<div class="sem-state"><b>so far{source}</b> {" ".join(parts) or "nothing"}</div>'
    return shown


def _said(item: SlotValue) -> str:
    return f"{'' if item.polarity == 'like' else 'not '}{item.slot}={item.value}"


def _tail(rows: Sequence[Mapping[str, Any]] | None, style: TaskStyle) -> str:
    if rows is None:
        return '<div class="sem-head">the dialogue continues in the next part</div>'
    return "".join(turn_html(row, style) for row in rows) + '<div class="sem-head">end of the dialogue</div>'


def turn_html(row: Mapping[str, Any], style: TaskStyle, *, current: bool = False) -> str:
    """One turn as annotators see it; ``current`` ones are those to label."""
    is_user = row["speaker"] == "user"
    classes = "sem-t" + (" sem-u" if is_user else "") + (" sem-cur" if current else "")
    speaker = "USER" if is_user else "ASSISTANT"
    images = "".join(
        _figure(number, image_id, style, named=not is_user) for number, image_id in enumerate(row["image_ids"], start=1)
    )
    gallery = f'<div class="sem-i">{images}</div>' if images else ""
    said = f'<b>{int(row["turn"])} {speaker}</b><span class="sem-x">{shown_text(row["text"])}</span>'
    return f'<div class="{classes}">{said}{gallery}</div>'


def _figure(number: int, image_id: str, style: TaskStyle, *, named: bool) -> str:
    url = style.shown_image(image_id)
    if url is None:
        shown = '<div class="sem-none">image not available</div>'
    else:
        address = html.escape(url)
        image = f'<img src="{address}" alt="image #{number}">'
        shown = f'<a href="{address}" target="_blank" rel="noopener" title="show the whole image">{image}</a>'
    name = style.names.get(image_id, "") if named else ""
    caption = f"<b>#{number}</b>{shown_text(name)}"
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def dialogue_of_page(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a task's page shows of its dialogue, from the beginning up to the last turn to label.

    Args:
        data: of a task that semctl made.

    Returns:
        ``[{"turn", "speaker", "text"}]``, in order; images are not among it.

    Raises:
        CorpusError: the page shows no turns as semctl writes them, or not in order, or far too many.
    """
    shown = data.get("user_turns")
    turns = [turn for turn in shown if isinstance(turn, Mapping)] if isinstance(shown, list) else []
    parts = [text for text in (data.get("past_html"), *(turn.get("html") for turn in turns)) if isinstance(text, str)]
    page = _PageReader()
    if sum(map(len, parts)) <= _LARGEST_PAGE:
        page.feed("".join(parts))
        page.close()
    numbers = [turn["turn"] for turn in page.turns]
    if not numbers or None in numbers or numbers != sorted(set(numbers)):
        raise CorpusError("the page of this task shows no dialogue as semctl writes them")
    return page.turns


class _PageReader(HTMLParser):
    """Collects the turns that :func:`turn_html` wrote."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.turns: list[dict[str, Any]] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if "sem-t" in classes:
            self.turns.append({"turn": None, "speaker": "user" if "sem-u" in classes else "system", "text": ""})
        elif tag == "b" and self.turns and self.turns[-1]["turn"] is None:
            self._inside = "head"
        elif "sem-x" in classes and self.turns:
            self._inside = "text"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("b", "span"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "text":
            self.turns[-1]["text"] += data
        elif self._inside == "head":
            number = data.split(" ")[0]
            self.turns[-1]["turn"] = int(number) if number.isdecimal() and len(number) < 10 else None


def shown_text(text: str) -> str:
    """Text of a dialogue, escaped, without characters that cannot be shown."""
    return html.escape(_UNSHOWABLE.sub("\ufffd", text))
