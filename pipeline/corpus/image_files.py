"""Whether image files are there, stay inside their folder, and are images."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from pipeline.corpus.images import ReferencedImage
from semantic_model.data.image_decoding import MAX_BYTES, UndecodableImageError, examine_image

_IMAGES_A_TASK = 32

Status = Literal["ok", "missing", "dead", "broken"]


class ImageFile(NamedTuple):
    """An image with what its file turned out to be; ``reason`` tells more than ``status`` where there is more.

    ``path`` has no symbolic link in it; ``width`` and ``height`` are of the upright image.
    """

    image: ReferencedImage
    status: Status
    reason: str
    path: Path | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None

    def row(self) -> dict[str, Any]:
        """The row of the table ``images``."""
        return {
            "image_id": self.image.image_id,
            "file": None if self.path is None else str(self.path),
            "url": self.image.url,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            "status": self.status,
        }


def check_images(
    image_refs: Iterable[ReferencedImage],
    folder: Path | None,
    *,
    ambiguous: Container[str] = frozenset(),
    workers: int = 4,
) -> Iterator[ImageFile]:
    """Look at the files of images, in the given order.

    A file outside ``folder`` (an absolute path, ``..``, a symbolic link that leads out) is not looked at.

    Args:
        images: what the corpus refers to.
        folder: where the files are.
        ambiguous: ids of images of which it is not known whether the file is theirs.
        workers: threads.
    """
    root = None if folder is None else folder.resolve()

    def check(image: ReferencedImage) -> ImageFile:
        if image.image_id in ambiguous:
            return ImageFile(image, "missing" if image.url is None else "dead", "ambiguous")
        return _check(image, root)

    if root is None:
        yield from map(check, image_refs)
        return
    with ThreadPoolExecutor(workers) as pool:
        for checked in pool.map(lambda batch: [check(image) for image in batch], _batches(image_refs)):
            yield from checked


def _batches(image_refs: Iterable[ReferencedImage]) -> Iterator[list[ReferencedImage]]:
    waiting = iter(image_refs)
    while batch := list(islice(waiting, _IMAGES_A_TASK)):
        yield batch


def _check(image: ReferencedImage, root: Path | None) -> ImageFile:
    if image.file is None:
        reason = "dead" if image.url is not None else "missing"
        return ImageFile(image, "dead" if reason == "dead" else "missing", reason)
    if root is None:
        return ImageFile(image, "missing", "missing")
    name = PurePosixPath(image.file)
    if name.is_absolute() or ".." in name.parts or "\0" in image.file:
        return ImageFile(image, "missing", "outside_the_folder")
    path = root / name
    try:
        found, parent = path.lstat(), _real_folder(path.parent)
        if parent is None:
            return ImageFile(image, "missing", "missing")
        path = parent / path.name
        if stat.S_ISLNK(found.st_mode):
            path = Path(os.path.realpath(path))
            found = path.lstat()
        if not path.is_relative_to(root):
            return ImageFile(image, "missing", "outside_the_folder")
        if not stat.S_ISREG(found.st_mode):
            return ImageFile(image, "missing", "missing")
        if found.st_size > MAX_BYTES:
            return ImageFile(image, "broken", "too_many_bytes", path)
        content = path.read_bytes()
    except OSError:
        return ImageFile(image, "missing", "missing")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        facts = examine_image(content)
    except UndecodableImageError as problem:
        return ImageFile(image, "broken", problem.reason, path, sha256)
    return ImageFile(image, "ok", "ok", path, sha256, facts.width, facts.height)


@lru_cache(maxsize=100_000)
def _real_folder(folder: Path) -> Path | None:
    real = Path(os.path.realpath(folder))
    return real if real.is_dir() else None
