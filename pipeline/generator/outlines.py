"""The means to draw outlines with: parts, lines and spots in a unit square, curves and mirror images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

__all__ = ["Line", "Part", "Point", "Shape", "Spot", "both", "curve", "flip", "rounded", "whole"]

Point = tuple[float, float]
Fill = Literal["cloth", "inside", "trim", "sole", "metal"]


@dataclass(frozen=True)
class Part:
    """A closed outline filled with cloth (times ``shade``), or with another material."""

    points: tuple[Point, ...]
    fill: Fill = "cloth"
    shade: float = 1.0
    outline: bool = True


@dataclass(frozen=True)
class Line:
    """A seam; ``width`` in pixels of the final 128-pixel image."""

    points: tuple[Point, ...]
    width: float = 1.0


@dataclass(frozen=True)
class Spot:
    """A button or a stud."""

    at: Point
    radius: float
    fill: Fill = "metal"


Shape = Part | Line | Spot
"""Anything that can be drawn."""


def curve(*points: Point, steps: int = 8) -> tuple[Point, ...]:
    """A Bezier curve of any degree through the first and the last point."""
    drawn = []
    for step in range(steps + 1):
        t = step / steps
        level = list(points)
        while len(level) > 1:
            pairs = pairwise(level)
            level = [(a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t) for a, b in pairs]
        drawn.append(level[0])
    return tuple(drawn)


def flip(points: Sequence[Point]) -> tuple[Point, ...]:
    """The mirror image, left to right."""
    return tuple((1 - x, y) for x, y in points)


def whole(left: Sequence[Point]) -> tuple[Point, ...]:
    """A left half, from top middle to bottom middle, closed by its mirror image."""
    return (*left, *reversed(flip(left)))


def rounded(left: float, top: float, right: float, bottom: float, r: float) -> tuple[Point, ...]:
    """A rectangle with round corners of radius ``r``."""
    return (
        *curve((left, top + r), (left, top), (left + r, top), steps=4),
        *curve((right - r, top), (right, top), (right, top + r), steps=4),
        *curve((right, bottom - r), (right, bottom), (right - r, bottom), steps=4),
        *curve((left + r, bottom), (left, bottom), (left, bottom - r), steps=4),
    )


def both(points: Sequence[Point], width: float = 1.0) -> list[Shape]:
    """A seam on the left and its mirror image."""
    return [Line(tuple(points), width), Line(flip(points), width)]
