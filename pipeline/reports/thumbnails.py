"""Small copies of pictures inside a page that needs nothing else."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

from pipeline.corpora.picture_files import FORMATS, MAX_PIXELS

__all__ = ["thumbnail_url"]

_SIDE = 104
_QUALITY = 78


def thumbnail_url(path: Path) -> str | None:
    """A picture, at most 104 pixels wide and high, as a ``data:`` address; None for one that cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
                small = image.convert("RGBA")
                small.thumbnail((_SIDE, _SIDE))
    except Exception:  # Pillow's decoders raise nearly anything on damaged files
        return None
    plain = Image.new("RGB", small.size, "white")
    plain.paste(small, mask=small.getchannel("A"))
    content = io.BytesIO()
    plain.save(content, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
