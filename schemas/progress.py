"""How long work reports itself, without knowing who is looking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Task(Protocol):
    """One bar of a progress display."""

    def advance(self, n: float = 1, *, note: str | None = None) -> None:
        """Move the bar by ``n`` steps; ``note`` replaces the text shown at its end."""


class Progress(Protocol):
    """Whoever shows progress: the console, or nobody."""

    def task(self, title: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Open a bar: ``with progress.task("reading", total=10) as task: task.advance()``."""

    def track(self, items: Iterable[T], title: str, total: float | None = None) -> Iterator[T]:
        """Yield the items, moving a bar by one for each."""

    def log(self, message: str) -> None:
        """Print one line for people, to stderr."""


class _SilentTask:
    def advance(self, n: float = 1, *, note: str | None = None) -> None:
        del n, note


class SilentProgress:
    """Shows nothing; the default of every library call."""

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator[Task]:
        del title, total
        yield _SilentTask()

    def track(self, items: Iterable[T], title: str, total: float | None = None) -> Iterator[T]:
        del title, total
        yield from items

    def log(self, message: str) -> None:
        del message
