"""Product images: a garment cut out of cloth, on a pale ground, flat and tidy. 128 x 128 pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random

from PIL import Image, ImageChops, ImageDraw

from pipeline.generator.outlines import Line, Part, Shape, Spot
from pipeline.generator.prints import RGB, accent_for, cloth, luminance, mix
from pipeline.generator.silhouettes import silhouette
from pipeline.generator.vocabulary import PALETTE

__all__ = ["IMAGE_SIZE", "draw_product"]

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

    Args:
        attributes: ``type``, ``color`` and ``print``, and the others where the garment has them.
        rng: the source of that variation.
    """
    colour = _shade(PALETTE[attributes["color"]], rng.uniform(-0.05, 0.05))
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
                    piece = shaded[shade] = _lit(fabric, shade)
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


def _shade(colour: RGB, amount: float) -> RGB:
    return mix(colour, (255, 255, 255) if amount > 0 else (0, 0, 0), abs(amount))


def _lit(fabric: Image.Image, shade: float) -> Image.Image:
    return ImageChops.multiply(fabric, _light(shade))


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
