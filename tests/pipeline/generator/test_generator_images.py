"""What images show is measured in the images themselves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from PIL import Image

from pipeline.generator.drawing import IMAGE_SIZE, draw_product
from pipeline.generator.silhouettes import SILHOUETTES
from pipeline.generator.vocabulary import GARMENTS, PALETTE, PRINTS, Garment

NAMES = list(PALETTE)
COLOURS = np.array(list(PALETTE.values()), dtype=float)


def looks(garment: Garment, rng: Random) -> dict[str, str]:
    varied = {"sleeves": garment.sleeves, "neck": garment.necks, "length": garment.lengths, "fit": garment.fits}
    return {"type": garment.type} | {name: rng.choice(values) for name, values in varied.items() if values}


def ground_of(pixels: np.ndarray) -> np.ndarray:
    return np.median(np.concatenate([pixels[0], pixels[:, 0], pixels[:, -1]]), axis=0)


def cloth_colour(image: Image.Image) -> str:
    """The palette colour nearest to most of the garment's flat pixels, edges and seams left aside."""
    pixels = np.asarray(image, dtype=float)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(0, 1))
    flat = (windows.max((-1, -2)) - windows.min((-1, -2))).max(-1) < 20
    inner = pixels[1:-1, 1:-1]
    cloth = inner[flat & (np.abs(inner - ground_of(pixels)).max(-1) > 20)]
    nearest = ((cloth[:, None] - COLOURS) ** 2).sum(-1).argmin(1)
    return NAMES[np.bincount(nearest, minlength=len(NAMES)).argmax()]


def garment_mask(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image, dtype=float)
    return np.abs(pixels - ground_of(pixels)).max(-1) > 40


def every_look() -> Iterator[dict[str, str]]:
    rng = Random(11)
    for garment in GARMENTS:
        for colour in PALETTE:
            yield looks(garment, rng) | {"color": colour, "print": rng.choice(list(PRINTS))}


def test_every_garment_has_a_silhouette() -> None:
    assert {garment.type for garment in GARMENTS} == set(SILHOUETTES)


@pytest.mark.slow
def test_the_named_colour_is_the_one_measured_in_the_image() -> None:
    rng = Random(3)
    wrong = [look for look in every_look() if cloth_colour(draw_product(look, rng)) != look["color"]]
    assert wrong == []


def test_one_look_drawn_from_one_seed_is_one_image() -> None:
    look = {"type": "shirt", "color": "red", "print": "floral", "sleeves": "long", "fit": "slim"}
    assert draw_product(look, Random(1)).tobytes() == draw_product(look, Random(1)).tobytes()


def test_copies_of_one_look_are_not_one_image() -> None:
    look = {"type": "hat", "color": "navy", "print": "plain"}
    images = {draw_product(look, Random(seed)).tobytes() for seed in range(8)}
    assert len(images) == 8


@pytest.mark.parametrize("kind", ["dress", "t-shirt", "sweater", "jacket", "shirt"])
def test_longer_sleeves_cover_more_of_the_image(kind: str) -> None:
    garment = next(garment for garment in GARMENTS if garment.type == kind)
    look = looks(garment, Random(0)) | {"color": "blue", "print": "plain"}
    covered = []
    for sleeves in [name for name in ("sleeveless", "short", "long") if name in garment.sleeves]:
        drawn = [garment_mask(draw_product(look | {"sleeves": sleeves}, Random(seed))).sum() for seed in range(4)]
        covered.append((min(drawn), max(drawn)))
    for (_, most), (least, _) in pairwise(covered):
        assert least > most * 1.05


@pytest.mark.parametrize("kind", ["dress", "skirt", "trousers", "coat"])
def test_longer_garments_are_taller_in_the_image(kind: str) -> None:
    garment = next(garment for garment in GARMENTS if garment.type == kind)
    look = looks(garment, Random(0)) | {"color": "red", "print": "plain"}
    heights = []
    for length in garment.lengths:
        rows = np.flatnonzero(garment_mask(draw_product(look | {"length": length}, Random(1))).any(axis=1))
        heights.append(int(rows[-1] - rows[0]))
    assert heights == sorted(heights)
    assert heights[-1] > heights[0] + 8


def test_prints_can_be_told_apart_from_plain_cloth_and_from_each_other() -> None:
    images = {}
    for name in PRINTS:
        look = {"type": "skirt", "color": "blue", "print": name, "length": "maxi"}
        pixels = np.asarray(draw_product(look, Random(2)), dtype=float)[40:100, 44:84].mean(-1)
        images[name] = (pixels.std(), pixels.mean(1).std(), pixels.mean(0).std())
    assert all(spread[0] > 2 * images["plain"][0] for name, spread in images.items() if name != "plain")
    assert images["striped"][1] > 2 * images["dotted"][1], "stripes run across: rows differ"
    assert images["checked"][2] > 2 * images["striped"][2], "checks run down too: columns differ"


def test_an_image_is_rgb_of_the_stated_size() -> None:
    image = draw_product({"type": "boots", "color": "grey", "print": "zigzag"}, Random(0))
    assert (image.mode, image.size) == ("RGB", (IMAGE_SIZE, IMAGE_SIZE))
