"""Outlines of garments in a unit square (x to the right, y down): parts to cut out of cloth, lines to sew on.

A garment is symmetric about x = 0.5; points are given for the left half and mirrored. Shoes, bags and hats always look
the same: ``data/silhouettes.toml``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from pipeline.generator.vocabulary import load

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


Look = dict[str, str]


def silhouette(look: Look) -> list[Shape]:
    """The shapes of a garment, back to front."""
    return SILHOUETTES[look["type"]](look)


_WIDTH = {"slim": -0.018, "regular": 0.0, "loose": 0.03}


def _neckline(neck: str) -> tuple[Point, ...]:
    """The left half of a neckline, from its deepest point out to the shoulder."""
    if neck == "v-neck":
        return ((0.5, 0.315), (0.415, 0.15))
    if neck == "turtleneck":
        return ((0.5, 0.165), (0.43, 0.155))
    if neck == "open":
        return ((0.5, 0.27), (0.425, 0.15))
    return curve((0.5, 0.225), (0.43, 0.225), (0.415, 0.15), steps=6)


def _sleeve(sleeves: str, wide: float = 0.0) -> tuple[Point, ...] | None:
    top, armpit = (0.335, 0.185), (0.35, 0.40)
    if sleeves == "long":
        cuff = ((0.125 - wide, 0.745), (0.215, 0.775))
        return (*curve(top, (0.245 - wide, 0.215), cuff[0]), cuff[1], *curve(cuff[1], (0.29, 0.56), armpit)[1:])
    if sleeves == "short":
        cuff = ((0.185 - wide, 0.39), (0.285, 0.455))
        return (*curve(top, (0.27 - wide, 0.205), cuff[0]), cuff[1], armpit)
    return None


def _torso(neck: str, sleeves: str, hem: float, waist: float, hip: float) -> tuple[Point, ...]:
    shoulder = (0.37, 0.172) if sleeves == "sleeveless" else (0.325, 0.19)
    armhole = curve(shoulder, (0.405, 0.30), (0.335, 0.385)) if sleeves == "sleeveless" else (shoulder, (0.335, 0.395))
    side = curve((0.335, 0.39), (0.5 - waist, 0.55), (0.5 - hip, hem), steps=6)
    return whole((*_neckline(neck), *armhole, *side[1:], (0.5, hem + 0.008)))


def _top(look: Look, hem: float, waist: float = 0.165, hip: float = 0.175) -> list[Shape]:
    """Back of the neck, sleeves, torso: what all upper garments share."""
    sleeves, neck = look.get("sleeves", "long"), look.get("neck", "round neck")
    wide = _WIDTH[look.get("fit", "regular")]
    shapes: list[Shape] = [Part(whole(((0.5, 0.14), (0.42, 0.148), (0.42, 0.26), (0.5, 0.335))), "inside", 1.0, False)]
    if neck == "round neck":
        shapes = [
            Part(whole((*curve((0.5, 0.172), (0.45, 0.172), (0.415, 0.15)), (0.43, 0.235), (0.5, 0.24))), "inside")
        ]
    arm = _sleeve(sleeves, wide / 2)
    if arm is not None:
        shapes += [Part(arm, shade=0.92), Part(flip(arm), shade=0.88)]
    shapes.append(Part(_torso(neck, sleeves, hem, waist + wide, hip + wide)))
    return shapes


def _tshirt(look: Look) -> list[Shape]:
    shapes = _top(look, 0.82)
    if look["sleeves"] == "short":
        shapes += both(((0.2, 0.37), (0.292, 0.43)))
    if look["sleeves"] == "long":
        shapes += both(((0.136, 0.715), (0.226, 0.745)))
    hip = 0.168 + _WIDTH[look["fit"]]
    return [*shapes, Line(((0.5 - hip, 0.795), (0.5 + hip, 0.795)))]


def _sweater(look: Look) -> list[Shape]:
    shapes = _top(look, 0.82, 0.185, 0.165)
    if look["neck"] == "turtleneck":
        shapes.append(Part(whole(((0.5, 0.085), (0.43, 0.09), (0.425, 0.175), (0.5, 0.19))), shade=0.94))
        shapes += [Line(((0.5 + x, 0.095), (0.5 + x, 0.175))) for x in (-0.045, -0.015, 0.015, 0.045)]
    hem = _WIDTH[look["fit"]]
    shapes.append(Part(rounded(0.33 - hem, 0.775, 0.67 + hem, 0.845, 0.012), shade=0.9))
    shapes += [Line(((x, 0.785), (x, 0.838))) for x in (0.36, 0.4, 0.44, 0.48, 0.52, 0.56, 0.6, 0.64)]
    if look["sleeves"] == "long":
        shapes += both(((0.14, 0.70), (0.232, 0.73)))
        shapes += both(((0.132, 0.722), (0.224, 0.752)))
    return shapes


def _shirt(look: Look) -> list[Shape]:
    shapes = _top({**look, "neck": "open"}, 0.84)
    collar = ((0.435, 0.115), (0.405, 0.15), (0.44, 0.25), (0.5, 0.205), (0.462, 0.16))
    shapes += [Part(whole(((0.5, 0.13), (0.45, 0.115), (0.44, 0.16), (0.5, 0.21))), "inside")]
    shapes += [Line(((0.5, 0.26), (0.5, 0.845)), 1.4)]
    shapes += [Part(collar, shade=0.97), Part(flip(collar), shade=0.97)]
    shapes += [Spot((0.522, 0.3 + 0.1 * index), 0.011, "trim") for index in range(6)]
    if look["sleeves"] == "long":
        shapes += both(((0.145, 0.685), (0.236, 0.715)), 1.4)
    else:
        shapes += both(((0.2, 0.37), (0.292, 0.43)), 1.4)
    return [*shapes, Part(((0.575, 0.37), (0.65, 0.37), (0.65, 0.445), (0.612, 0.465), (0.575, 0.445)), shade=0.97)]


def _jacket(look: Look) -> list[Shape]:
    shapes = _top({**look, "neck": "open"}, 0.76, 0.19, 0.18)
    wide = _WIDTH[look["fit"]]
    shapes += [Line(((0.5, 0.26), (0.5, 0.76)), 2.2)]
    lapel = ((0.44, 0.12), (0.40, 0.15), (0.385, 0.25), (0.425, 0.26), (0.435, 0.31), (0.5, 0.40), (0.47, 0.2))
    shapes += [Part(lapel, shade=0.86), Part(flip(lapel), shade=0.86)]
    shapes.append(Part(rounded(0.318 - wide, 0.725, 0.682 + wide, 0.79, 0.015), shade=0.86))
    shapes += both(((0.375, 0.56), (0.435, 0.65)), 1.8)
    shapes += [Spot((0.5, 0.43), 0.014), Spot((0.5, 0.757), 0.014)]
    if look["sleeves"] == "long":
        shapes += both(((0.145, 0.685), (0.236, 0.715)), 1.8)
    return shapes


def _coat(look: Look) -> list[Shape]:
    hem = 0.96 if look["length"] == "maxi" else 0.84
    shapes = _top({**look, "neck": "open", "sleeves": "long"}, hem, 0.17, 0.225 if hem > 0.9 else 0.205)
    lapel = ((0.435, 0.105), (0.38, 0.155), (0.355, 0.27), (0.415, 0.275), (0.425, 0.33), (0.52, 0.45), (0.475, 0.19))
    shapes += [Line(((0.52, 0.45), (0.525, hem)), 1.6)]
    shapes += [Part(lapel, shade=0.87), Part(flip(lapel), shade=0.87)]
    shapes.append(Part(((0.33, 0.545), (0.67, 0.545), (0.67, 0.59), (0.33, 0.59)), shade=0.8))
    shapes.append(Part(rounded(0.475, 0.535, 0.555, 0.6, 0.01), "metal"))
    shapes += [Spot((x, y), 0.014, "trim") for x in (0.455, 0.565) for y in (0.485, 0.66, 0.73)]
    shapes += both(((0.355, 0.66), (0.425, 0.68)), 1.8)
    return [*shapes, *both(((0.145, 0.685), (0.236, 0.715)), 1.8)]


_HEMS = {"mini": 0.66, "knee-length": 0.79, "maxi": 0.95}


def _dress(look: Look) -> list[Shape]:
    hem = _HEMS[look["length"]]
    flare = 0.19 + 0.3 * (hem - 0.5) * 0.75
    skirt = whole(
        (
            (0.5, 0.46),
            (0.385, 0.46),
            *curve((0.385, 0.475), (0.37, 0.56), (0.5 - flare, hem), steps=6),
            *curve((0.5 - flare, hem), (0.4, hem + 0.03), (0.5, hem + 0.03), steps=6),
        )
    )
    shapes = _top(look, 0.485, 0.13, 0.115)
    shapes = [*shapes, Part(skirt), Part(((0.383, 0.455), (0.617, 0.455), (0.619, 0.487), (0.381, 0.487)), shade=0.78)]
    for x, foot in ((0.455, 0.41), (0.5, 0.5), (0.545, 0.59)):
        shapes.append(Line(((x, 0.53), (x + (foot - x) * 0.95, hem - 0.02))))
    if look["sleeves"] == "long":
        shapes += both(((0.14, 0.70), (0.232, 0.73)))
    return shapes


def _skirt(look: Look) -> list[Shape]:
    hem = {"mini": 0.60, "knee-length": 0.74, "maxi": 0.93}[look["length"]]
    flare = 0.235 + 0.22 * (hem - 0.5)
    body = whole(
        (
            (0.5, 0.18),
            (0.355, 0.18),
            *curve((0.35, 0.2), (0.31, 0.35), (0.5 - flare, hem), steps=6),
            *curve((0.5 - flare, hem), (0.38, hem + 0.04), (0.5, hem + 0.04), steps=6),
        )
    )
    shapes: list[Shape] = [Part(body), Part(rounded(0.345, 0.155, 0.655, 0.225, 0.015), shade=0.84)]
    for x in (-0.09, -0.03, 0.03, 0.09):
        shapes.append(Line(((0.5 + x, 0.28), (0.5 + x * (1.2 + hem), hem + 0.005))))
    return [*shapes, Spot((0.5, 0.19), 0.014)]


def _legs(look: Look, hem: float, width: float, crotch: float) -> list[Shape]:
    wide = _WIDTH[look.get("fit", "regular")] * 1.2
    outer, inner = 0.5 - width - wide, 0.5 - 0.02 + wide * 0.15
    leg = (
        (0.5, 0.13),
        (0.345, 0.13),
        *curve((0.345, 0.15), (0.3, 0.3), (outer - 0.01, hem), steps=6),
        (min(inner, 0.487), hem + 0.008),
        (0.5, crotch),
    )
    shapes: list[Shape] = [Part(leg), Part(flip(leg), shade=0.93)]
    shapes.append(Part(rounded(0.338, 0.1, 0.662, 0.17, 0.012), shade=0.84))
    shapes += [Line(((0.5, 0.17), (0.5, crotch - 0.07)), 1.4), Spot((0.5, 0.135), 0.013)]
    shapes += both(curve((0.415, 0.175), (0.4, 0.25), (0.332, 0.265), steps=5), 1.4)
    return shapes


def _trousers(look: Look) -> list[Shape]:
    hem = 0.95 if look["length"] == "full-length" else 0.74
    width = {"slim": 0.155, "regular": 0.18, "loose": 0.2}[look["fit"]]
    shapes = _legs(look, hem, width, 0.4)
    middle = 0.5 - width / 2 - 0.02
    return [*shapes, *both(((middle - 0.01, 0.32), (middle - 0.015, hem - 0.03)))]


def _shorts(look: Look) -> list[Shape]:
    shapes = _legs(look, 0.6, 0.235, 0.38)
    return [*shapes, *both(((0.262, 0.568), (0.476, 0.576)), 1.4)]


def _as_drawn(shapes: Sequence[dict[str, Any]], look: Look) -> list[Shape]:
    """A garment that looks the same whatever its attributes."""
    drawn: list[Shape] = []
    for given in shapes:
        match given:
            case {"part": points, **rest}:
                drawn.append(Part(_outline(points), **rest))
            case {"line": points, **rest}:
                drawn.append(Line(_outline(points), **rest))
            case {"spot": (x, y), **rest}:
                drawn.append(Spot((x, y), **rest))
    return drawn


def _outline(items: Sequence[Any]) -> tuple[Point, ...]:
    """Points, curves and round rectangles one after the other."""
    points: list[Point] = []
    for item in items:
        match item:
            case {"curve": through}:
                points += curve(*((x, y) for x, y in through), steps=item.get("steps", 8))
            case {"rounded": box}:
                points += rounded(*box)
            case x, y:
                points.append((x, y))
    return tuple(points)


SILHOUETTES: dict[str, Callable[[Look], list[Shape]]] = {
    "dress": _dress,
    "skirt": _skirt,
    "shirt": _shirt,
    "t-shirt": _tshirt,
    "sweater": _sweater,
    "jacket": _jacket,
    "coat": _coat,
    "trousers": _trousers,
    "shorts": _shorts,
    **{name: partial(_as_drawn, shapes) for name, shapes in load("silhouettes.toml").items()},
}
"""Garment type -> the function that draws its shapes."""
