"""The images of a page: each once, as small as the page has to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.reports.pages import thumbnail_url
from schemas.progress import Progress

LARGEST = 4_900_000
"""Bytes that a page may have with its images; texts alone need more only where they are many and long."""

ROOM = 2_400_000
"""Bytes that the images may take where there is room for more: from here on they become smaller."""

_SIZES = (88, 72, 56, 40)  # pixels; tried in this order


@dataclass(frozen=True)
class Sheet:
    """Images of a page."""

    classes: Mapping[str, str]  # image id -> its class in the style sheet; two ids of one image share it
    urls: Mapping[str, str]  # class -> ``data:`` address
    pixels: int  # width and height, at most
    missing: int  # images without a file that can be read
    left_out: int  # images that have no room


def image_sheet(files: Mapping[str, Path], wanted: list[str], progress: Progress, room: int = ROOM) -> Sheet:
    """Thumbnails of the images ``wanted``, the first ones first where not all have room in the smallest size.

    Args:
        files: image id -> file.
        wanted: ids of images; those without a file count as missing.
        progress: shows a bar.
        room: bytes for all of them.
    """
    there = [image for image in dict.fromkeys(wanted) if image in files]
    missing = len(set(wanted)) - len(there)
    made: dict[str, str | None] = {}
    for pixels in _SIZES:
        made, taken, pending = {}, 0, set(there)
        for image in progress.track(there, f"thumbnails of {pixels} pixels"):
            made[image] = thumbnail_url(files[image], pixels=pixels, kind="WEBP", quality=62)
            pending.discard(image)
            taken += len(made[image] or "")
            if taken > room and pixels != _SIZES[-1]:
                break
        if not pending and taken <= room:
            break
    classes: dict[str, str] = {}
    urls: dict[str, str] = {}
    named: dict[str, str] = {}
    taken = left_out = 0
    for image, url in made.items():
        if url is None:
            missing += 1
        elif url in named or taken + len(url) <= room:
            taken += 0 if url in named else len(url)
            classes[image] = named.setdefault(url, f"i{len(named)}")
            urls[classes[image]] = url
        else:
            left_out += 1
    return Sheet(classes, urls, pixels, missing, left_out)
