"""Independent pieces of work, one core each: no step inside a piece waits for another core."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Scratch", "for_each", "one_thread"]

Piece = TypeVar("Piece")
Found = TypeVar("Found")


class Scratch:
    """Memory that one worker computes in, used again for every chunk."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._flat: dict[str, Tensor] = {}

    def tensor(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A contiguous tensor with any content; the same memory as the last one of that name."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or len(flat) < size:
            flat = self._flat[name] = torch.empty(size, dtype=dtype, device=self.device)
        return flat[:size].view(shape)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on this thread alone; for steps too small to be worth another core's attention."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def for_each(
    pieces: Sequence[Piece], work: Callable[[Iterator[Piece]], Found], device: torch.device | None = None
) -> list[Found]:
    """Share pieces among workers, each of which takes the next one whenever it is free.

    On a CPU there are as many workers as torch has threads, each computing on one: cores that wait for each other in
    every small step lose more than they gain, above all on a machine that others use. Elsewhere there is one.

    Args:
        pieces: in the order in which they are handed out.
        work: what a worker does with the pieces that it gets; they come in ascending order. Runs without gradients.
        device: where the work is done; a CPU when left out.

    Returns:
        What each worker answered.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(pieces)) if device is None or device.type == "cpu" else 1
    if workers <= 1:
        with one_thread(), torch.inference_mode():
            return [work(iter(pieces))]
    waiting, lock = iter(pieces), Lock()

    def next_ones() -> Iterator[Piece]:
        while True:
            with lock:
                piece = next(waiting, None)
            if piece is None:
                return
            yield piece

    def run() -> Found:
        torch.set_num_threads(1)  # of this worker
        with torch.inference_mode():
            return work(next_ones())

    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="semctl") as pool:
            running = [pool.submit(run) for _ in range(workers)]
            return [one.result() for one in running]
    finally:
        torch.set_num_threads(threads)  # threads that start later take over what was set last
