"""HTML pages from the templates in ``templates/``: no script, no network, every text escaped, images inside."""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from schemas.errors import UsageError
from schemas.files import open_unlinked, write_atomic
from semantic_model.data.image_decoding import UndecodableImageError, decode_image

_THUMBNAIL = 104
_NOT_PRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def render(template: str, **values: Any) -> str:
    """A page as text: the same values give the same bytes."""
    return _environment().get_template(template).render(values) + "\n"


def thumbnail_url(
    path: Path, *, pixels: int = _THUMBNAIL, kind: Literal["JPEG", "WEBP"] = "JPEG", quality: int = 78
) -> str | None:
    """An image, at most so many pixels wide and high, as a ``data:`` address; None for one that cannot be read.

    No symbolic link is followed: the page may be given to others.
    """
    try:
        with open_unlinked(path) as file:
            small = decode_image(file.read(), near=2 * pixels)
    except (OSError, UndecodableImageError):
        return None
    small.thumbnail((pixels, pixels))
    content = io.BytesIO()
    small.save(content, kind, quality=quality)
    return data_url(f"image/{kind.lower()}", content.getvalue())


def data_url(kind: str, content: bytes) -> str:
    """A file's content as an address, so that a page needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def write_page(path: Path, page: str) -> None:
    """Write a page.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write_atomic(path, page)
    except OSError as problem:
        raise UsageError(f"cannot write the page: {problem.strerror}", where=path) from None


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    found.globals["count"] = "{:,}".format
    return found


def _printable(value: Any) -> Any:
    return _NOT_PRINTABLE.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value
