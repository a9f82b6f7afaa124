"""What people see: tables on stdout, progress and logs on stderr. The only module that knows rich.

All text passes :func:`schemas.safe_text.harmless` here: no cell, line or error commands the terminal or shows a secret.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import orjson
from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table as RichTable
from rich.text import Text

from schemas.errors import SemctlError
from schemas.files import json_bytes
from schemas.progress import Task
from schemas.safe_text import conceal, escape_json, harmless, shortened

__all__ = ["Bar", "Board", "Console", "metric_heading"]

T = TypeVar("T")

_LONGEST_CELL = 300  # characters; typed values and texts can be of any length
_BAR_WIDTH = 84  # title, bar, counts and times of a progress bar


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
        shown = Group(_table(title, columns, rows), *lines)
        if self._live is None:
            self._console.print(shown)
        else:
            self._live.update(shown, refresh=True)


class Console:
    """Prints results and progress; implements :class:`schemas.progress.Progress`.

    Args:
        as_json: results are one JSON object on stdout and nothing else.
        quiet: no progress bars and no log lines.
        hint: turns commands in a line into ones that can be typed as they are, see :meth:`pipeline.context.Context`.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, hint: Callable[[str], str] | None = None) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.hint = hint or str
        width = None if sys.stdout.isatty() else 120
        self._out = _Pipe(width=width, highlight=False, emoji=False, soft_wrap=False)
        self._err = _Pipe(stderr=True, highlight=False, emoji=False)

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
        self._out.print(_table(title, columns, rows))
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

    def log(self, message: str) -> None:
        """Print one line to stderr."""
        if not self.quiet:
            self._err.print(_shown(self.hint(message)), soft_wrap=True)

    def hear(self) -> None:
        """Print what library code logs as ``semctl``, such as that it waits for a lock, from now on."""
        logging.getLogger("semctl").handlers = [_ToConsole(self)]

    def error(self, problem: SemctlError) -> None:
        """Print an error as one line to stderr, and with ``--json`` as an object to stdout too."""
        self._err.print(f"[bold red]error:[/] {_shown(self.hint(str(problem)))}", soft_wrap=True)
        if self.as_json:
            self.json(
                {
                    "error": {
                        "kind": type(problem).__name__,
                        "what": problem.what,
                        "where": problem.where,
                        "fix": problem.fix and self.hint(problem.fix),
                        "exit_code": problem.exit_code,
                    }
                }
            )

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator[Task]:
        """A progress bar on a terminal; a line at the start and at the end elsewhere."""
        if self.quiet or not self._err.is_terminal:
            yield _PlainTask()
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self._err, transient=False) as progress:
            yield _BarTask(progress, progress.add_task(_shown(title), total=total, note=""))

    def track(self, items: Iterable[T], title: str, total: float | None = None) -> Iterator[T]:
        """Yield the items under a progress bar."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self.task(title, total) as task:
            for item in items:
                yield item
                task.advance()


class _PlainTask:
    def advance(self, n: float = 1, *, note: str | None = None) -> None:
        del n, note


class _BarTask:
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, n: float = 1, *, note: str | None = None) -> None:
        self._progress.advance(self._task, n)
        if note is not None:
            room = max(self._progress.console.width - _BAR_WIDTH, 10)  # a longer one would take the bar's place
            self._progress.update(self._task, note=_shown(note[:room]))


class _ToConsole(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.log(record.getMessage())


def _shown(text: object) -> str:
    return escape(harmless(str(text)))


def metric_heading(name: str) -> str:
    """A metric's name as a column heading: ``precision@5`` is P@5."""
    return name.replace("precision", "P").replace("recall", "R").replace("ndcg", "NDCG")


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RichTable:
    cells = [list(row) for row in rows]
    drawn = any(isinstance(value, Bar) for row in cells for value in row)
    table = RichTable(title=_shown(title), title_justify="left", box=SIMPLE_HEAD if drawn else HEAVY_HEAD)
    if drawn:
        table.padding = (0, 1, 0, 0)
    for index, column in enumerate(columns):
        numbers = [isinstance(row[index], int | float) for row in cells]
        drawings = any(isinstance(row[index], Bar) for row in cells)
        justify: Literal["left", "right"] = "right" if numbers and all(numbers) else "left"
        table.add_column(_shown(column), justify=justify, overflow="fold", no_wrap=drawings)
    for row in cells:
        table.add_row(*(value.render() if isinstance(value, Bar) else _cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return _shown(shortened(str(value), _LONGEST_CELL))
