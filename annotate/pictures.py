"""The pictures that Label Studio may serve: links under one folder, so that nothing else of the disk is reachable.

``labelling/files`` is the server's document root, ``labelling/files/pictures`` the path of each project's Local storage
(Label Studio wants a folder below the root). Files are hard links where the file system allows, else copies, named by
the hash of their image id.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import UsageError
from schemas.files import sha256_bytes, temporary_folder
from schemas.progress import Progress, SilentProgress

__all__ = ["PICTURES", "PictureFolder"]

PICTURES = "pictures"

_SHOWN = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"})
"""Formats served; not SVG, which can carry script."""


@dataclass
class PictureFolder:
    """Links pictures below a document root.

    Attributes:
        root: the document root.
        names: image id -> file name below the root, for each picture that is there.
    """

    root: Path
    names: dict[str, str] = field(default_factory=dict)

    def link_all(self, files: Mapping[str, Path], image_ids: Iterable[str], progress: Progress | None = None) -> None:
        """Link the pictures of these image ids; those without a readable file are left out.

        Args:
            files: image id -> its file.
            image_ids: the pictures needed.
            progress: shows how far it is.

        Raises:
            UsageError: the folder cannot be written.
        """
        progress = progress or SilentProgress()
        needed = sorted(set(image_ids))
        with ExitStack() as stack:
            try:
                aside = stack.enter_context(temporary_folder(self.root / PICTURES))
            except OSError as problem:
                raise _refused(problem, self.root) from None
            for image_id in progress.track(needed, "linking pictures", total=len(needed)):
                source = files.get(image_id)
                if source is not None and source.suffix.lower() in _SHOWN and source.is_file():
                    self.names[image_id] = self._link(image_id, source, aside)

    def _link(self, image_id: str, source: Path, aside: Path) -> str:
        name = sha256_bytes(image_id.encode())[:32]
        relative = f"{PICTURES}/{name[:2]}/{name}{source.suffix.lower()}"
        target = self.root / relative
        try:
            if not _same(source, target):
                target.parent.mkdir(parents=True, exist_ok=True)
                new = aside / target.name
                new.unlink(missing_ok=True)
                try:
                    os.link(source.resolve(), new)
                except OSError:  # another file system, or one without hard links
                    shutil.copy2(source, new)
                new.replace(target)
                new.unlink(missing_ok=True)  # it stays where both names are one file
        except OSError as problem:
            raise _refused(problem, target) from None
        return relative


def _refused(problem: OSError, where: Path) -> UsageError:
    return UsageError(f"cannot put pictures where Label Studio serves them: {problem.strerror}", where=where)


def _same(source: Path, target: Path) -> bool:
    if not target.exists():
        return False
    there, here = target.stat(), source.stat()
    if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
        return True
    return (there.st_size, int(there.st_mtime)) == (here.st_size, int(here.st_mtime))
