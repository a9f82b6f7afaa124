"""Product images: a garment cut out of cloth, on a pale ground, flat and tidy. 128 x 128 pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random

from PIL import Image, ImageChops, ImageDraw

from pipeline.generator.silhouettes import Line, Part, Shape, Spot, silhouette
from pipeline.generator.vocabulary import PALETTE

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
    """A ``size`` x ``size`` RGB image of cloth; at least half of it keeps the ground colour."""
    image = Image.new("RGB", (size, size), colour)
    if print_name != "plain":
        _PAINTERS[print_name](ImageDraw.Draw(image), size, colour, accent, rng)
    return image


def _stripes(draw: ImageDraw.ImageDraw, size: int, colour: RGB, accent: RGB, rng: Random) -> None:
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
    period = size * rng.uniform(0.12, 0.14)
    half = period * 0.5
    start = rng.uniform(0, period)
    columns = int(size / half) + 2
    for index in range(-2, int(size / period) + 2):
        top = start + index * period
        points = [(column * half, top + (half * 0.7 if column % 2 else 0.0)) for column in range(columns)]
        draw.line(points, fill=accent, width=round(period * 0.26), joint="curve")


_PAINTERS = {"striped": _stripes, "checked": _checks, "dotted": _dots, "floral": _flowers, "zigzag": _zigzag}


IMAGE_SIZE = 128
"""Width and height of an image, in pixels."""

_OVERSAMPLING = 3
_CANVAS = IMAGE_SIZE * _OVERSAMPLING

_PALE_GROUNDS: tuple[RGB, ...] = (
    (243, 243, 246),
    (246, 241, 234),
    (236, 242, 243),
    (242, 238, 245),
    (238, 243, 236),
    (247, 238, 238),
)
_DEEPER_GROUNDS: tuple[RGB, ...] = ((190, 204, 219), (190, 207, 198), (209, 193, 200), (197, 195, 215))


def draw_product(attributes: Mapping[str, str], rng: Random) -> Image.Image:
    """One RGB image of a product.

    The garment's outline shows its type, sleeves, neck, length and fit; its cloth shows colour and print. Size,
    place, shade and ground vary a little with ``rng``, so that copies of a design are not the same image.
    """
    shading = rng.uniform(-0.05, 0.05)
    colour = mix(PALETTE[attributes["color"]], (255, 255, 255) if shading > 0 else (0, 0, 0), abs(shading))
    grounds = _DEEPER_GROUNDS if attributes["color"] in ("white", "beige") else _PALE_GROUNDS
    ground = rng.choice(grounds)
    accent = accent_for(colour, rng)
    fabric = cloth(_CANVAS, colour, attributes["print"], accent, rng)
    shapes = silhouette(dict(attributes))
    place = _Place(shapes, rng.uniform(0.95, 1.02), rng.uniform(-0.012, 0.012), rng.uniform(-0.01, 0.01))
    image = Image.new("RGB", (_CANVAS, _CANVAS), ground)
    _cast_shadow(image, ground, place)
    seam = mix(colour, (255, 255, 255), 0.3) if luminance(colour) < 75 else mix(colour, (20, 16, 24), 0.38)
    fills = {
        "inside": mix(colour, (10, 8, 14), 0.45) if luminance(colour) >= 75 else mix(colour, (255, 255, 255), 0.18),
        "trim": mix(colour, (20, 16, 24), 0.55) if luminance(colour) >= 75 else mix(colour, (255, 255, 255), 0.42),
        "sole": (246, 246, 244) if attributes["color"] != "white" else (196, 190, 184),
        "metal": (206, 176, 106),
    }
    depth = 0.5 if attributes["color"] == "white" else 1.0  # shaded white would look grey
    pen = ImageDraw.Draw(image)
    shaded: dict[float, Image.Image] = {}
    for shape in shapes:
        if isinstance(shape, Part):
            points = place.points(shape.points)
            if shape.fill == "cloth":
                shade = 1 - (1 - shape.shade) * depth
                piece = shaded.get(shade)
                if piece is None:
                    piece = shaded[shade] = ImageChops.multiply(fabric, _light(shade))
                mask = Image.new("1", (_CANVAS, _CANVAS))
                ImageDraw.Draw(mask).polygon(points, fill=1)
                image.paste(piece, mask=mask)
            else:
                pen.polygon(points, fill=fills[shape.fill])
            if shape.outline:
                pen.line([*points, points[0], points[1]], fill=seam, width=4, joint="curve")
        elif isinstance(shape, Line):
            pen.line(place.points(shape.points), fill=seam, width=round(shape.width * _OVERSAMPLING), joint="curve")
        elif isinstance(shape, Spot):
            x, y = place.points((shape.at,))[0]
            radius = shape.radius * _CANVAS
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fills[shape.fill], outline=seam)
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)


class _Place:
    """Where the unit square of a silhouette lies on the canvas: the garment in the middle, its shadow under it."""

    def __init__(self, shapes: Sequence[Shape], scale: float, dx: float, dy: float) -> None:
        heights = [y for shape in shapes if isinstance(shape, Part) for _, y in shape.points]
        widths = [x for shape in shapes if isinstance(shape, Part) for x, _ in shape.points]
        self.bottom = max(heights)
        self._scale = scale * _CANVAS
        self._dx = (0.5 + dx) * _CANVAS - (min(widths) + max(widths)) / 2 * self._scale
        self._dy = (0.485 + dy) * _CANVAS - (min(heights) + max(heights)) / 2 * self._scale

    def points(self, points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
        return [(x * self._scale + self._dx, y * self._scale + self._dy) for x, y in points]


@cache
def _light(shade: float) -> Image.Image:
    """Light from the left, a little weaker at the right, times ``shade``."""
    row = Image.new("L", (_CANVAS, 1))
    row.putdata([round(255 * shade * (1 - 0.07 * x / _CANVAS)) for x in range(_CANVAS)])
    column = row.resize((_CANVAS, _CANVAS))
    return Image.merge("RGB", (column, column, column))


def _cast_shadow(image: Image.Image, ground: RGB, place: _Place) -> None:
    pen = ImageDraw.Draw(image)
    for index, share in enumerate((0.03, 0.05, 0.08)):
        inset = index * 0.05
        corners = ((0.2 + inset, place.bottom - 0.012 + inset / 6), (0.8 - inset, place.bottom + 0.045 - inset / 6))
        (left, top), (right, bottom) = place.points(corners)
        pen.ellipse((left, top, right, bottom), fill=mix(ground, (30, 30, 50), share))
