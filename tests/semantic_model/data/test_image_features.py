from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from schemas.errors import ModelError
from semantic_model.config.sections import ImageConfig, MapImageConfig
from semantic_model.data.image_features import (
    NO_IMAGE,
    ExtendedFeatures,
    Features,
    load_features,
    open_encoder,
    open_image,
)
from semantic_model.data.pixels import CELLS_SHAPE, PIXELS_WIDTH, describe_cells, describe_pixels

PIXELS = ImageConfig(encoder="pixels")


def garment(colour: str, *, stripes: bool = False, wide: bool = False) -> Image.Image:
    image = Image.new("RGB", (60, 80), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((8, 30, 52, 60) if wide else (20, 10, 40, 70), fill=colour)
    if stripes:
        for y in range(10, 70, 6):
            draw.line((20, y, 40, y), fill="white", width=2)
    return image


def distance(one: Image.Image, two: Image.Image) -> float:
    return float(np.linalg.norm(describe_pixels(one) - describe_pixels(two)))


@pytest.fixture
def images(tmp_path):
    files = {}
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        files[name] = tmp_path / f"{name}.png"
        garment(colour).save(files[name])
    files["d"] = tmp_path / "d.png"
    files["d"].write_bytes(b"\x89PNG, cut off")
    files["e"] = tmp_path / "lost.png"
    return files


def test_the_descriptor_has_its_stated_width_and_is_finite():
    for image in (garment("red"), Image.new("RGB", (3, 200), "black"), Image.new("RGB", (1, 1), "white")):
        found = describe_pixels(image)
        assert found.shape == (PIXELS_WIDTH,)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


def test_the_descriptor_tells_colour_pattern_and_shape_apart():
    plain = garment("red")
    assert distance(plain, plain) == 0.0
    for other in (garment("blue"), garment("red", stripes=True), garment("red", wide=True), garment("darkred")):
        assert distance(plain, other) > 0.2


def test_size_and_ground_hardly_matter_to_the_descriptor():
    plain = garment("red")
    assert distance(plain, plain.resize((240, 320))) < 0.25 * distance(plain, garment("blue"))


def test_only_images_that_can_be_read_have_a_row(images):
    features = load_features(PIXELS, images)
    assert set(features.rows) == {"a", "b", "c"}
    assert features.row("d") == features.row("e") == NO_IMAGE
    assert features.broken == 1  # e is not there at all
    assert features.rows["a"] == features.rows["c"]  # the same bytes are encoded once
    gathered = features.gather(np.array([[features.row("b"), NO_IMAGE]]))
    assert np.allclose(gathered[0, 0], describe_pixels(garment("blue")))
    assert not gathered[0, 1].any()


def test_features_are_encoded_once_and_kept(images, tmp_path, monkeypatch):
    cache = tmp_path / "features"
    first = load_features(PIXELS, images, cache=cache)
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    monkeypatch.setattr(
        "semantic_model.data.image_features.describe_pixels", lambda image: pytest.fail("encoded again")
    )
    again = load_features(PIXELS, images, cache=cache)
    assert np.array_equal(first.values, again.values)
    assert first.rows == again.rows
    assert isinstance(again.values, np.memmap)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before


def test_new_images_are_added_to_the_cache(images, tmp_path):
    cache = tmp_path / "features"
    load_features(PIXELS, {"a": images["a"]}, cache=cache)
    grown = load_features(PIXELS, images, cache=cache)
    whole = load_features(PIXELS, images)
    for name in "abc":
        assert np.array_equal(grown.values[grown.rows[name]], whole.values[whole.rows[name]])


def test_a_cut_off_cache_is_made_again(images, tmp_path):
    cache = tmp_path / "features"
    load_features(PIXELS, images, cache=cache)
    array = next(cache.glob("*.npy"))
    np.save(array, np.zeros((1, PIXELS_WIDTH), dtype=np.float32))
    assert set(load_features(PIXELS, images, cache=cache).rows) == {"a", "b", "c"}


def test_transparent_images_lie_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    image = open_image(tmp_path / "clear.png")
    assert image is not None
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_features_brought_along_are_found_by_id_name_or_stem(tmp_path):
    np.save(tmp_path / "mine.npy", np.arange(8, dtype=np.float16).reshape(4, 2))
    (tmp_path / "images.txt").write_text("http://x/a.jpg\nb.jpg\nc\nunused\n")
    files = {"http://x/a.jpg": tmp_path / "1.jpg", "http://x/b.jpg": tmp_path / "b.jpg", "c.jpg": tmp_path / "c.jpg"}
    features = load_features(ImageConfig(features=str(tmp_path)), files | {"d": tmp_path / "d.jpg"})
    assert features.rows == {"http://x/a.jpg": 0, "http://x/b.jpg": 1, "c.jpg": 2}
    assert features.gather(np.array([2])).tolist() == [[4.0, 5.0]]


def test_features_of_a_name_that_several_images_have_are_nobodys(tmp_path):
    np.save(tmp_path / "mine.npy", np.arange(8, dtype=np.float32).reshape(4, 2))
    (tmp_path / "images.txt").write_text("front.jpg\n2/back.jpg\nside.jpg\nside.png\n")
    names = ("1/front.jpg", "2/front.jpg", "1/back.jpg", "2/back.jpg", "side")
    features = load_features(ImageConfig(features=str(tmp_path)), {name: tmp_path / name for name in names})
    assert features.rows == {"2/back.jpg": 1}


@pytest.mark.parametrize(
    ("names", "says"), [("a\nb\n", "2 names for an array of shape"), ("x\ny\nz\nw\n", "none of the corpus's images")]
)
def test_features_that_do_not_fit_are_refused(tmp_path, names: str, says: str):
    np.save(tmp_path / "mine.npy", np.zeros((4, 2), dtype=np.float32))
    (tmp_path / "images.txt").write_text(names)
    with pytest.raises(ModelError, match=says):
        load_features(ImageConfig(features=str(tmp_path)), {"a": tmp_path / "a.jpg"})


def test_pickled_features_are_refused(tmp_path):
    np.save(tmp_path / "mine.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "images.txt").write_text("a\n")
    with pytest.raises(ModelError, match="not a plain array"):
        load_features(ImageConfig(features=str(tmp_path)), {"a": tmp_path / "a.jpg"})


def test_the_cells_of_pixels_say_what_colour_is_where():
    image = Image.new("RGB", (64, 64), "white")
    image.paste("red", (0, 32, 64, 64))  # its lower half; the ground is the border's median, between both
    image.paste("white", (0, 32, 4, 64))
    found = describe_cells(image)
    assert found.shape == CELLS_SHAPE == (12, 16, 16)
    np.testing.assert_allclose(found[:3, 0, 5], [0.5, 0.5, 0.5])  # white less mid-grey
    np.testing.assert_allclose(found[:3, 12, 5], [0.5, -0.5, -0.5])  # red
    assert found[4:, 3, 8].sum() == 0  # nothing changes well above the edge
    down = 4 + int(0.5 * 8)  # a gradient that points down: half a turn of half a circle
    assert found[4:, 8, 8].argmax() + 4 == down


def test_maps_brought_along_have_four_axes(tmp_path):
    (tmp_path / "images.txt").write_text("a.jpg\nb.jpg\n")
    values = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    np.save(tmp_path / "maps.npy", values)
    found = load_features(MapImageConfig(features=str(tmp_path)), {"b.jpg": Path("b.jpg")})
    assert found.map_shape == (3, 2, 2)
    np.testing.assert_array_equal(found.values[found.row("b.jpg")], values[1].ravel())
    with pytest.raises(ModelError, match=r"vectors \[n, F\]"):
        load_features(ImageConfig(features=str(tmp_path)), {"b.jpg": Path("b.jpg")})
    np.save(tmp_path / "maps.npy", values.reshape(2, -1))
    with pytest.raises(ModelError, match="this model reads maps"):
        load_features(MapImageConfig(features=str(tmp_path)), {"b.jpg": Path("b.jpg")})


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_more_images_go_on_where_those_of_the_corpus_end(kind: type):
    corpus = Features(np.array([[1, 2], [3, 4]], dtype=kind), {"a": 0, "b": 1}, "made up")
    more = ExtendedFeatures.of(corpus, {"x": np.array([5, 6], dtype=kind), "y": np.array([7, 8], dtype=kind)})
    assert [more.row(name) for name in ("a", "b", "x", "y", "lost")] == [0, 1, 2, 3, NO_IMAGE]
    found = more.gather(np.array([[3, 0], [NO_IMAGE, 2]]))
    assert found.tolist() == [[[7, 8], [1, 2]], [[0, 0], [5, 6]]]
    assert found.dtype == kind
    assert more.gather(np.array([1, 0])).tolist() == corpus.gather(np.array([1, 0])).tolist()
    assert more.values is corpus.values
    assert corpus.row("x") == NO_IMAGE
    assert ExtendedFeatures.of(corpus, {}) is corpus


def test_an_encoder_makes_of_an_image_what_the_corpus_has_of_it_and_none_is_known_of_features_brought_along(images):
    stored = load_features(PIXELS, images)
    encoder = open_encoder(PIXELS)
    decoded = open_image(images["b"])
    assert decoded is not None
    np.testing.assert_array_equal(encoder.encode([decoded])[0], stored.values[stored.row("b")])
    with pytest.raises(ModelError, match=r"features that were brought along \(vectors\); no others can be made"):
        open_encoder(ImageConfig(features="vectors"))
