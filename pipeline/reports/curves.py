"""Line charts as plain SVG, and the training curves of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from schemas.json_form import json_form

WIDTH, HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 32
_METRICS = ("ndcg@5", "recall@5", "ndcg@10")


class Tick(NamedTuple):
    """A place on an axis."""

    at: float  # in the drawing
    text: str


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    values: tuple[tuple[float, float], ...]  # (x, y), ascending


@dataclass(frozen=True)
class Chart:
    """Some curves with one scale."""

    title: str
    across: str  # what x is
    lines: tuple[Line, ...]
    mark: float | None = None  # an x to point at
    mark_text: str = ""

    def as_json(self) -> dict[str, Any]:
        return json_form(self)

    @property
    def x_ticks(self) -> list[Tick]:
        """At whole numbers, about six."""
        low, high = self._x
        step = max(1, math.ceil((high - low) / 6))
        return [Tick(self.x(at), f"{at:g}") for at in range(math.ceil(low), math.floor(high) + 1, step)]

    @property
    def y_ticks(self) -> list[Tick]:
        """At round numbers, about five."""
        low, high = self._y
        step = _round_step((high - low) / 4)
        count = math.floor((high - math.ceil(low / step) * step) / step + 1e-9)
        return [Tick(self.y(at), f"{at:g}") for at in _multiples(math.ceil(low / step), count + 1, step)]

    def points(self, line: Line) -> str:
        """``points`` of a polyline."""
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in line.values)

    def x(self, value: float) -> float:
        """Where an x is drawn."""
        low, high = self._x
        share = (value - low) / (high - low) if high > low else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """Where a y is drawn."""
        low, high = self._y
        return round(HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    @property
    def _x(self) -> tuple[float, float]:
        found = [x for line in self.lines for x, _ in line.values]
        return min(found), max(found)

    @property
    def _y(self) -> tuple[float, float]:
        found = [y for line in self.lines for _, y in line.values]
        low, high = min(found), max(found)
        room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
        return low - room, high + room


def _round_step(size: float) -> float:
    power = 10.0 ** math.floor(math.log10(size))
    return min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs(step - size))


def _multiples(first: int, count: int, step: float) -> Iterator[float]:
    return (round((first + number) * step, 10) for number in range(count))


def training_curves(folder: Path, best: int) -> tuple[Chart, ...]:
    """What ``metrics.jsonl`` of a run says epoch by epoch: figures on the valid split, then losses; none without it.

    Args:
        folder: the run's.
        best: the epoch whose weights were kept.
    """
    epochs = list(_epochs(folder / "metrics.jsonl"))
    figures = [Line(name, _curve(epochs, name, 100)) for name in _METRICS]
    names = dict.fromkeys(name for epoch in epochs for name in epoch if name.endswith(".loss"))
    losses = [Line(name.removesuffix(".loss"), _curve(epochs, name, 1)) for name in names]
    charts = (
        Chart("Figures on the valid split, every product ranked; per cent", "epoch", _drawn(figures), best, "kept"),
        Chart("Loss", "epoch", _drawn(losses), best, "kept"),
    )
    return tuple(chart for chart in charts if chart.lines)


def _drawn(lines: Sequence[Line]) -> tuple[Line, ...]:
    return tuple(line for line in lines if line.values)


def _curve(epochs: Sequence[Mapping[str, Any]], name: str, times: float) -> tuple[tuple[float, float], ...]:
    found = (epoch for epoch in epochs if _is_number(epoch.get(name)))
    return tuple((float(epoch["epoch"]), times * epoch[name]) for epoch in found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _epochs(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
        try:
            said = json.loads(line)
        except ValueError:  # a line that a kill cut off
            continue
        if isinstance(said, dict) and said.get("kind") == "epoch" and _is_number(said.get("epoch")):
            yield said
