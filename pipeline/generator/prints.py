"""Cloth: a square of one print in one colour, to be cut along a garment's outline."""

from __future__ import annotations

import math
from random import Random

from PIL import Image, ImageDraw

__all__ = ["accent_for", "cloth", "luminance", "mix"]

RGB = tuple[int, int, int]

_LIGHT_ACCENTS: tuple[RGB, ...] = ((250, 246, 236), (250, 222, 130), (246, 190, 190))
_DARK_ACCENTS: tuple[RGB, ...] = ((44, 52, 96), (150, 34, 48), (40, 84, 70))


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """``first`` with a ``share`` (0..1) of ``second``."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def luminance(colour: RGB) -> float:
    """Perceived lightness, 0..255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def accent_for(colour: RGB, rng: Random) -> RGB:
    """A second colour that stands out against the cloth."""
    return rng.choice(_DARK_ACCENTS if luminance(colour) > 165 else _LIGHT_ACCENTS)


def cloth(size: int, colour: RGB, print_name: str, accent: RGB, rng: Random) -> Image.Image:
    """A ``size`` x ``size`` RGB image of cloth; at least half of it keeps the ground colour.

    Raises:
        KeyError: there is no such print.
    """
    image = Image.new("RGB", (size, size), colour)
    if print_name != "plain":
        _PAINTERS[print_name](ImageDraw.Draw(image), size, colour, accent, rng)
    return image


def _stripes(draw: ImageDraw.ImageDraw, size: int, colour: RGB, accent: RGB, rng: Random) -> None:
    del colour
    period = size * rng.uniform(0.085, 0.105)
    start = rng.uniform(0, period)
    for index in range(-1, int(size / period) + 2):
        top = start + index * period
        draw.rectangle((0, top, size, top + period * 0.33), fill=accent)


def _checks(draw: ImageDraw.ImageDraw, size: int, colour: RGB, accent: RGB, rng: Random) -> None:
    period = size * rng.uniform(0.12, 0.145)
    band = period * 0.22
    start = rng.uniform(0, period)
    starts = [start + index * period for index in range(-1, int(size / period) + 2)]
    single, double = mix(colour, accent, 0.45), mix(colour, accent, 0.9)
    for position in starts:
        draw.rectangle((position, 0, position + band, size), fill=single)
        draw.rectangle((0, position, size, position + band), fill=single)
    for left in starts:
        for top in starts:
            draw.rectangle((left, top, left + band, top + band), fill=double)


def _dots(draw: ImageDraw.ImageDraw, size: int, colour: RGB, accent: RGB, rng: Random) -> None:
    del colour
    step = size * rng.uniform(0.085, 0.1)
    radius = step * 0.25
    shift = rng.uniform(0, step)
    rows = int(size / step) + 2
    for row in range(-1, rows):
        for column in range(-1, rows):
            x = column * step + (step / 2 if row % 2 else 0) + shift
            y = row * step + shift
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=accent)


def _flowers(draw: ImageDraw.ImageDraw, size: int, colour: RGB, accent: RGB, rng: Random) -> None:
    step = size * 0.155
    petal = step * 0.17
    leaf = mix((70, 150, 80), colour, 0.15) if luminance(colour) > 90 else (120, 190, 120)
    heart = (244, 190, 60) if luminance(accent) < 160 else (222, 130, 40)
    rows = int(size / step) + 2
    for row in range(-1, rows):
        for column in range(-1, rows):
            x = (column + (0.5 if row % 2 else 0) + rng.uniform(-0.1, 0.1)) * step
            y = (row + rng.uniform(-0.1, 0.1)) * step
            turn = rng.uniform(0, math.tau)
            for side in (0.6, 2.5):
                lx, ly = x + math.cos(turn + side) * petal * 2.1, y + math.sin(turn + side) * petal * 2.1
                draw.ellipse((lx - petal * 0.6, ly - petal * 0.6, lx + petal * 0.6, ly + petal * 0.6), fill=leaf)
            for index in range(5):
                angle = turn + index * math.tau / 5
                px, py = x + math.cos(angle) * petal, y + math.sin(angle) * petal
                draw.ellipse((px - petal * 0.8, py - petal * 0.8, px + petal * 0.8, py + petal * 0.8), fill=accent)
            draw.ellipse((x - petal * 0.6, y - petal * 0.6, x + petal * 0.6, y + petal * 0.6), fill=heart)


def _zigzag(draw: ImageDraw.ImageDraw, size: int, colour: RGB, accent: RGB, rng: Random) -> None:
    del colour
    period = size * rng.uniform(0.12, 0.14)
    half = period * 0.5
    start = rng.uniform(0, period)
    columns = int(size / half) + 2
    for index in range(-2, int(size / period) + 2):
        top = start + index * period
        points = [(column * half, top + (half * 0.7 if column % 2 else 0.0)) for column in range(columns)]
        draw.line(points, fill=accent, width=round(period * 0.26), joint="curve")


_PAINTERS = {"striped": _stripes, "checked": _checks, "dotted": _dots, "floral": _flowers, "zigzag": _zigzag}
