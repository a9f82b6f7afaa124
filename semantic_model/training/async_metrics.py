"""Figures of steps, fetched without making a GPU wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

__all__ = ["AsyncMetrics"]

About = TypeVar("About")


class AsyncMetrics(Generic[About]):
    """Numbers that are on their way from the device.

    On a GPU a step's numbers are looked at when the next step has been handed to it; on a CPU at once.

    Args:
        device: where the numbers are made.
        lag: steps between making and reading; None: 1 on a GPU, 0 on a CPU.
    """

    def __init__(self, device: torch.device, lag: int | None = None) -> None:
        self.lag = (1 if device.type == "cuda" else 0) if lag is None else lag
        self._coming: deque[tuple[About, Tensor, torch.cuda.Event | None]] = deque()

    def put(self, about: About, values: Tensor) -> None:
        """Send a vector on its way."""
        event = None
        if values.device.type == "cuda":
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = host.copy_(values, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._coming.append((about, values, event))

    def take(self, *, every: bool = False) -> Iterator[tuple[About, list[float]]]:
        """What has come, oldest first; with ``every`` also what has to be waited for."""
        while len(self._coming) > (0 if every else self.lag):
            about, values, event = self._coming.popleft()
            if event is not None:
                event.synchronize()
            yield about, values.tolist()
