"""The images that Label Studio may serve: files under one folder, so that nothing else of the disk is reachable.

``labelling/files`` is the server's document root, ``labelling/files/pictures`` the path of each project's Local storage
(Label Studio wants a folder below the root). A file is named by the hash of its image id, with the suffix of its
format, by which Label Studio tells browsers what it is. It is a hard link where the file system allows, else a copy; a
image that browsers would show otherwise than it is read everywhere else is converted.

The disk may have changed since the import: an image is served only while its file holds what was imported, and no
symbolic link is followed to it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import CorpusError, UsageError
from schemas.files import open_unlinked, sha256_bytes, temporary_folder
from schemas.progress import Progress, SilentProgress

SERVED_IMAGES = "pictures"

ForBrowser = Callable[[bytes], tuple[str, Callable[[], bytes] | None]]


@dataclass(frozen=True)
class ImageFile:
    """An image's file as it was imported; ``sha256`` is None where it is not known."""

    path: Path
    sha256: str | None = None


class _LeftOutError(Exception):
    """Why an image is not served, as a code."""


@dataclass
class ImageFolder:
    """Links images below a document root."""

    root: Path  # the document root
    # a file's content -> the suffix to serve it under and, where browsers would not show the file as it is read, what
    # makes the content to serve instead; raises a :class:`~schemas.errors.CorpusError` where it is no image
    for_browser: ForBrowser
    # image id -> file name below the root, for each image that is there
    names: dict[str, str] = field(default_factory=dict)
    # how many images whose file was fine at the import are not served, by reason: ``missing``, ``symbolic_link``,
    # ``changed`` or ``cannot_be_decoded``
    left_out: Counter[str] = field(default_factory=Counter)

    def link_all(
        self, files: Mapping[str, ImageFile], image_ids: Iterable[str], progress: Progress | None = None
    ) -> None:
        """Link the images of these image ids; those without a file are left out, and those that changed are counted.

        Args:
            files: image id -> its file.
            image_ids: the images needed.
            progress: shows how far it is.

        Raises:
            UsageError: the folder cannot be written.
        """
        progress = progress or SilentProgress()
        needed = sorted(set(image_ids))
        with ExitStack() as stack:
            try:
                aside = stack.enter_context(temporary_folder(self.root / SERVED_IMAGES))
            except OSError as problem:
                raise _refused(problem, self.root) from None
            for image_id in progress.track(needed, "linking images", total=len(needed)):
                source = files.get(image_id)
                if source is None:
                    continue
                try:
                    self.names[image_id] = self._serve(image_id, source, aside)
                except _LeftOutError as reason:
                    self.left_out[str(reason)] += 1

    def _serve(self, image_id: str, source: ImageFile, aside: Path) -> str:
        try:
            with open_unlinked(source.path) as file:
                content, found = file.read(), os.fstat(file.fileno())
        except OSError as problem:
            raise _LeftOutError("symbolic_link" if problem.errno == errno.ELOOP else "missing") from None
        if source.sha256 is not None and sha256_bytes(content) != source.sha256:
            raise _LeftOutError("changed")
        name = sha256_bytes(image_id.encode())[:32]
        try:
            suffix, converted = self.for_browser(content)
            relative = f"{SERVED_IMAGES}/{name[:2]}/{name}{suffix}"
            target = self.root / relative
            if not _is_there(target, found, content, is_converted=converted is not None):
                target.parent.mkdir(parents=True, exist_ok=True)
                new = aside / target.name
                if converted is not None:
                    new.write_bytes(converted())
                    os.utime(new, ns=(found.st_mtime_ns, found.st_mtime_ns))
                elif not _linked(source.path, new, found):
                    new.write_bytes(content)
                new.replace(target)
        except CorpusError:
            raise _LeftOutError("cannot_be_decoded") from None
        except OSError as problem:
            raise _refused(problem, target) from None
        return relative


def _refused(problem: OSError, where: Path) -> UsageError:
    return UsageError(f"cannot put images where Label Studio serves them: {problem.strerror}", where=where)


def _linked(source: Path, target: Path, found: os.stat_result) -> bool:
    """Make a hard link to the very file that was looked at; False where there cannot be one."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):  # another file system, or one without hard links
        return False
    made = target.lstat()
    if (made.st_dev, made.st_ino) == (found.st_dev, found.st_ino):
        return True
    target.unlink()  # exchanged meanwhile
    return False


def _is_there(target: Path, found: os.stat_result, content: bytes, *, is_converted: bool) -> bool:
    """Whether this file, or the converted copy of it, is served already; a copy bears the time of its original."""
    try:
        there = target.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(there.st_mode):
        return False
    is_same = (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)
    if is_converted:
        return not is_same and there.st_mtime_ns == found.st_mtime_ns
    return is_same or (there.st_size == len(content) and target.read_bytes() == content)
