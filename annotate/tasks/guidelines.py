"""The annotators' guideline, generated from the ontology: with this corpus's own slots and values.

Written once as blocks, rendered as Markdown (beside the tasks) and as HTML (the instructions in Label Studio).
"""

# ruff: noqa: E501 - one table row a line reads best
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from annotate.tasks.open_points import OpenPoint, decision_on, other_decisions, points
from schemas.folding import fold
from schemas.ontology import Ontology, Slot, Value


@dataclass(frozen=True)
class _Code:
    """Text shown as typed: a value or a key."""

    text: str


_Line = tuple["str | _Code", ...]


@dataclass(frozen=True)
class _Heading:
    text: str
    level: int


@dataclass(frozen=True)
class _Paragraph:
    line: _Line


@dataclass(frozen=True)
class _Bullets:
    lines: tuple[_Line, ...]


@dataclass(frozen=True)
class _Table:
    columns: tuple[str, ...]
    rows: tuple[tuple[_Line, ...], ...]


_Block = _Heading | _Paragraph | _Bullets | _Table

_VALUES_SHOWN = 8


def guideline_markdown(ontology: Ontology) -> str:
    """The guideline as Markdown."""
    return "\n".join(_markdown(block) for block in _blocks(ontology))


def guideline_html(ontology: Ontology) -> str:
    """The guideline as HTML; everything that comes from the ontology is escaped."""
    folder = FileSystemLoader(Path(__file__).with_name("templates"))
    environment = Environment(loader=folder, autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    return environment.get_template("guideline.html").render(blocks=_blocks(ontology))


def _blocks(ontology: Ontology) -> list[_Block]:
    slot, title, value, other = _example(ontology)
    found = points(ontology)
    want, second, drop = _Code(f"{slot}={value}"), _Code(f"{slot}={other}"), _Code(f"drop={slot}")
    return [
        _Heading("How to label these dialogues", 1),
        _paragraph(
            "A user talks to the assistant of a shop. For each user turn, mark what that turn changes about what the user wants. ",
            f"Ontology version {ontology.version}, {len(ontology.slots)} slots.",
        ),
        _Heading("The rule", 2),
        _bullets(
            ("Mark the update, not the state: only what the user says or shows in this turn.",),
            ("Never repeat what an earlier turn said; semctl carries it forward.",),
            ("A turn that changes nothing (thanks, small talk, a question about a product) stays empty. Submit it all the same.",),
            ("Mark what the user means, not what the assistant answers or guesses.",),
        ),
        _Heading("The four fields of a turn", 2),
        _table(
            ("Field", "What it says", "Example"),
            (("Wants",), ("The slot's wanted value from now on. Several values mean any of them.",), (want,)),
            (("Dislikes",), ("A value to avoid; added to those marked before.",), (second,)),
            (("Drop / flag",), ("A slot that no longer matters, or a flag (below).",), (drop,)),
            (("Other",), ("A value the lists lack, typed, then Enter.",), (_Code(f"{slot}=..."), " or ", _Code(f"!{slot}=..."))),
        ),
        _Heading("Worked cases", 2),
        _table(
            ("The user says", "Mark"),
            ((f"“{_begun(value)}, please.”",), ("Wants ", want)),
            ((f"“{_begun(value)} or {other} would do.”",), ("Wants ", want, " and ", second)),
            ((f"“No, {other} instead.”",), ("Wants ", second, ": it replaces what was wanted before")),
            ((f"“Anything but {value}.”",), ("Dislikes ", want)),
            ((f"“{_begun(value)} is fine after all.”",), ("Wants ", want, ": this takes it off the dislikes")),
            ((f"“{title}? It does not matter any more.”",), ("Drop ", drop)),
            ((f"“Like the 2nd one, but {other}.”",), ("Wants ", second, ", and what else of that image is meant")),
            (("“Now show me something else entirely.”",), ("Flag ", _Code("flag=new_topic"), " and what the new wish says")),
            (("“Thanks, that is all.”",), ("nothing",)),
        ),
        _Heading("Doubtful cases", 2),
        _table(("Case", "What to mark"), *_doubtful(ontology, found)),
        _Heading("Images", 2),
        _bullets(
            ("A click shows the whole image.",),
            ("The numbers #1, #2, ... are ours: the order in which the corpus lists the images of a turn. "
             "How its users count, the corpus does not say: “the 2nd one” may be #2, “the second from the left” another. "
             "Where the words and the number do not fit together, go by the words.",),
            ("When the user points at an image, mark what can be seen in it and is meant: ", want, " if that is the point."),
            ("“Like the 3rd but in another colour” keeps everything of that image that is meant except the colour.",),
            ("Do not mark what cannot be seen. If you cannot tell which image is meant, or it does not load, use ",
             _Code("flag=unsure"), " for the turn; for images that are missing where they matter also ",
             _Code("flag=images_missing"), " at the end."),
        ),
        _Heading("Flags", 2),
        _table(
            ("Flag", "When", "Effect"),
            ((_Code("flag=new_topic"),), ("The user starts over or turns to another product.",), ("Everything earlier is forgotten.",)),
            ((_Code("flag=unsure"),), ("You cannot tell what is meant.",), ("The turn stays unlabelled. Better than a guess.",)),
            ((_Code("flag=bad_turn"),), ("The text is broken or not from a user.",), ("The turn stays unlabelled.",)),
            ((_Code("flag=bad_dialogue"),), ("At the end: the whole dialogue is of no use.",), ("The dialogue is left out.",)),
            ((_Code("flag=images_missing"),), ("At the end: images were missing where they mattered.",), ("Noted.",)),
        ),
        _Heading("The slots", 2),
        *[block for item in ontology.slots for block in _slot_blocks(item, ontology, found)],
        _Heading("Keys", 2),
        _bullets(
            ("Lists: click one, and start typing once the cursor is in its box Search; letters typed sooner are lost.",),
            ("Type part of a slot, of a value or of another name for the value. Wait until the list shows only matches, "
             "press ↓ until the right one is marked, then Enter; or click it. Enter alone picks nothing, "
             "and ↓ before the list has changed marks the wrong entry: look at what was picked.",),
            ("For another value press Ctrl+A and type on; Esc closes the list. After Esc or Tab the cursor is in no field: "
             "click the next one.",),
            ("The field Other takes letters at once, and the values of the lists too: type ", want, " and press Enter. "
             "A value to avoid begins with an exclamation mark. Enter each value by itself, with no other sign.",),
            ("Ctrl+Enter submits when the cursor is in no field. No single letter does anything outside a field.",),
            ("Leave a note for the reviewer in the field Note at the end.",),
        ),
    ]  # fmt: skip


def _doubtful(ontology: Ontology, found: Sequence[OpenPoint]) -> Iterator[tuple[_Line, _Line]]:
    """Cases that the words of a turn do not decide: rules for every corpus, then what is open in this one."""
    slot, _, value, other = _example(ontology)
    amounts = min(
        (item for item in ontology.slots if item.kind == "numeric"), key=lambda s: not s.is_money, default=None
    )
    limited = amounts or next((item for item in ontology.slots if item.rule), None)
    for about, case, rule in (
        (
            "questions",
            (f"“Do you have {'it in ' if 'colo' in slot.casefold() else ''}{value}?” “What about {other}?” “Is there nothing cheaper?”",),
            ("A question that asks for products is a wish: Wants ", _Code(f"{slot}={value}"), ". "
             "A question about a product (“What is it made of?” “How much is it?”) changes nothing."),
        ),
        (
            "values no product has",
            ("A value that the lists lack: “cheaper”, “good reviews”, “something special”",),
            ("Type it into Other in the user's words, under the slot that it speaks of: ",
             _Code(f"{slot}=..." if amounts is None or not amounts.is_money else f"{amounts.name}=cheaper"),
             ". Do not pick a listed value that might be meant."),
        ),
        *([] if limited is None else [(
            "limits",
            ("A limit: “under 50”, “at least 4”",),
            ("Pick the range if the list has exactly this one; else type the limit as it is said: ",
             _Code(f"{limited.name}=under 50"), "."),
        )]),
        *([] if (pair := _exact_pair(ontology)) is None else [(
            "exactness",
            (f"“{pair[1]}”, where the list has {pair[1]} and {pair[2]}",),
            ("Mark what the words say, nothing more exact: ", _Code(f"{pair[0]}={pair[1]}"), "."),
        )]),
    ):  # fmt: skip
        decided = decision_on(about, ontology)
        yield case, rule if decided is None else (decided,)
    for point in found:
        if "=" not in point.about and point.about != point.slot:
            yield (point.about,), (decision_on(point.about, ontology) or point.default,)
    rules = ("questions", "values no product has", "limits", "exactness")
    for about, text in other_decisions(ontology, (*rules, *(point.about for point in found))).items():
        yield (about,), (text,)


def _exact_pair(ontology: Ontology) -> tuple[str, str, str] | None:
    """A slot, a value, and a more exact value: "blue" and "light blue"."""
    for slot in ontology.slots:
        words = [value.value for value in slot.offered if not value.is_range]
        for word in words:
            longer = next((other for other in words if other.endswith(f" {word}")), None)
            if longer is not None:
                return slot.name, word, longer
    return None


def _slot_blocks(slot: Slot, ontology: Ontology, found: Sequence[OpenPoint]) -> Iterator[_Block]:
    says_more = slot.title and fold(slot.title) != fold(slot.name)
    yield _Heading(f"{slot.name} ({slot.title})" if says_more else slot.name, 3)
    if slot.hint:
        yield _paragraph(slot.hint)
    words = [value for value in slot.offered if not value.is_range]
    if slot.kind == "numeric":
        yield _paragraph("A number. Pick the range it lies in, or type the number into Other.")
        if words:
            yield _paragraph(
                "Words are values too: pick ", _Code(words[0].value), " when the user says it, and no range."
            )
    if slot.offered:
        shown = _shown(slot)
        more = len(slot.offered) - len(shown)
        line: list[str | _Code] = ["Values: "]
        for index, value in enumerate(shown):
            line += [", " if index else "", _Code(value.value)]
            if value.aliases:
                line.append(" (also: " + ", ".join(value.aliases[:3]) + ")")
        line.append(f" and {more} more." if more else ".")
        yield _Paragraph(tuple(line))
    else:
        yield _paragraph("No values are known; type them into Other as ", _Code(f"{slot.name}=..."))
    own = [point for point in found if point.slot == slot.name and ("=" in point.about or point.about == slot.name)]
    if own:
        yield _Bullets(tuple((decision_on(point.about, ontology) or point.default,) for point in own))


def _begun(value: str) -> str:
    """A value at the beginning of a sentence."""
    return value[:1].upper() + value[1:]


def _shown(slot: Slot) -> Sequence[Value]:
    """The first of a slot's values, and words beside ranges."""
    return slot.offered[:_VALUES_SHOWN]


def _example(ontology: Ontology) -> tuple[str, str, str, str]:
    """A slot, its title, and two of its values to write examples with; a colour reads best."""
    full = [slot for slot in ontology.slots if len(slot.offered) > 1 and slot.kind == "categorical"]
    full.sort(key=lambda slot: not slot.attribute.lower().startswith("colo"))
    if not full:
        return "color", "Color", "black", "white"
    slot = full[0]
    first, second = slot.offered[:2]
    return slot.name, slot.title or slot.name, first.value, second.value


def _paragraph(*line: str | _Code) -> _Paragraph:
    return _Paragraph(line)


def _bullets(*lines: _Line) -> _Bullets:
    return _Bullets(lines)


def _table(columns: tuple[str, ...], *rows: tuple[_Line, ...]) -> _Table:
    return _Table(columns, rows)


def _markdown(block: _Block) -> str:
    match block:
        case _Heading(text, level):
            return f"{'#' * level} {_plain(text)}\n"
        case _Paragraph(line):
            return _markdown_line(line) + "\n"
        case _Bullets(lines):
            return "".join(f"- {_markdown_line(line)}\n" for line in lines)
        case _Table(columns, rows):
            head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
            cells = [[_markdown_line(cell).replace("|", "\\|") for cell in row] for row in rows]
            return head + "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _markdown_line(line: Sequence[str | _Code]) -> str:
    return "".join(_fenced(part.text) if isinstance(part, _Code) else _plain(part) for part in line)


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", " ".join(text.split(" ")).replace("\n", " "))


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{' '.join(text.splitlines())}{space}{fence}"
