"""Image references (links, ids or file names), and whether their files are there, in their folder, and are images."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from pipeline.corpus.ledger import Ledger
from schemas.engine import Engine
from schemas.errors import CorpusError
from schemas.folding import unescape
from schemas.safe_text import as_unicode
from semantic_model.data.image_decoding import MAX_BYTES, UndecodableImageError, examine_image

_SCHEME = re.compile(r"(?:https?:)?//", re.IGNORECASE)


def canonical_url(url: str) -> str:
    """A link in the form in which links are compared: without %-escapes and surrounding spaces."""
    url = url.strip()
    return unquote(url) if "%" in url else url


def canonical_link(url: str, written: dict[str, str]) -> str:
    """:func:`canonical_url`, which notes in ``written`` how a link was written first, where that is not the same."""
    link, url = canonical_url(url), url.strip()
    if link != url:
        written.setdefault(link, url)
    return link


def place_of(reference: str) -> str:
    """What a canonical link points at, over ``http``, ``https`` or whichever of them; other references as they are."""
    return _SCHEME.sub("", reference, count=1) if _SCHEME.match(reference) else reference


def file_name(reference: str) -> str:
    """The last part of a link or a path, without a query."""
    return PurePosixPath(reference.split("?", 1)[0]).name


def file_stem(reference: str) -> str:
    """The file name in a link or a path, without its last suffix and without a query."""
    return PurePosixPath(reference.split("?", 1)[0]).stem


class ReferencedImage(NamedTuple):
    """An image as referred to: its id in the tables, its file below the images folder, its link.

    ``link`` is the link as the corpus writes it, where that is not ``url``: what is asked for over the network.
    """

    image_id: str
    file: str | None
    url: str | None
    link: str | None = None


class ImageReferences:
    """How a corpus maps image references to files.

    A link is looked up in ``url2img.txt``; without that file, its last path part is looked for in the images folder.
    A number is looked up in ``image_id.json`` and then goes the way of its link. Anything else is a file name.
    ``image_id`` is the corpus's own id where it has ids; else, of a link that ``url2img.txt`` does not name, the link;
    else the file name. So two links are one image only where the corpus says so, or they differ in nothing but
    ``http`` and ``https``: then each has its id, and both have the file.

    Args:
        folder: the images folder, or None when the corpus has none.
        url_map: canonical link -> file name.
        id_map: id -> canonical link.
        url_map_given: whether there is an ``url2img.txt``.
        written: canonical link -> link as it was written in these maps, where that is not the same.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        url_map: Mapping[str, str] | None = None,
        id_map: Mapping[str, str] | None = None,
        url_map_given: bool = False,
        written: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self._url_map = url_map or {}
        self._id_map = id_map or {}
        self._written = written or {}
        self._id_of = {url: number for number, url in reversed(list(self._id_map.items()))}
        self._link_of_file = {file: url for url, file in reversed(list(self._url_map.items()))}
        self._url_map_given = url_map_given
        self._names: set[str] | None = None
        self.found: dict[str, ReferencedImage] = {}
        self._known: dict[str, ReferencedImage] = {}
        self._stems: dict[str, list[str]] | None = None

    def as_json(self) -> dict[str, Any]:
        """What makes the same references elsewhere, as arguments."""
        return {
            "folder": None if self.folder is None else str(self.folder),
            "url_map": self._url_map,
            "id_map": self._id_map,
            "url_map_given": self._url_map_given,
            "written": self._written,
        }

    @property
    def uses_ids(self) -> bool:
        return bool(self._id_map)

    def resolve(self, reference: str) -> ReferencedImage:
        """The image a reference names; the same file under several links is one image. Remembers what it found."""
        known = self._known.get(reference)
        if known is None:
            known = self._known[reference] = self._resolve(reference)
            self.found.setdefault(known.image_id, known)
        return known

    def add(self, image_refs: Iterable[ReferencedImage]) -> None:
        for image in image_refs:
            self.found.setdefault(image.image_id, image)

    def forget(self) -> None:
        """Remember nothing of what was found."""
        self.found.clear()
        self._known.clear()

    def image_ids(self, references: Sequence[str]) -> list[str]:
        """Ids of the images referred to, each once, in order."""
        return list(dict.fromkeys([self.resolve(reference).image_id for reference in references]))

    def link_of(self, reference: str) -> str:
        """The canonical link (or file name) that a reference stands for."""
        return self._id_map.get(reference) or canonical_url(reference)

    def key_of(self, reference: str) -> str:
        """What a reference points at, by which images of products are found."""
        return place_of(self.link_of(reference))

    def _resolve(self, reference: str) -> ReferencedImage:
        text = self.link_of(reference)
        is_link = "://" in text or text.startswith("//")
        file = _at(self._url_map, text)
        if file is None and is_link and not self._url_map_given:
            file = self._file_of_link(text, reference.strip())
        elif file is None and not is_link:
            literal = reference.strip()
            file = self._file_of_name(literal if "%" in literal and literal in self._file_names() else text)
            link = self._link_of_file.get(file or "")
            if link is not None:
                text, is_link = link, True
        number = _at(self._id_of, text)
        if number is None and self.uses_ids and not is_link and text.isdigit():
            number = text
        if not is_link:
            return ReferencedImage(number or file or text, file, None)
        own = reference.strip()
        link = self._written.get(text) or (own if canonical_url(own) == text != own else None)
        return ReferencedImage(number or (file if self._url_map_given else None) or text, file, text, link)

    def _file_of_link(self, *spelled: str) -> str | None:
        """The file named as the last part of a link is, with or without its %-escapes."""
        names = [file_name(link) for link in spelled]
        names += [name.split("#", 1)[0] for name in names]
        return next((name for name in names if name in self._file_names()), None)

    def _file_of_name(self, name: str) -> str | None:
        if PurePosixPath(name).suffix or name in self._file_names():
            return name
        files = self.files_by_stem(name)
        return files[0] if len(files) == 1 else None

    def files_by_stem(self, stem: str) -> Sequence[str]:
        """The image files whose name without suffix is ``stem``, sorted."""
        if self._stems is None:
            self._stems = {}
            for name in sorted({*self._url_map.values(), *self._file_names()}):
                self._stems.setdefault(file_stem(name), []).append(name)
        return self._stems.get(stem, ())

    def ambiguous(self) -> set[str]:
        """Ids of images found of which nothing says which file is theirs.

        Without ``url2img.txt``, these are links to different places whose last part is the same; and names without a
        suffix that several files have.
        """
        links: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        found: set[str] = set()
        for image in self.found.values():
            if image.url is not None and image.file is not None and not self._url_map_given:
                links[image.file][place_of(image.url)].add(image.image_id)
            elif image.url is None and image.file is None and len(self.files_by_stem(image.image_id)) > 1:
                found.add(image.image_id)
        return found.union(*(ids for places in links.values() if len(places) > 1 for ids in places.values()))

    def _file_names(self) -> set[str]:
        if self._names is None:
            names = () if self.folder is None else os.listdir(self.folder)
            self._names = {name for name in names if as_unicode(name) == name}  # no table holds another name
        return self._names

    @classmethod
    def read_url_map(cls, path: Path, ledger: Ledger, written: dict[str, str]) -> dict[str, str]:
        """Read ``url2img.txt``: a link, a space and a file name a line; other lines are counted and dropped.

        Links that are not canonical are added to ``written``.
        """
        found: dict[str, str] = {}
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    url, _, name = line.strip().partition(" ")
                    name = name.strip()
                    if not url:
                        continue
                    if not name:
                        ledger["url_map"].drop("no_file_name")
                    elif found.setdefault(canonical_link(unescape(url), written), name) != name:
                        ledger["url_map"].drop("link_mapped_before")
                    else:
                        ledger["url_map"].keep()
        except OSError as problem:
            raise CorpusError(f"cannot read the link map: {problem.strerror}", where=path) from None
        return found


def _at(found: Mapping[str, str], link: str) -> str | None:
    """What is known of a link, or else of the same place by another scheme."""
    known = found.get(link)
    if known is None and found and (scheme := _SCHEME.match(link)):
        place = link[scheme.end() :]
        known = found.get(f"http://{place}") or found.get(f"https://{place}") or found.get(f"//{place}")
    return known


_IMAGES_A_TASK = 32
_IMAGES_A_SHARD = 256

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
        found = {name: getattr(self, name) for name in ("sha256", "width", "height", "status")}
        return {**self.image._asdict(), **found, "file": None if self.path is None else str(self.path)}


def check_images(
    image_refs: Iterable[ReferencedImage],
    folder: Path | None,
    *,
    ambiguous: Container[str] = frozenset(),
    engine: Engine | None = None,
) -> Iterator[ImageFile]:
    """Look at the files of images, in the given order.

    A file outside ``folder`` (an absolute path, ``..``, a symbolic link that leads out) is not looked at.

    Args:
        ambiguous: ids of those of which nothing says which file is theirs.
        engine: looks at them; None: threads of this process.
    """
    root = None if folder is None else folder.resolve()

    def check(image: ReferencedImage) -> ImageFile:
        return _look(image, root, image.image_id in ambiguous)

    if root is None:
        yield from map(check, image_refs)
        return
    if engine is None:
        with ThreadPoolExecutor(4) as pool:
            batches = _batches(image_refs, _IMAGES_A_TASK)
            for checked in pool.map(lambda batch: [check(image) for image in batch], batches):
                yield from checked
        return
    shards = list(_batches(image_refs, _IMAGES_A_SHARD))
    works = [[(image, image.image_id in ambiguous) for image in shard] for shard in shards]
    answers = engine.map("pipeline.corpus.images:looks_at_images", str(root), works, needs=[root])
    for shard, (answer,) in zip(shards, answers, strict=True):
        for image, (status, reason, path, *rest) in zip(shard, json.loads(answer), strict=True):
            yield ImageFile(image, status, reason, None if path is None else Path(path), *rest)


def looks_at_images(root: str) -> Callable[[Any], list[bytes]]:
    """In a worker of an engine: what looks at the images of a shard."""

    def look(shard: Any) -> list[bytes]:
        found = [_look(ReferencedImage(*image), Path(root), ambiguous) for image, ambiguous in shard]
        told = [[status, reason, path and str(path), *rest] for _, status, reason, path, *rest in found]
        return [json.dumps(told).encode()]

    return look


def _look(image: ReferencedImage, root: Path | None, ambiguous: bool) -> ImageFile:
    if image.file is not None and not ambiguous:
        return _check(image, image.file, root)
    status: Status = "missing" if image.url is None else "dead"
    return ImageFile(image, status, "ambiguous" if ambiguous else status)


def _batches(image_refs: Iterable[ReferencedImage], size: int) -> Iterator[list[ReferencedImage]]:
    waiting = iter(image_refs)
    while batch := list(islice(waiting, size)):
        yield batch


def _check(image: ReferencedImage, file: str, root: Path | None) -> ImageFile:
    if root is None:
        return ImageFile(image, "missing", "missing")
    name = PurePosixPath(file)
    if name.is_absolute() or ".." in name.parts or "\0" in file:
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
