"""An image descriptor without weights: what colours, what pattern, what shape."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from semantic_model.data.records import FloatArray

PIXELS_VERSION = 1
"""Part of the cache's key: goes up when the descriptor changes."""

SIDE = 64
_HUES = 12
_GRID = 8
_CELLS = 4
_DIRECTIONS = 8
_SCALES = 3

_COLOUR = _HUES * 2 + 6  # hue x (pale, strong), and six greys
_LAYOUT = 3 * _CELLS * _CELLS  # mean colour of coarse cells
_SHAPE = _GRID * _GRID  # share of a cell that is product rather than ground
_EDGES = _DIRECTIONS * _CELLS * _CELLS
_PATTERN = _SCALES * (_DIRECTIONS // 2 + 2)
PIXELS_WIDTH = _COLOUR + _LAYOUT + _SHAPE + _EDGES + _PATTERN

CELLS_SHAPE = (4 + _DIRECTIONS, 16, 16)
"""Channels, height and width of :func:`describe_cells`."""

_Array = npt.NDArray[np.float64]


def describe_pixels(image: Image.Image) -> FloatArray:
    """The descriptor of one RGB image: float32 [PIXELS_WIDTH], each part of about unit length.

    Colour histogram of the foreground, mean colours of a coarse grid, outline, gradient directions by cell, and the
    strength and direction of inner edges at three scales. The ground is the colour most common along the border.
    """
    rgb, front, grey = _read(image)
    parts = [
        np.sqrt(_colours(rgb, front)),
        _layout(rgb, front) / np.sqrt(_LAYOUT / 4),
        _cells(front, _GRID) / np.sqrt(_SHAPE / 2),
        _unit(_edges(grey, _CELLS)),
        _pattern(grey, front),
    ]
    found: FloatArray = np.concatenate(parts).astype(np.float32)
    return found


def describe_cells(image: Image.Image) -> FloatArray:
    """The map of one RGB image: float32 :data:`CELLS_SHAPE`.

    A cell's channels: mean colour less mid-grey, share of the foreground, gradient strength by direction.
    """
    rgb, front, grey = _read(image)
    strength, angle = _gradients(grey)
    bins = np.minimum((angle / np.pi * _DIRECTIONS).astype(int), _DIRECTIONS - 1)
    n = CELLS_SHAPE[1]
    channels = [*(_cells(rgb[..., c] - 0.5, n) for c in range(3)), _cells(front, n)]
    channels += [_cells(strength * (bins == d), n) for d in range(_DIRECTIONS)]
    found: FloatArray = np.stack(channels).reshape(CELLS_SHAPE).astype(np.float32)
    return found


def _read(image: Image.Image) -> tuple[_Array, _Array, _Array]:
    """Pixels [SIDE, SIDE, 3], which of them are foreground and how grey each is [SIDE, SIDE]."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    rgb = np.asarray(small, dtype=np.float64) / 255.0
    return rgb, _foreground(rgb), rgb @ np.array([0.299, 0.587, 0.114])


def _foreground(rgb: _Array) -> _Array:
    """Softly 1 where a pixel differs from the ground, the median colour of the border."""
    border = np.concatenate([rgb[:2].reshape(-1, 3), rgb[:, :2].reshape(-1, 3), rgb[:, -2:].reshape(-1, 3)])
    distance = np.abs(rgb - np.median(border, axis=0)).max(axis=-1)
    front: _Array = np.clip((distance - 0.04) / 0.08, 0.0, 1.0)
    if front.mean() < 0.02:  # a product that fills the image, or a blank one
        return np.ones_like(front)
    return front


def _colours(rgb: _Array, front: _Array) -> _Array:
    """Histogram over hue (pale and strong) and greys, of foreground pixels, soft between neighbouring hues."""
    top, low = rgb.max(-1), rgb.min(-1)
    chroma = top - low
    safe = np.where(chroma > 0, chroma, 1.0)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    hue = np.where(top == r, (g - b) / safe % 6, np.where(top == g, (b - r) / safe + 2, (r - g) / safe + 4))
    place = hue / 6 * _HUES
    lower = np.floor(place).astype(int) % _HUES
    share = place - np.floor(place)
    colourful = np.clip((chroma - 0.08) / 0.12, 0.0, 1.0) * front
    strong = np.clip((top - 0.35) / 0.3, 0.0, 1.0)  # a dark blue and a light blue are two colours
    histogram = np.zeros((2, _HUES))
    for level, weight in enumerate((1 - strong, strong)):
        np.add.at(histogram[level], lower, colourful * weight * (1 - share))
        np.add.at(histogram[level], (lower + 1) % _HUES, colourful * weight * share)
    greys = np.zeros(6)
    np.add.at(greys, np.minimum((top * 6).astype(int), 5), front - colourful)
    counts = np.concatenate([histogram.ravel(), greys])
    shares: _Array = counts / max(counts.sum(), 1e-9)
    return shares


def _layout(rgb: _Array, front: _Array) -> _Array:
    """Mean foreground colour, less mid-grey, of each coarse cell."""
    weight = _cells(front, _CELLS)
    means = [_cells((rgb[..., c] - 0.5) * front, _CELLS) / np.maximum(weight, 0.05) for c in range(3)]
    return np.concatenate(means)


def _cells(values: _Array, n: int) -> _Array:
    """Means over an n x n grid of cells, row by row."""
    step = SIDE // n
    means: _Array = values.reshape(n, step, n, step).mean(axis=(1, 3)).ravel()
    return means


def _gradients(grey: _Array) -> tuple[_Array, _Array]:
    down, right = np.gradient(grey)
    return np.hypot(down, right), np.arctan2(down, right) % np.pi


def _edges(grey: _Array, n: int) -> _Array:
    """Gradient strength by direction in each cell (a coarse histogram of oriented gradients)."""
    strength, angle = _gradients(grey)
    bins = np.minimum((angle / np.pi * _DIRECTIONS).astype(int), _DIRECTIONS - 1)
    by_direction: _Array = np.concatenate([_cells(strength * (bins == d), n) for d in range(_DIRECTIONS)])
    return np.asarray(np.sqrt(by_direction))


def _pattern(grey: _Array, front: _Array) -> _Array:
    """Edges well inside the product, by direction, at three scales: plain, striped, checked, dotted."""
    inside = front.copy()
    for _ in range(2):  # the outline is shape, not pattern
        inside = np.minimum.reduce([inside, *(np.roll(inside, shift, axis) for shift in (-1, 1) for axis in (0, 1))])
    area = max(float(inside.mean()), 0.01)
    found = []
    for scale in range(_SCALES):
        step = 2**scale
        blurred = grey.reshape(SIDE // step, step, SIDE // step, step).mean(axis=(1, 3))
        within = inside.reshape(SIDE // step, step, SIDE // step, step).min(axis=(1, 3))
        strength, angle = _gradients(blurred)
        strength = strength * within
        bins = np.minimum((angle / np.pi * (_DIRECTIONS // 2) + 0.5).astype(int) % (_DIRECTIONS // 2), 3)
        by_direction = [float((strength * (bins == d)).mean()) / area for d in range(_DIRECTIONS // 2)]
        spread = float((strength > 0.05).mean()) / area
        found += [*(np.sqrt(value) for value in by_direction), np.sqrt(sum(by_direction)), spread]
    return np.array(found)


def _unit(values: _Array) -> _Array:
    return values / max(float(np.linalg.norm(values)), 1e-9)
