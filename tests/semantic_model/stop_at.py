"""Stops a training in the middle, as a person at the keyboard does."""

from __future__ import annotations

import os
import signal


class StopAt:
    """A progress display that presses Ctrl-C after so many steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def task(self, title, total=None):
        del title, total
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return None

    def advance(self, n: float = 1, *, note: str | None = None) -> None:
        self.step -= int(n)
        if note is not None and self.step == 0:
            os.kill(os.getpid(), signal.SIGINT)

    def log(self, message: str) -> None:
        del message
