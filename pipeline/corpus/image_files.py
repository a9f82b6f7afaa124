"""Whether picture files are there, stay inside their folder, and are pictures."""

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

from pipeline.corpus.images import Picture
from semantic_model.data.image_decoding import MAX_BYTES, UndecodableImageError, examine_image

__all__ = ["PictureFile", "check_pictures"]

_PICTURES_A_TASK = 32

Status = Literal["ok", "missing", "dead", "broken"]


class PictureFile(NamedTuple):
    """A picture with what its file turned out to be; ``reason`` tells more than ``status`` where there is more.

    ``path`` has no symbolic link in it; ``width`` and ``height`` are of the upright picture.
    """

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


def check_pictures(
    pictures: Iterable[Picture],
    folder: Path | None,
    *,
    ambiguous: Container[str] = frozenset(),
    workers: int = 4,
) -> Iterator[PictureFile]:
    """Look at the files of pictures, in the given order.

    A file outside ``folder`` (an absolute path, ``..``, a symbolic link that leads out) is not looked at.

    Args:
        pictures: what the corpus refers to.
        folder: where the files are.
        ambiguous: ids of pictures of which it is not known whether the file is theirs.
        workers: threads.
    """
    root = None if folder is None else folder.resolve()

    def check(picture: Picture) -> PictureFile:
        if picture.image_id in ambiguous:
            return PictureFile(picture, "missing" if picture.url is None else "dead", "ambiguous")
        return _check(picture, root)

    if root is None:
        yield from map(check, pictures)
        return
    with ThreadPoolExecutor(workers) as pool:
        for checked in pool.map(lambda batch: [check(picture) for picture in batch], _batches(pictures)):
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
        found, parent = path.lstat(), _real_folder(path.parent)
        if parent is None:
            return PictureFile(picture, "missing", "missing")
        path = parent / path.name
        if stat.S_ISLNK(found.st_mode):
            path = Path(os.path.realpath(path))
            found = path.lstat()
        if not path.is_relative_to(root):
            return PictureFile(picture, "missing", "outside_the_folder")
        if not stat.S_ISREG(found.st_mode):
            return PictureFile(picture, "missing", "missing")
        if found.st_size > MAX_BYTES:
            return PictureFile(picture, "broken", "too_many_bytes", path)
        content = path.read_bytes()
    except OSError:
        return PictureFile(picture, "missing", "missing")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        facts = examine_image(content)
    except UndecodableImageError as problem:
        return PictureFile(picture, "broken", problem.reason, path, sha256)
    return PictureFile(picture, "ok", "ok", path, sha256, facts.width, facts.height)


@lru_cache(maxsize=100_000)
def _real_folder(folder: Path) -> Path | None:
    real = Path(os.path.realpath(folder))
    return real if real.is_dir() else None
