"""How a table fits a terminal: words stay whole where they can, and columns that have no room go below the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_PIECES = re.compile(r"[^_/@=]*[_/@=]+|[^_/@=]+")
"""Of a word that is too long for its column; it is broken after these signs first: names, paths and addresses."""


_SHORT = 14
"""Characters of a cell that stays on one line, such as ``0.78 to 0.85``, where there is room for its column at all."""


@dataclass(frozen=True)
class Texts:
    """What stands in one column."""

    heading: str
    lines: tuple[str, ...]  # the lines of all its cells
    breakable: bool = True  # whether they may be broken at all


@dataclass(frozen=True)
class Part:
    """Columns that stand side by side."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]


def fit(columns: Sequence[Texts], room: int, between: int, size: Callable[[str], int]) -> list[Part]:
    """The parts in which a table is shown, in order; each begins with the first column.

    One part as it is, where it fits; else with cells on several lines, broken between words, or between pieces of long
    names; else several parts.

    Args:
        between: characters that each column needs beside its text.
        size: characters that a text takes.
    """
    every = range(len(columns))
    full = [max(map(size, (each.heading, *each.lines))) for each in columns]
    words = [_least(each, size, str.split) for each in columns]
    pieces = [_least(each, size, _pieces) for each in columns]
    for least in (full, words, pieces):
        if sum(least) + between * len(columns) <= room:
            return [_part(every, full, least, room, between)]
    parts: list[list[int]] = []
    for place in every:
        last = parts[-1] if parts else []
        if len(last) > 1 and sum(words[one] + between for one in (*last, place)) > room:
            parts.append([0])
        elif not parts:
            parts.append([])
        parts[-1].append(place)
    return [_part(part, full, words, room, between) for part in parts]


def wrapped(text: str, width: int, size: Callable[[str], int]) -> str:
    """A text in lines of at most so many characters."""
    return "\n".join("\n".join(_wrapped_line(line, width, size)) for line in text.split("\n"))


def _least(column: Texts, size: Callable[[str], int], pieces_of: Callable[[str], list[str]]) -> int:
    """The width at which no piece of the column is broken."""
    pieces = pieces_of(column.heading)
    for line in column.lines:
        pieces += pieces_of(line) if column.breakable and size(line) > _SHORT else [line]
    return max(map(size, pieces), default=0)


def _pieces(line: str) -> list[str]:
    return [piece for word in line.split() for piece in _PIECES.findall(word)]


def _part(places: Sequence[int], full: Sequence[int], least: Sequence[int], room: int, between: int) -> Part:
    """The narrow columns as they are; those that have to be broken are as wide as each other, and no narrower than
    their words if that is possible."""
    space = max(room - between * len(places), len(places))
    for least_of in (least, [1] * len(full)):
        for level in range(max(full[one] for one in places), 0, -1):
            widths = [min(full[one], max(least_of[one], level)) or 1 for one in places]
            if sum(widths) <= space:
                return Part(tuple(places), tuple(widths))
    return Part(tuple(places), (1,) * len(places))


def _wrapped_line(line: str, width: int, size: Callable[[str], int]) -> Iterator[str]:
    if size(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    shown, empty = indent, True
    for word in line.split():
        joint = "" if empty else " "
        if size(shown + joint + word) <= width:
            shown += joint + word
            empty = False
            continue
        if not empty and size(word) <= width:
            yield shown
            shown = word
            continue
        shown += joint
        for piece in _PIECES.findall(word):
            for letter_or_piece in [piece] if size(piece) <= width else piece:
                if size(shown + letter_or_piece) > width:
                    if shown.strip():
                        yield shown.rstrip()
                    shown = ""
                shown += letter_or_piece
        empty = False
    yield shown
