"""HTML pages from the templates in ``templates/``: no script, no network, every text escaped."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["render"]

_NOT_PRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def render(template: str, **values: Any) -> str:
    """A page as text: the same values give the same bytes."""
    return _environment().get_template(template).render(values) + "\n"


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
