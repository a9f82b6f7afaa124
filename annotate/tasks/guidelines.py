"""The annotators' guideline, generated from the ontology: with this corpus's own slots and values.

Its text is ``templates/guideline.txt``, with ``{names}`` for what the ontology puts in; a line that begins with ``|?``
holds a rule that the owner may decide otherwise, and what it is about. It is rendered as Markdown (beside the tasks)
and as HTML (the instructions in Label Studio).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from annotate.tasks.open_points import OpenPoint, decision_on, other_decisions, points
from schemas.folding import fold
from schemas.ontology import Ontology, Slot

_TEMPLATES = Path(__file__).with_name("templates")
_VALUES_SHOWN = 8
_NEEDS = {"limits": "limited", "exactness": "longer"}
"""Rules that speak of something that not every ontology has, and its name."""


@dataclass(frozen=True)
class _Code:
    """Text shown as typed: a value or a key."""

    text: str


_Line = tuple["str | _Code", ...]


class _Row(NamedTuple):
    """A heading, paragraph, bullet or row of a table."""

    kind: str  # as in Markdown: "#", "##", ..., "", "-" or "|"
    cells: tuple[_Line, ...]  # one, but of a table


def guideline_markdown(ontology: Ontology) -> str:
    """The guideline as Markdown."""
    return "\n".join(_markdown(kind, rows) for kind, rows in _blocks(ontology))


def guideline_html(ontology: Ontology) -> str:
    """The guideline as HTML; everything that comes from the ontology is escaped."""
    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    return environment.get_template("guideline.html").render(blocks=_blocks(ontology))


def _blocks(ontology: Ontology) -> list[tuple[str, list[_Row]]]:
    return [(kind, list(rows)) for kind, rows in groupby(_rows(ontology), key=lambda row: row.kind)]


def _rows(ontology: Ontology) -> Iterator[_Row]:
    found, names = points(ontology), _names(ontology)
    rules: list[str] = []
    for line in (_TEMPLATES / "guideline.txt").read_text("utf-8").splitlines():
        if line.startswith("|? "):
            about, case, rule = line.removeprefix("|? ").split(" | ")
            rules.append(about)
            if _NEEDS.get(about, "slot") in names:
                decided = decision_on(about, ontology)
                yield _Row("|", (_line(case, **names), _line(rule, **names) if decided is None else (decided,)))
        elif line == "{other_cases}":
            for point in found:
                if "=" not in point.about and point.about != point.slot:
                    yield _Row("|", ((point.about,), (decision_on(point.about, ontology) or point.default,)))
            for about, text in other_decisions(ontology, (*rules, *(point.about for point in found))).items():
                yield _Row("|", ((about,), (text,)))
        elif line == "{every_slot}":
            for slot in ontology.slots:
                yield from _slot_rows(slot, ontology, found)
        elif line:
            yield _row(line, **names)


def _names(ontology: Ontology) -> dict[str, str]:
    """What the names in the text stand for; without those for which the ontology has nothing."""
    slot, title, value, other = _example(ontology)
    names = {"slot": slot, "title": title, "value": value, "other": other, "begun": value[:1].upper() + value[1:]}
    names |= {"version": str(ontology.version), "slots": str(len(ontology.slots))}
    names["it_in"] = "it in " if "colo" in slot.casefold() else ""
    numeric = [each for each in ontology.slots if each.kind == "numeric"]
    amounts = min(numeric, key=lambda each: not each.is_money, default=None)
    names["typed"] = f"{slot}=..." if amounts is None or not amounts.is_money else f"{amounts.name}=cheaper"
    limited = amounts or next((each for each in ontology.slots if each.rule), None)
    if limited is not None:
        names["limited"] = limited.name
    return names | _exact_pair(ontology)


def _row(text: str, **names: str) -> _Row:
    """A line of Markdown, with what its names stand for."""
    kind, words = re.fullmatch(r"(#+|-|\||) ?(.*)", text).groups()  # type: ignore[union-attr]
    cells = words.removesuffix(" |").split(" | ") if kind == "|" else [words]
    return _Row(kind, tuple(_line(cell, **names) for cell in cells))


def _line(text: str, **names: str) -> _Line:
    parts = [part.format(**names) for part in text.split("`")]
    return tuple(_Code(part) if place % 2 else part for place, part in enumerate(parts))


def _exact_pair(ontology: Ontology) -> dict[str, str]:
    """A slot, a value, and a more exact value: "blue" and "light blue"."""
    for slot in ontology.slots:
        words = [value.value for value in slot.offered if not value.is_range]
        for word in words:
            longer = next((other for other in words if other.endswith(f" {word}")), None)
            if longer is not None:
                return {"exact": slot.name, "short": word, "longer": longer}
    return {}


def _slot_rows(slot: Slot, ontology: Ontology, found: Sequence[OpenPoint]) -> Iterator[_Row]:
    says_more = slot.title and fold(slot.title) != fold(slot.name)
    yield _Row("###", ((f"{slot.name} ({slot.title})" if says_more else slot.name,),))
    if slot.hint:
        yield _Row("", ((slot.hint,),))
    words = [value.value for value in slot.offered if not value.is_range]
    if slot.kind == "numeric":
        yield _row("A number. Pick the range it lies in, or type the number into Other.")
        if words:
            yield _row("Words are values too: pick `{word}` when the user says it, and no range.", word=words[0])
    if slot.offered:
        shown = slot.offered[:_VALUES_SHOWN]
        more = len(slot.offered) - len(shown)
        line: list[str | _Code] = ["Values: "]
        for index, value in enumerate(shown):
            line += [", " if index else "", _Code(value.value)]
            if value.aliases:
                line.append(" (also: " + ", ".join(value.aliases[:3]) + ")")
        line.append(f" and {more} more." if more else ".")
        yield _Row("", (tuple(line),))
    else:
        yield _row("No values are known; type them into Other as `{slot}=...`", slot=slot.name)
    for point in found:
        if point.slot == slot.name and ("=" in point.about or point.about == slot.name):
            yield _Row("-", ((decision_on(point.about, ontology) or point.default,),))


def _example(ontology: Ontology) -> tuple[str, str, str, str]:
    """A slot, its title, and two of its values to write examples with; a colour reads best."""
    full = [slot for slot in ontology.slots if len(slot.offered) > 1 and slot.kind == "categorical"]
    full.sort(key=lambda slot: not slot.attribute.lower().startswith("colo"))
    if not full:
        return "color", "Color", "black", "white"
    slot = full[0]
    first, second = slot.offered[:2]
    return slot.name, slot.title or slot.name, first.value, second.value


def _markdown(kind: str, rows: Sequence[_Row]) -> str:
    lines = [[_markdown_line(cell) for cell in row.cells] for row in rows]
    if kind == "|":
        drawn = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n" for cells in lines]
        return "".join((drawn[0], f"|{'---|' * len(lines[0])}\n", *drawn[1:]))
    if kind == "-":
        return "".join(f"- {line}\n" for (line,) in lines)
    return "\n".join(f"{kind} {line}\n".lstrip(" ") for (line,) in lines)


def _markdown_line(line: Sequence[str | _Code]) -> str:
    return "".join(_fenced(part.text) if isinstance(part, _Code) else _plain(part) for part in line)


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", " ".join(text.split(" ")).replace("\n", " "))


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{' '.join(text.splitlines())}{space}{fence}"
