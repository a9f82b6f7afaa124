"""What people see: tables on stdout, progress and logs on stderr. The only module that knows rich.

All text passes :func:`schemas.safe_text.harmless` here: no cell, line or error commands the terminal or shows a secret.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import orjson
from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.table import Table as RichTable
from rich.text import Text

from pipeline.table_layout import Part, Texts, fit, wrapped
from schemas.errors import Excerpt, SemctlError
from schemas.files import json_bytes
from schemas.progress import SilentProgress, Task
from schemas.safe_text import conceal, escape_json, harmless, shortened

T = TypeVar("T")


class Result(Protocol):
    """What a stage returns."""

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""


R = TypeVar("R", bound=Result)

_LONGEST_CELL = 300  # characters; typed values and texts can be of any length
_BAR = 24  # characters of a progress bar
_NEAR = 50  # characters of what was typed, before and after what is wrong in it
_TIMES = 19  # of the time that it took and the time that is left, and of the spaces around them


@dataclass(frozen=True)
class Bar:
    """A cell of a table that shows parts of a whole: what is done, what was passed over, and the rest."""

    done: int
    passed: int
    total: int
    width: int = 8

    def render(self) -> Text:
        """Its drawing; something done is never drawn as nothing, nor something left as everything."""
        if not self.total:
            return Text("·" * self.width, style="dim")
        done, either = (self._cells(number) for number in (self.done, self.done + self.passed))
        pieces = (("━" * done, "green"), ("━" * (either - done), "yellow"), ("━" * (self.width - either), "grey37"))
        share = f" {100 * self.done // self.total:3d} %"
        return Text.assemble(*pieces, (share, "bold green" if self.done == self.total else ""))

    def _cells(self, number: int) -> int:
        cells = round(self.width * number / self.total)
        return min(max(cells, number > 0), self.width - (number < self.total))


class _Pipe(RichConsole):
    """A console whose reader may go: ``semctl ... | head`` is no error, and rich alone would end with one."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Board:
    """A table that is shown again and again in its place; made by :meth:`Console.board`."""

    def __init__(self, console: RichConsole, live: Live | None) -> None:
        self._console = console
        self._live = live

    def show(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, captions: Sequence[str] = ()
    ) -> None:
        """Show this instead of what was shown before."""
        lines = [Text(harmless(caption), style="dim") for caption in captions]
        shown = Group(*_table(title, columns, rows, self._console.width), *lines)
        if self._live is None:
            self._console.print(shown)
        else:
            self._live.update(shown, refresh=True)


class Console:
    """Prints results and progress; implements :class:`schemas.progress.Progress`.

    Args:
        as_json: results are one JSON object on stdout and nothing else.
        quiet: no progress bars and no log lines, but what library code warns of.
        hint: turns commands in a line into ones that can be typed as they are, see :meth:`pipeline.context.Context`.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, hint: Callable[[str], str] | None = None) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.hint = hint or str
        width = None if sys.stdout.isatty() else 120
        self._out = _Pipe(width=width, highlight=False, emoji=False, soft_wrap=False)
        self._err = _Pipe(stderr=True, highlight=False, emoji=False)

    def result(self, found: R, show: Callable[[Console, R], None]) -> None:
        """Print a result: with ``--json`` as one object, else as ``show`` does."""
        if self.as_json:
            self.json(found.as_json())
        else:
            show(self, found)

    def json(self, value: Any) -> None:
        """Print one JSON object to stdout."""
        options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        sys.stdout.buffer.write(escape_json(conceal(json_bytes(value, options).decode())).encode())
        sys.stdout.flush()

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str | None = None
    ) -> None:
        """Print a table; cells that are numbers are set to the right. Silent with ``--json``."""
        if self.as_json:
            return
        for shown in _table(self.hint(title), columns, rows, self._out.width):
            self._out.print(shown)
        if caption:
            self._out.print(_shown(self.hint(caption)), style="dim", soft_wrap=True)

    @contextmanager
    def board(self) -> Iterator[Board]:
        """A table that is refreshed in its place on a terminal, and printed again elsewhere."""
        if not self._out.is_terminal:
            yield Board(self._out, None)
            return
        with Live(console=self._out, auto_refresh=False, vertical_overflow="visible") as live:
            yield Board(self._out, live)

    def say(self, text: str) -> None:
        """Print a line of the result to stdout. Silent with ``--json``."""
        if not self.as_json:
            self._out.print(_shown(self.hint(text)), soft_wrap=True)

    def log(self, message: str, *, always: bool = False) -> None:
        """Print one line to stderr; ``always``: also where it should be quiet."""
        if always or not self.quiet:
            self._err.print(_shown(self.hint(message)), soft_wrap=True)

    def hear(self) -> None:
        """Print what library code logs as ``semctl``, such as that it waits for a lock, from now on."""
        logging.getLogger("semctl").handlers = [_ToConsole(self)]

    def error(self, problem: SemctlError) -> None:
        """Print an error as one line to stderr, and with ``--json`` as an object to stdout too."""
        self._err.print(f"[bold red]error:[/] {_shown(self.hint(str(problem)))}", soft_wrap=True)
        if problem.excerpt is not None:
            for line in _pointed_at(problem.excerpt):
                self._err.print(escape(line), style="dim", soft_wrap=True)
        if self.as_json:
            fix = problem.fix and self.hint(problem.fix)
            said = {"what": problem.what, "where": problem.where, "fix": fix, "exit_code": problem.exit_code}
            self.json({"error": {"kind": type(problem).__name__, **said}})

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator[Task]:
        """A progress bar on a terminal; a line at the start and at the end elsewhere."""
        if self.quiet or not self._err.is_terminal:
            with SilentProgress().task(title) as silent:
                yield silent
            return
        known: tuple[ProgressColumn, ...] = (MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        unknown = (_DoneColumn(), TimeElapsedColumn())
        columns = (
            TextColumn("{task.description}"),
            BarColumn(_BAR),
            *(known if total is not None else unknown),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self._err, transient=False) as progress:
            counts = 0 if total is None else 2 * len(f"{total:.0f}") + 1
            beside = cell_len(title) + _BAR + counts + _TIMES
            room = max(self._err.width - beside, 10)  # a longer note would take the bar's place
            yield _BarTask(progress, progress.add_task(_shown(title), total=total, note=""), room)

    def track(self, items: Iterable[T], title: str, total: float | None = None) -> Iterator[T]:
        """Yield the items under a progress bar."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self.task(title, total) as task:
            for item in items:
                yield item
                task.advance()


class _BarTask:
    def __init__(self, progress: RichProgress, task: TaskID, room: int) -> None:
        self._progress = progress
        self._task = task
        self._room = room

    def advance(self, n: float = 1, *, note: str | None = None) -> None:
        self._progress.advance(self._task, n)
        if note is not None:
            self._progress.update(self._task, note=_shown(note[: self._room]))


class _DoneColumn(ProgressColumn):
    """How many are done where nobody knows how many there are."""

    def render(self, task: RichTask) -> Text:
        return Text(f"{task.completed:,.0f}" if task.completed else "", style="progress.download")


class _ToConsole(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.log(record.getMessage(), always=record.levelno >= logging.WARNING)


def _pointed_at(excerpt: Excerpt) -> tuple[str, str]:
    """What was typed, as far as it is near, and carets under the part that is wrong."""
    parts = excerpt.text[: excerpt.start], excerpt.text[excerpt.start : excerpt.stop], excerpt.text[excerpt.stop :]
    before, wrong, after = (" ".join(harmless(part).replace("\n", " ").split("\t")) for part in parts)
    before = f"…{before[-_NEAR:]}" if len(before) > _NEAR else before
    wrong, after = wrong[:_NEAR], f"{after[:_NEAR]}…" if len(after) > _NEAR else after
    return f"  {before}{wrong}{after}", f"  {' ' * cell_len(before)}{'^' * max(cell_len(wrong), 1)}"


def _shown(text: object) -> str:
    return escape(harmless(str(text)))


def metric_heading(name: str) -> str:
    """A metric's name as a column heading: ``precision@5`` is P@5."""
    return name.replace("precision", "P").replace("recall", "R").replace("ndcg", "NDCG")


def _table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], room: int
) -> Iterator[Text | RichTable]:
    """The title, and the table in as many parts as there have to be; see :func:`pipeline.table_layout.fit`."""
    given = [list(row) for row in rows]
    drawn = any(isinstance(value, Bar) for row in given for value in row)
    headings = [harmless(column) for column in columns]
    cells = [[value.render() if isinstance(value, Bar) else _cell(value) for value in row] for row in given]
    texts = [
        Texts(
            heading,
            tuple(line for row in cells for line in str(row[at]).split("\n")),
            breakable=not any(isinstance(row[at], Bar) for row in given),
        )
        for at, heading in enumerate(headings)
    ]
    if title:
        yield Text(harmless(title), style="italic")
    padding = 1 if drawn else 2
    for part in fit(texts, room - 1, padding + 1, cell_len):
        yield _part(part, headings, given, cells, drawn=drawn)


def _part(
    part: Part,
    headings: Sequence[str],
    given: Sequence[Sequence[object]],
    cells: Sequence[Sequence[str | Text]],
    *,
    drawn: bool,
) -> RichTable:
    table = RichTable(box=SIMPLE_HEAD if drawn else HEAVY_HEAD, show_header=any(headings))
    if drawn:
        table.padding = (0, 1, 0, 0)
    for at, width in zip(part.columns, part.widths, strict=True):
        numbers = [isinstance(row[at], int | float) for row in given]
        justify: Literal["left", "right"] = "right" if numbers and all(numbers) else "left"
        heading = Text(wrapped(headings[at], width, cell_len))
        table.add_column(heading, justify=justify, overflow="fold", width=width)
    for row in cells:
        shown = (
            cell if isinstance(cell, Text) else Text(wrapped(cell, width, cell_len))
            for cell, width in ((row[at], width) for at, width in zip(part.columns, part.widths, strict=True))
        )
        table.add_row(*shown)
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return harmless(shortened(str(value), _LONGEST_CELL))
