"""Whether picture files are there, stay inside their folder, and are pictures."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from pipeline.corpora.pictures import Picture

__all__ = ["MAX_BYTES", "MAX_PIXELS", "PictureFile", "check_pictures"]

MAX_PIXELS = 50_000_000
"""Larger pictures are refused before they are decoded; Pillow itself only refuses from 179 million on."""

MAX_BYTES = 64 * 2**20

_PICTURES_A_TASK = 32

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

Status = Literal["ok", "missing", "dead", "broken"]


class PictureFile(NamedTuple):
    """A picture with what its file turned out to be; ``reason`` tells more than ``status`` where there is more."""

    picture: Picture
    status: Status
    reason: str
    path: Path | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None

    def row(self) -> dict[str, Any]:
        """The row of the table ``images``."""
        return {
            "image_id": self.picture.image_id,
            "file": None if self.path is None else str(self.path),
            "url": self.picture.url,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            "status": self.status,
        }


def check_pictures(pictures: Iterable[Picture], folder: Path | None, *, workers: int = 4) -> Iterator[PictureFile]:
    """Look at the files of pictures, in the given order.

    A file outside ``folder`` (an absolute path, ``..``, a symbolic link that leads out) is not looked at.
    """
    if folder is None:
        yield from (_check(picture, None) for picture in pictures)
        return
    root = folder.resolve()
    with ThreadPoolExecutor(workers) as pool:
        for checked in pool.map(lambda batch: [_check(picture, root) for picture in batch], _batches(pictures)):
            yield from checked


def _batches(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    waiting = iter(pictures)
    while batch := list(islice(waiting, _PICTURES_A_TASK)):
        yield batch


def _check(picture: Picture, root: Path | None) -> PictureFile:
    if picture.file is None:
        reason = "dead" if picture.url is not None else "missing"
        return PictureFile(picture, "dead" if reason == "dead" else "missing", reason)
    if root is None:
        return PictureFile(picture, "missing", "missing")
    name = PurePosixPath(picture.file)
    if name.is_absolute() or ".." in name.parts or "\0" in picture.file:
        return PictureFile(picture, "missing", "outside_the_folder")
    path = root / name
    try:
        found = path.lstat()
        if _real_folder(path.parent) is None or not _inside(path, found.st_mode, root):
            return PictureFile(picture, "missing", "outside_the_folder")
        if stat.S_ISLNK(found.st_mode):
            found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return PictureFile(picture, "missing", "missing")
        if found.st_size > MAX_BYTES:
            return PictureFile(picture, "broken", "too_many_bytes", path)
        content = path.read_bytes()
    except OSError:
        return PictureFile(picture, "missing", "missing")
    size, reason = _size(content)
    sha256 = hashlib.sha256(content).hexdigest()
    if size is None:
        return PictureFile(picture, "broken", reason, path, sha256)
    return PictureFile(picture, "ok", "ok", path, sha256, *size)


@lru_cache(maxsize=100_000)
def _real_folder(folder: Path) -> Path | None:
    real = Path(os.path.realpath(folder))
    return real if real.is_dir() else None


def _inside(path: Path, mode: int, root: Path) -> bool:
    real = Path(os.path.realpath(path)) if stat.S_ISLNK(mode) else _real_folder(path.parent)
    return real is not None and real.is_relative_to(root)


def _size(content: bytes) -> tuple[tuple[int, int] | None, str]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None, "too_many_pixels"
                size = image.size
                image.verify()
            # verify() checks a PNG's sums but not that a JPEG goes on to its end
            if content[:2] == b"\xff\xd8" and b"\xff\xd9" not in content[-1024:]:
                with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                    image.draft("RGB", (64, 64))
                    image.load()
    except Exception:  # Pillow's decoders raise nearly anything on damaged files
        return None, "not_a_picture"
    return size, "ok"
