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

from schemas.numbers import number_text, read_number

__all__ = ["NotJsonError", "as_text", "parse_json", "snake_case", "split_values", "value_texts"]

UNKNOWN = frozenset({"", "unk", "none", "null", "nan", "n/a", "na", "not available"})
"""Values (case-folded) by which catalogues and states say that they do not know."""

WHOLE = frozenset({"brand", "name", "price", "sold_by"})
"""Attributes whose values may hold a comma without being a list."""

_COMMA = re.compile(r",(?!\d{3}(?!\d))|(?<!\d),")
"""A comma that is no mark between thousands."""


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
        text = number_text(value)
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
        if whole or "," not in text or _is_one_number(text):
            found[text] = None
        else:
            found.update((part, None) for piece in _COMMA.split(text) if (part := _scalar(piece)) is not None)
    return tuple(found)


def _is_one_number(text: str) -> bool:
    """Whether a text with a comma is a number rather than a list: ``36,38`` are two sizes, ``36,5`` is one."""
    number = read_number(text)
    if number is None:
        return False
    pair = re.fullmatch(r"(\d+),(\d{1,2})", text)
    return pair is None or int(pair[1]) >= int(pair[2])


_split_text = lru_cache(maxsize=50_000)(_split)
