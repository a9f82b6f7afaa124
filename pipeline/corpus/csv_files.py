"""CSV files as people and programs write them: commas, UTF-8 and whole quotes, or an error that names the line.

What programs add is known: a byte order mark, an index column without a name, ``38.0`` and ``True`` in columns that
once were whole numbers and truth values.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.parsing import other_encoding, snake_case, trimmed, unescaped
from schemas.errors import CorpusError

_DELIMITERS = {
    ";": "semicolons (;)",
    "\t": "tabs",
    "|": "bars (|)",
    "^": "carets (^)",
    "~": "tildes (~)",
    "，": "full-width commas",
    "；": "full-width semicolons",
    "،": "Arabic commas",
    "\x01": "control characters (0x01)",
}
_FORMULA = re.compile(r'\A="([^"]*)"\Z')
"""How digits are written that a spreadsheet must not take for a number: ``="00123"``."""

_QUOTING = 'put "..." around the whole cell, and write a quotation mark within it twice'


@dataclass(frozen=True)
class CsvTable:
    """The cells of a CSV file, trimmed, HTML entities resolved."""

    header: tuple[str, ...]  # names of the columns as they are written; no two are the same name spelled differently
    header_line: int  # its line number
    rows: list[tuple[int, list[str]]]  # (line number from 1, one cell a column) of every row that is not blank
    # (line number, number of cells) of the rows that have more or fewer cells than there are columns
    ragged: list[tuple[int, int]]
    # the columns without a name that were left out: an index, or nothing but blank cells
    left_out: tuple[str, ...] = ()

    def fitting(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        for line, cells in self.ragged:
            more = cells > len(self.header)
            raise CorpusError(
                f"{'more' if more else 'fewer'} cells than columns: {cells}, and the header has {len(self.header)}",
                where=f"{path}, line {line}",
                fix='put "..." around cells that hold a comma' if more else "write a comma for each empty cell, too",
            )
        yield from self.rows


def read_csv(path: Path) -> CsvTable:
    """Read a CSV file with a header line.

    Raises:
        CorpusError: not readable or empty, another encoding or delimiter, a quotation mark that is forgotten or too
            many, a name that two columns have, or values in a column without a name.
    """
    text = _text(path)
    lines = list(io.StringIO(text, newline=""))
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise CorpusError("the file is empty", where=path, fix="write a header line, and one line a product")
    _check_delimiter(lines[first], f"{path}, line {first + 1}")
    if re.fullmatch(r"sep=,\s*", lines[first]):
        first += 1
    records = _records(lines, first, path)
    header_line, _, header = next(records, (0, 0, []))
    raw = [(start, end, cells) for start, end, cells in records if any(cells)]
    again = next((start for start, _, cells in raw if cells == header and len(header) > 1), None)
    if again is not None:
        raise CorpusError("the header again", where=f"{path}, line {again}", fix="delete that line")
    _check_quotes(raw, lines, len(header), path)
    named, left_out = _named_columns(header, header_line, raw, path)
    rows: list[tuple[int, list[str]]] = []
    ragged: list[tuple[int, int]] = []
    for start, _, cells in raw:
        if len(cells) < len(header) or any(cells[len(header) :]):
            ragged.append((start, len(cells)))
        else:
            rows.append((start, [cells[column] for column in named]))
    _undo_pandas(rows)
    return CsvTable(tuple(header[column] for column in named), header_line, rows, ragged, left_out)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise CorpusError(f"cannot read the file: {problem.strerror}", where=path) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        where = f"{path}, line {line}"
    else:
        if "\0" not in text:
            return text
        if 4 * text.count("\0") < len(text):  # else every second one is zero: UTF-16
            line = content.count(b"\n", 0, content.index(0)) + 1
            fix = "delete it, and see what wrote it"
            raise CorpusError("a zero byte within the text", where=f"{path}, line {line}", fix=fix)
        where = str(path)
    fix = "save it as UTF-8 (spreadsheets call it CSV UTF-8)"
    raise CorpusError(f"not UTF-8 but {other_encoding(content)}", where=where, fix=fix)


def _check_delimiter(header: str, where: str) -> None:
    said = re.fullmatch(r"sep=(.)\s*", header)
    for delimiter, name in _DELIMITERS.items():
        if (said is not None and said[1] == delimiter) or header.count(delimiter) > header.count(","):
            fix = "save it with commas between cells, and decimal points in numbers"
            raise CorpusError(f"{name} between cells instead of commas", where=where, fix=fix)


def _records(lines: Sequence[str], first: int, path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """(first line, last line, trimmed cells) of every record from a place on."""
    reader = csv.reader(lines[first:], strict=True, skipinitialspace=True)
    while True:
        start = first + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            open_end = "unexpected end of data" in str(problem)
            what = "a quotation mark opens a cell that never ends" if open_end else f"quotation marks: {problem}"
            if "field limit" in str(problem):
                what = f"a cell of more than {csv.field_size_limit():,} characters, or a quotation mark too many"
            last = first + reader.line_num
            where = f"{path}, line {start}" if open_end or last == start else f"{path}, lines {start} to {last}"
            raise CorpusError(what, where=where, fix=_QUOTING) from None
        yield start, first + reader.line_num, [_FORMULA.sub(r"\1", trimmed(unescaped(cell))) for cell in cells]


def _check_quotes(raw: Sequence[tuple[int, int, list[str]]], lines: Sequence[str], columns: int, path: Path) -> None:
    """Refuse a cell that goes over several lines where one of them looks like a row of its own.

    Two forgotten quotation marks make one cell of all rows between them.
    """
    shapes = {_shape(cells[0]) for start, end, cells in raw if start == end and cells[0]}
    for start, end, _ in raw:
        own = _shape(lines[start - 1].partition(",")[0].strip(' "'))
        for number in range(start + 1, end + 1) if columns > 1 else ():
            row = next(csv.reader([lines[number - 1]]), [])
            key = row[0].strip(' "') if len(row) == columns else ""
            if key and (_shape(key) in shapes | {own} or re.fullmatch(r"\S*\d\S*", key)):
                raise CorpusError(
                    f"a quotation mark in line {start} makes line {number} part of a cell, and it looks like a row",
                    where=f"{path}, line {start}",
                    fix=_QUOTING,
                )


def _shape(text: str) -> str:
    """``p-17`` and ``x-5`` have one shape."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text))


def _named_columns(
    header: Sequence[str], header_line: int, raw: Sequence[tuple[int, int, list[str]]], path: Path
) -> tuple[list[int], tuple[str, ...]]:
    """The places of the columns that have a name, and what the others are."""
    named: dict[str, int] = {}
    left_out: list[str] = []
    for column, name in enumerate(header):
        if not name or re.fullmatch(r"unnamed: [\d.]+(_level_\d+)?", name.casefold()):
            cells = [(start, cells[column]) for start, _, cells in raw if column < len(cells) and cells[column]]
            is_index = not named and all(re.fullmatch(r"\d+(\.0)?", cell) for _, cell in cells)
            if cells and not is_index:
                raise CorpusError(
                    f"'{cells[0][1]}' is in column {column + 1}, which has no name",
                    where=f"{path}, line {cells[0][0]}",
                    fix="name the column in the header, or delete it",
                )
            left_out.append(f"column {column + 1} (no name, {'an index' if cells else 'nothing in it'})")
            continue
        key = snake_case(name) or name
        if key in named:
            raise CorpusError(
                f"two columns are called '{name}': columns {named[key] + 1} and {column + 1}",
                where=f"{path}, line {header_line}",
                fix="rename one, or put the values of both into one cell, separated by commas",
            )
        named[key] = column
    return list(named.values()), tuple(left_out)


_TRUTH = {"true": "yes", "false": "no"}


def _undo_pandas(rows: Sequence[tuple[int, list[str]]]) -> None:
    """Write columns of whole numbers without ``.0``, and those of truth values as yes and no."""
    for column in range(len(rows[0][1]) if rows else 0):
        cells = [row[column] for _, row in rows if row[column]]
        if _all(cells, r"-?\d+\.0"):
            for _, row in rows:
                row[column] = row[column].removesuffix(".0")
        elif _all(cells, r"(?i:true|false)"):
            for _, row in rows:
                row[column] = _TRUTH.get(row[column].casefold(), "")


def _all(cells: Sequence[str], pattern: str) -> bool:
    return bool(cells) and all(map(re.compile(pattern).fullmatch, cells))
