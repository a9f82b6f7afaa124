"""JSON, texts, names and values as corpora really write them."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson

__all__ = ["NotJsonError", "as_number", "as_text", "parse_json", "snake_case", "split_values", "value_texts"]

UNKNOWN = frozenset({"", "unk", "none", "null", "nan", "n/a", "na", "not available"})
"""Values (case-folded) by which catalogues and states say that they do not know."""

WHOLE = frozenset({"brand", "name", "sold_by"})
"""Attributes whose values may hold a comma without being a list."""


class NotJsonError(ValueError):
    """The content is not JSON in any reading."""


def parse_json(content: bytes) -> Any:
    """Parse JSON, also with NaN, Infinity or a byte order mark in it, as Python writes and editors leave them.

    Raises:
        NotJsonError: not JSON, not UTF-8, or with half a surrogate pair in a string.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_constant=lambda _: None)
        orjson.dumps(value)
    except (ValueError, TypeError, RecursionError) as problem:
        raise NotJsonError(str(problem)) from None
    return value


def as_text(value: object) -> str:
    """An utterance as one line without the typographic quotes some corpora wrap around it; "" for what is no text."""
    if type(value) is str:
        # most texts are one line already; every white space but the plain one counts as not printable
        is_plain = value.isprintable() and "  " not in value and value[:1] != " " != value[-1:]
        text = value if is_plain else " ".join(value.split())
        if len(text) > 1 and text[0] == "‘" and text[-1] == "’":
            text = text[1:-1].strip()
        return text
    if isinstance(value, list):
        return " ".join(filter(None, map(as_text, value)))
    return ""


@lru_cache(maxsize=10_000)
def snake_case(name: str) -> str:
    """``sleeveLength`` and ``Sleeve length`` -> ``sleeve_length``; letters of any script stay."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", unicodedata.normalize("NFKC", name))
    return re.sub(r"[\W_]+", "_", spaced.casefold()).strip("_")


def _scalar(value: object) -> str | None:
    if isinstance(value, str):
        text = " ".join(value.split())
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = str(value)
    elif isinstance(value, float) and math.isfinite(value):
        text = format(value, ".10g")
    else:
        return None
    return None if text.casefold() in UNKNOWN else text


def value_texts(value: object) -> Iterable[str]:
    """The single values in a value: of a list, of a list written as a string, or of a number or text."""
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            value = ast.literal_eval(value)
    if isinstance(value, list):
        for part in value:
            if not isinstance(part, list | dict):
                yield from value_texts(part)
        return
    text = _scalar(value)
    if text is not None:
        yield text


def split_values(name: str, value: object) -> tuple[str, ...]:
    """The distinct values of an attribute or slot: ``"black, white"`` is two, except in a brand or a name."""
    return _split_text(name, value) if type(value) is str else _split(name, value)


def _split(name: str, value: object) -> tuple[str, ...]:
    found: dict[str, None] = {}
    whole = name in WHOLE
    for text in value_texts(value):
        if whole or "," not in text or as_number(text) is not None:
            found[text] = None
        else:
            found.update((part, None) for piece in text.split(",") if (part := _scalar(piece)) is not None)
    return tuple(found)


_split_text = lru_cache(maxsize=50_000)(_split)

_CURRENCY = r"(?:[$€£¥₹]|rs\.?|inr|usd|eur|gbp)"
_NUMBER = re.compile(
    rf"{_CURRENCY}?\s*(-?\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|-?\d+(?:\.\d+)?)\s*"
    rf"(?:{_CURRENCY}|%|stars?|out of \d+(?: stars?)?|/ ?\d+)?",
    re.IGNORECASE,
)


def as_number(value: object) -> float | None:
    """The number in ``"$210"``, ``"Rs. 2,499"``, ``"5.0 out of 5 stars"`` or a number itself; None for the rest."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    match = _NUMBER.fullmatch(value.strip())
    return None if match is None else float(match.group(1).replace(",", ""))
