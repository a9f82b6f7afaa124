"""Ctrl-C between two steps, never inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Interrupted", "stop_request"]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user after a checkpoint was written."""


@contextmanager
def stop_request(*, once: bool = False) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that a step is never cut in half; the second one stops at once.

    Args:
        once: later ones do nothing; ``torchrun`` passes on a Ctrl-C that its processes got already.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        del number, frame
        if stop.is_set() and not once:
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
