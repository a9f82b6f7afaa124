"""One way to decode image files: odd but good ones, damaged ones, other formats, and what browsers get to show."""

from __future__ import annotations

import io
import mimetypes
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from semantic_model.data import image_decoding as decoding
from semantic_model.data.image_decoding import UndecodableImageError, decode_image, examine_image, for_browser

WIDE = Image.new("RGB", (6, 4), "blue")
WIDE.paste((255, 0, 0), (0, 0, 3, 2))  # a red upper left quarter

ORIENTATION = 0x0112


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def png(width: int, height: int, depth: int, colour: int, levels: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, as Pillow cannot write all of them: each row is a filter byte and its levels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    size = len(levels) // height
    rows = b"".join(b"\0" + levels[row * size : (row + 1) * size] for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    middle = b"".join(chunk(*one) for one in chunks)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def reason(content: bytes) -> str:
    with pytest.raises(UndecodableImageError) as found:
        examine_image(content)
    with pytest.raises(UndecodableImageError):
        decode_image(content)
    return found.value.reason


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str):
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)  # 257 times 0, 1, 128 and 255
    assert np.asarray(decode_image(saved(Image.fromarray(levels), kind)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_level_of_sixteen_bits_that_means_transparent_is_white():
    grey = png(3, 1, 16, 0, struct.pack(">3H", 0, 5000, 65535), (b"tRNS", struct.pack(">H", 5000)))
    assert np.asarray(decode_image(grey))[0, :, 1].tolist() == [0, 255, 255]
    colours = struct.pack(">6H", 65535, 0, 0, 0, 0, 65535)
    blue_is_clear = png(2, 1, 16, 2, colours, (b"tRNS", struct.pack(">3H", 0, 0, 65535)))
    assert np.asarray(decode_image(blue_is_clear))[0].tolist() == [[255, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("RGBA", (2, 2), (9, 9, 9, 0)), {}),
        (Image.new("LA", (2, 2), (9, 0)), {}),
        (Image.new("RGB", (2, 2), (9, 9, 9)), {"transparency": (9, 9, 9)}),
        (Image.new("L", (2, 2), 9), {"transparency": 9}),
        (Image.new("1", (2, 2), 0), {"transparency": 0}),
        (Image.new("RGB", (2, 2), "red").quantize(4), {"transparency": 0}),
    ],
    ids=["RGBA", "LA", "RGB with tRNS", "L with tRNS", "1 with tRNS", "palette with tRNS"],
)
def test_what_is_transparent_is_white_however_it_is_said(image: Image.Image, options: dict[str, Any]):
    content = saved(image, "PNG", **options)
    assert decode_image(content).getcolors() == [(4, (255, 255, 255))]
    suffix, copy = for_browser(content)
    assert suffix == ".png"
    assert copy is not None, "a browser lays it on the page's ground, which may be dark"
    assert decode_image(copy()).getcolors() == [(4, (255, 255, 255))]


def test_half_transparent_colours_mix_with_white():
    half_red = saved(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG")
    assert decode_image(half_red).getpixel((0, 0)) == (255, 127, 127)


CORNER = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}
"""By EXIF's number, where the stored image's upper left corner goes: (right, bottom)."""


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "JPEG"])
@pytest.mark.parametrize("orientation", CORNER)
def test_images_are_turned_as_exif_says_in_every_format(kind: str, orientation: int):
    large = WIDE.resize((96, 64), Image.Resampling.NEAREST)
    content = saved(large, kind, exif=turned(orientation))
    image, facts = decode_image(content), examine_image(content)
    assert image.size == (facts.width, facts.height) == ((64, 96) if orientation >= 5 else (96, 64))
    right, bottom = CORNER[orientation]
    red, _, blue = image.getpixel((right * (image.width - 9) + 4, bottom * (image.height - 9) + 4))
    assert red > 200 > 50 > blue
    suffix, copy = for_browser(content)
    if copy is not None:
        assert decode_image(copy()).size == image.size
    else:
        assert (orientation, suffix) in {(1, ".png"), (1, ".webp"), (1, ".jpg")}


def test_a_format_that_the_server_could_not_name_is_served_as_a_copy(monkeypatch: pytest.MonkeyPatch):
    bare = mimetypes.MimeTypes()
    monkeypatch.setattr(mimetypes, "guess_type", bare.guess_type)
    is_known = bare.guess_type("image.webp")[0] is not None  # from Python 3.13 on
    suffix, copy = for_browser(saved(WIDE, "WEBP", lossless=True))
    assert (suffix, copy is None) == ((".webp", True) if is_known else (".jpg", False))
    assert for_browser(saved(WIDE, "PNG")) == (".png", None)


def test_exif_that_makes_no_sense_turns_nothing():
    for exif in (turned(9), turned(0), b"Exif\0\0nonsense"):
        assert decode_image(saved(WIDE, "JPEG", exif=exif)).size == (6, 4)


def test_the_first_frame_of_an_animation_is_the_image():
    others = [Image.new("RGB", (6, 4), "white"), Image.new("RGB", (6, 4), "black")]
    for kind, lossless in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        content = saved(WIDE, kind, save_all=True, append_images=others, **lossless)
        assert decode_image(content).getpixel((0, 0)) == (255, 0, 0)
        _, copy = for_browser(content)
        assert copy is not None, "a browser would play it"
        assert decode_image(copy()).size == (6, 4)


def test_colours_of_another_profile_become_srgb_and_nonsense_profiles_are_ignored():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"nonsense", lab, srgb):
        assert decode_image(saved(WIDE, "PNG", icc_profile=profile)).getpixel((0, 0)) == (255, 0, 0)
    swapped = bytearray(srgb)  # red and blue change places, and so does the name that would say sRGB
    red, blue = swapped.find(b"rXYZ"), swapped.find(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    name = "sRGB".encode("utf-16-be")
    swapped = swapped.replace(name, "test".encode("utf-16-be")).replace(b"sRGB", b"test")
    assert decode_image(saved(WIDE, "PNG", icc_profile=bytes(swapped))).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("RGB", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("RGB", "WEBP"),
        ("P", "GIF"),
        ("RGB", "BMP"),
    ],
)
def test_what_every_browser_shows_the_same_is_served_as_it_is(mode: str, kind: str):
    suffix = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp"}[kind]
    assert for_browser(saved(WIDE.convert(mode), kind)) == (suffix, None)


@pytest.mark.parametrize(
    ("image", "kind", "suffix"),
    [
        (WIDE, "TIFF", ".png"),
        (WIDE, "AVIF", ".jpg"),
        (WIDE, "JPEG2000", ".jpg"),
        (WIDE.convert("CMYK"), "JPEG", ".jpg"),
    ],
    ids=["TIFF", "AVIF", "JPEG 2000", "CMYK"],
)
def test_the_rest_is_served_as_a_copy_of_what_is_decoded(image: Image.Image, kind: str, suffix: str):
    content = saved(image.resize((60, 40)), kind)
    found, copy = for_browser(content)
    assert found == suffix
    assert copy is not None
    shown, read = (np.asarray(decode_image(part)).astype(int) for part in (copy(), content))
    assert np.abs(shown - read).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
@given(share=st.floats(0.0, 0.9))
@settings(max_examples=15, deadline=None)
def test_a_file_that_was_cut_off_is_damaged(kind: str, share: float):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 50, 3), dtype=np.uint8))
    content = saved(noise, kind)
    assert reason(content[: int(share * len(content))]) == "not_an_image"


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", b"<?xml version='1.0'?><feed/>", b"P.S. no image", b"\0" * 99]
)
def test_what_is_no_image_is_damaged(content: bytes):
    assert reason(content) == "not_an_image"


@pytest.mark.parametrize(
    "content",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a shop\'s logo -->\n<svg/>',
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\xff\x0a\xfa\x1f",
        b"8BPS\0\1\0\0",
        saved(WIDE, "ICO"),
        saved(WIDE, "PPM"),
        saved(WIDE.convert("F"), "TIFF"),
    ],
    ids=["SVG", "SVG with a prologue", "HEIC", "JPEG XL", "Photoshop", "icon", "PPM", "TIFF of floats"],
)
def test_other_formats_are_told_apart_from_damaged_files(content: bytes):
    assert reason(content) == "unsupported_format"


def test_avif_without_a_decoder_is_an_unsupported_format(monkeypatch: pytest.MonkeyPatch):
    from PIL import features

    monkeypatch.setattr(features, "check", lambda part: False)
    assert reason(saved(WIDE, "AVIF")) == reason(saved(WIDE, "JPEG2000")) == "unsupported_format"
    assert decode_image(saved(WIDE, "PNG")).size == (6, 4)


def test_a_damaged_checksum_is_found():
    content = bytearray(saved(WIDE, "PNG"))
    content[content.index(b"IDAT") - 8] ^= 1  # the checksum of the header before it
    with pytest.raises(UndecodableImageError):
        examine_image(bytes(content))


def test_large_files_and_images_are_refused_undecoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 23)
    assert reason(saved(WIDE, "PNG")) == "too_many_pixels"
    monkeypatch.setattr(decoding, "MAX_BYTES", 10)
    assert reason(saved(WIDE, "PNG")) == "too_many_bytes"


def test_a_jpeg_is_decoded_smaller_where_that_is_enough():
    content = saved(WIDE.resize((960, 640)), "JPEG", exif=turned(6))
    assert decode_image(content, near=100).size == (160, 240)  # a quarter: an eighth is 80 by 120
