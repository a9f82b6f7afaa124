"""Small copies of images inside a page that needs nothing else."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from schemas.files import open_unlinked
from semantic_model.data.image_decoding import UndecodableImageError, decode_image

__all__ = ["thumbnail_url"]

_SIDE = 104
_QUALITY = 78


def thumbnail_url(path: Path) -> str | None:
    """An image, at most 104 pixels wide and high, as a ``data:`` address; None for one that cannot be read.

    No symbolic link is followed: the page may be given to others.
    """
    try:
        with open_unlinked(path) as file:
            small = decode_image(file.read(), near=2 * _SIDE)
    except (OSError, UndecodableImageError):
        return None
    small.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
