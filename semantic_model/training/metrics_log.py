"""A run's figures: ``metrics.jsonl``, one JSON object an epoch or a step, and the same as TensorBoard events."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor

from schemas.files import write_atomic

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class MetricsLog:
    """Appends lines to ``metrics.jsonl``, and every number in them as ``<kind>/<name>`` to ``tensorboard/``.

    Args:
        folder: the run's.
        first: whether this process is the one that writes.
    """

    def __init__(self, folder: Path, *, first: bool = True) -> None:
        self.path = folder / "metrics.jsonl"
        self.events = folder / "tensorboard"
        self.first = first
        self._writer: SummaryWriter | None = None

    def open(self, step: int) -> str | None:
        """Begin, after so many steps: later lines and events, and a line that a kill cut off, do not count.

        Returns:
            One line for people, when there will be no TensorBoard events.
        """
        if not self.first:
            return None
        if self.path.is_file():
            self._cut(step)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return "no TensorBoard events are written: `pip install tensorboard` would add them"
        self._wait_for_a_later_name()
        self._writer = SummaryWriter(str(self.events), purge_step=step + 1)
        return None

    def write(self, *, kind: str, step: int, **values: Any) -> None:
        """Append one line.

        Args:
            kind: ``step`` or ``epoch``.
            step: steps done since the beginning of the run.
        """
        if not self.first:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Everything is on disk."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _wait_for_a_later_name(self) -> None:
        """TensorBoard reads files in the order of their names, which begin with the second they were made in."""
        made = [path.name.split(".")[3] for path in self.events.glob("events.out.tfevents.*")]
        newest = max((int(second) for second in made if second.isdecimal()), default=0)
        time.sleep(min(max(newest + 1 - time.time(), 0.0), 1.0))

    def _cut(self, step: int) -> None:
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        write_atomic(self.path, "".join(f"{line}\n" for line in kept))


def examples_per_second(folder: Path) -> float | None:
    """Of a run's median epoch; None where ``metrics.jsonl`` does not say."""
    path, found = folder / "metrics.jsonl", []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            value = json.loads(line)
            if value["kind"] == "epoch":
                found.append(float(value["examples_per_second"]))
        except (ValueError, KeyError, TypeError):
            continue
    return median(found) if found else None


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
