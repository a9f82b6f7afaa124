"""How an image file is decoded: one way for the import, the labelling screen, the reports and the image encoders.

A decoded image is RGB with 8 bits a channel, upright (turned as its EXIF says), in sRGB, on white where it is
transparent, and the first frame where it is animated. Where a browser would show the file in another way, or not at
all, :func:`for_browser` gives a copy of what is decoded, so that people see what the encoders get.
"""

from __future__ import annotations

import io
import mimetypes
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import CorpusError

if TYPE_CHECKING:
    from PIL import Image

DECODING_VERSION = 2
"""Part of the key of cached features: goes up when files are decoded in another way."""

MAX_BYTES = 64 * 2**20

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded; Pillow itself only refuses from 179 million on."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF")

_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp"}
"""Formats that every browser shows, and the suffix by which a server tells its browsers the format."""

_LOSSY = frozenset({"JPEG", "MPO", "WEBP", "JPEG2000", "AVIF"})

_OTHER_FORMATS = re.compile(
    rb"....ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)|\xff\x0a|\0\0\0\x0cJXL |8BPS|\0\0[\x01\x02]\0[^\0]|%!PS|P[1-7]\s+[#\d]"
    rb"|\x76\x2f\x31\x01|(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!DOCTYPE[^>]*>\s*)*<svg\b",
    re.DOTALL,
)
"""Beginnings of files in formats that are not decoded: HEIF, JPEG XL, Photoshop, icons, PostScript, PNM, EXR, SVG."""

_OPTIONAL = {
    "AVIF": ("avif", re.compile(rb"....ftypavi[fs]", re.DOTALL)),
    "JPEG2000": ("jpg_2000", re.compile(rb"\0\0\0\x0cjP  ")),
}
"""Formats that Pillow can be built without: the name of that part, and how their files begin."""

_SRGB_GAMMA = 0.45455

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258


class UndecodableImageError(CorpusError):
    """A file that is not decoded; ``reason`` is a code.

    ``not_an_image``: damaged, cut off or no image; ``unsupported_format``: an image in a format or of a kind that is
    not decoded; ``too_many_pixels``, ``too_many_bytes``: beyond :data:`MAX_PIXELS` or :data:`MAX_BYTES`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"this image cannot be decoded: {reason.replace('_', ' ')}")
        self.reason = reason


@dataclass(frozen=True)
class ImageFacts:
    """What a file holds."""

    # width, height: in pixels, of the upright image
    width: int
    height: int
    suffix: str | None  # of its format, with a dot; None when browsers do not show the format
    is_plain: bool  # whether a browser shows the file itself as it is decoded here
    is_lossy: bool  # whether its format gives up detail, so that a copy may


def examine_image(content: bytes) -> ImageFacts:
    """What a file holds, once it is certain that all of its image can be decoded.

    Raises:
        UndecodableImageError: it cannot.
    """
    from PIL.Image import Resampling

    with _opened(content) as image:
        facts = _facts(image)
    with _opened(content) as image:
        image.draft("RGB", (64, 64))
        image.load()
        _as_rgb(image.resize((1, 1), Resampling.NEAREST))
    if facts.suffix == ".png":  # decoding does not look at the checksums
        with _opened(content) as image:
            image.verify()
    return facts


def decode_image(content: bytes, *, near: int | None = None) -> Image.Image:
    """The image in a file, as the module says.

    Args:
        content: the file.
        near: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as no side gets shorter.

    Raises:
        UndecodableImageError: it cannot be decoded.
    """
    with _opened(content) as image:
        if near is not None:
            image.draft("RGB", (near, near))
        image.load()
        return _upright(_as_rgb(image), _orientation(image))


def for_browser(content: bytes) -> tuple[str, Callable[[], bytes] | None]:
    """How a browser gets to show what is decoded.

    Returns:
        The suffix to serve it under, and None where a browser shows the file itself that way; else what makes the copy
        to serve, a JPEG where the file's format gives up detail, too, else a PNG.

    Raises:
        UndecodableImageError: it cannot be decoded (so does making the copy).
    """
    with _opened(content) as image:
        facts = _facts(image)
    if facts.is_plain and facts.suffix is not None:
        return facts.suffix, None

    def copy() -> bytes:
        decoded, made = decode_image(content), io.BytesIO()
        if facts.is_lossy:
            decoded.save(made, "JPEG", quality=95, subsampling=0)
        else:
            decoded.save(made, "PNG")
        return made.getvalue()

    return ".jpg" if facts.is_lossy else ".png", copy


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """The file, opened and not decoded; whatever is wrong with it while the block runs is one error."""
    from PIL import Image, UnidentifiedImageError

    if len(content) > MAX_BYTES:
        raise UndecodableImageError("too_many_bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=_formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UndecodableImageError("too_many_pixels")
                if image.mode in (
                    "I",
                    "F",
                    "LAB",
                    "HSV",
                ):  # 32 bits have no fixed white, the others no fixed conversion
                    raise UndecodableImageError("unsupported_format")
                yield image
    except UndecodableImageError:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, of several times as many
        raise UndecodableImageError("too_many_pixels") from None
    except UnidentifiedImageError:
        others = (_OTHER_FORMATS, *(begins for name, (_, begins) in _OPTIONAL.items() if name not in _formats()))
        is_other = any(begins.match(content[:1024]) for begins in others)
        raise UndecodableImageError("unsupported_format" if is_other else "not_an_image") from None
    except Exception:  # Pillow's decoders raise nearly anything on damaged files
        raise UndecodableImageError("not_an_image") from None


def _formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that this Pillow was built with."""
    from PIL import features

    return tuple(name for name in FORMATS if name not in _OPTIONAL or features.check(_OPTIONAL[name][0]))


def _facts(image: Image.Image) -> ImageFacts:
    kind = str(image.format)
    is_animated = kind != "MPO" and bool(getattr(image, "is_animated", False))
    gamma = image.info.get("gamma")
    suffix = _SUFFIXES.get(kind)
    if suffix is not None and mimetypes.guess_type(f"image{suffix}")[0] is None:
        suffix = None  # a server on this machine could not say what it is; so with WebP on most Pythons before 3.13
    is_plain = (
        suffix is not None
        and image.mode in ("1", "L", "P", "RGB")
        and "transparency" not in image.info
        and not is_animated
        and (gamma is None or abs(gamma - _SRGB_GAMMA) < 0.01 or "srgb" in image.info or "icc_profile" in image.info)
    )
    orientation = _orientation(image)
    width, height = image.size
    if orientation >= 5 and kind != "TIFF":  # those Pillow turns by itself
        width, height = height, width
    return ImageFacts(width, height, suffix, is_plain and orientation == 1, kind in _LOSSY)


def _orientation(image: Image.Image) -> int:
    """EXIF's number from 1 (upright) to 8; 1 where EXIF says nothing that makes sense, as browsers take it."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF of a good image
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    """A decoded image as RGB of 8 bits, in sRGB, on white where it is transparent."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = _of_sixteen_bits(image)
    transparency = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(transparency, tuple) and max(transparency) > 255:  # a PNG of 16 bits
        image.info["transparency"] = tuple(level >> 8 for level in transparency)
    if transparency is not None or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layered = image.convert("RGBA")
        layered.info = image.info
        layered = _in_srgb(layered, "RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(ground, layered).convert("RGB")
    if image.mode in ("P", "1", "YCbCr"):
        profile = image.info
        image = image.convert("RGB")
        image.info = profile
    return _in_srgb(image, "RGB").convert("RGB")


def _of_sixteen_bits(image: Image.Image) -> Image.Image:
    """Grey levels of 16 bits (12 in some TIFFs) scaled to 8, with alpha where one level means transparent."""
    import numpy as np
    from PIL import Image

    levels = np.asarray(image).astype(np.float64)
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    most = 2 ** (bits[0] if isinstance(bits, tuple) else int(bits)) - 1
    grey = Image.fromarray(np.rint(levels * (255 / most)).clip(0, 255).astype(np.uint8))
    grey.info = {name: value for name, value in image.info.items() if name != "transparency"}
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    alpha = Image.fromarray(np.where(levels == transparent, 0, 255).astype(np.uint8))
    layered = Image.merge("LA", (grey, alpha))
    layered.info = grey.info
    return layered


def _in_srgb(image: Image.Image, mode: str) -> Image.Image:
    """Colours of another profile than sRGB as sRGB has them, as browsers do; as they are where a profile is damaged."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode != "CMYK" and "srgb" in ImageCms.getProfileDescription(source).casefold():
            return image
        found = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if found is None else found
