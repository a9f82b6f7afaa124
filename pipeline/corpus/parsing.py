"""JSON, texts, names and values as corpora really write them."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

import orjson

from schemas.folding import ENTITY, unescape
from schemas.folding import snake_case as snake_case
from schemas.numbers import number_text, read_number

UNKNOWN = frozenset({"", "unk", "none", "null", "nan", "n/a", "na", "not available", "<na>", "nat", "#n/a"})
"""Values (case-folded) by which catalogues and states, pandas and spreadsheets say that they do not know."""

_BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""White space, and what is not seen at all."""

WHOLE = frozenset({"brand", "name", "price", "sold_by"})
"""Attributes whose values may hold a comma without being a list."""

_COMMAS = re.compile(r"(?<![\d.])(?<!\d,)(?:\d{1,3}(?:\.\d{3})+,\d+|\d+(?:,\d+)+)(?!,?\d|\.\d)")
"""Digits with commas between them: a number, or a list."""


class NotJsonError(ValueError):
    """The content is not JSON in any reading; ``reason`` says what it is instead, where that is known."""

    def __init__(self, what: str, *, reason: str = "file_not_json", fix: str | None = None) -> None:
        super().__init__(what)
        self.reason = reason
        self.fix = fix


_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_ENTITY = re.compile(rf"{ENTITY}|\\u0026".encode())
_NAME_END = re.compile(rb'"\s*:')
_LONG_NUMBER = re.compile(rb"\d{19}")
"""What may be an integer beyond 64 bits, which orjson reads as a float."""


def parse_json(content: bytes, *, long_numbers: bool = False, on_doubled: Callable[[str], None] | None = None) -> Any:
    """Parse JSON, also with NaN, Infinity or a byte order mark in it, as Python writes and editors leave them.

    HTML entities in its texts and names are resolved, once.

    Args:
        long_numbers: keep the digits of integers beyond 64 bits, where ids may be written as numbers.
        on_doubled: is told each name that an object has twice, with two values; they become one list, or one object.
            Without it, the last value counts.

    Raises:
        NotJsonError: not JSON, not UTF-8, or with half a surrogate pair in a string.
    """
    value = _parsed(content, long_numbers, on_doubled)
    try:
        return unescaped(value) if _ENTITY.search(content) else value
    except RecursionError as problem:
        raise NotJsonError(str(problem)) from None


def _parsed(content: bytes, long_numbers: bool, on_doubled: Callable[[str], None] | None) -> Any:
    if not (long_numbers and _LONG_NUMBER.search(content)):
        with contextlib.suppress(orjson.JSONDecodeError, orjson.JSONEncodeError):
            value = orjson.loads(content)
            # as many names written again as there were: none was there twice
            if on_doubled is None or len(_NAME_END.findall(content)) == len(_NAME_END.findall(orjson.dumps(value))):
                return value
    if content.startswith(_LFS_POINTER):
        raise NotJsonError(
            "a Git LFS pointer instead of the file", reason="git_lfs_pointer", fix="fetch the file with: git lfs pull"
        )
    try:
        integer = int if long_numbers else _integer
        hook = None if on_doubled is None else partial(_merged, on_doubled)
        value = json.loads(
            content.decode("utf-8-sig"), parse_constant=lambda _: None, parse_int=integer, object_pairs_hook=hook
        )
        # half a surrogate pair, or nested too deep
        json.dumps(value, ensure_ascii=False).encode() if long_numbers else orjson.dumps(value)
    except UnicodeDecodeError:
        raise NotJsonError(f"not UTF-8 but {other_encoding(content)}", fix="save it as UTF-8") from None
    except (ValueError, TypeError, RecursionError) as problem:
        if b"\0" in content or content.startswith(tuple(mark for mark, _ in _BEGINNINGS)):
            raise NotJsonError(f"not UTF-8 but {other_encoding(content)}", fix="save it as UTF-8") from None
        raise NotJsonError(str(problem)) from None
    return value


def _merged(on_doubled: Callable[[str], None], named: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names may be there twice."""
    found: dict[str, Any] = {}
    for name, value in named:
        if name not in found or found[name] == value:
            found[name] = value
            continue
        before = found[name]
        on_doubled(name)
        if isinstance(before, dict) and isinstance(value, dict):
            found[name] = _merged(lambda _: None, [*before.items(), *value.items()])
        else:
            found[name] = [part for each in (before, value) for part in (each if isinstance(each, list) else [each])]
    return found


def _integer(digits: str) -> int | float | None:
    number = int(digits)
    if -(2**63) <= number < 2**64:
        return number
    near = float(digits)
    return near if math.isfinite(near) else None  # as Infinity


def unescaped(value: Any) -> Any:
    """A value with the HTML entities in its texts and names resolved, once.

    A list or an object written as a text stays as it is, until :func:`structure` reads it.
    """
    if isinstance(value, str):
        return value if "&" not in value or structure(value) is not value else unescape(value)
    if isinstance(value, list):
        return [unescaped(part) for part in value]
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, part in value.items():
            name = unescape(key)
            is_taken = name in found or (name != key and name in value)  # nothing is written over
            found[key if is_taken else name] = unescaped(part)
        return found
    return value


_BEGINNINGS = (
    (b"PK\x03\x04", "a spreadsheet or another ZIP file"),
    (b"\x1f\x8b", "compressed"),
    (b"PAR1", "Parquet"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def other_encoding(content: bytes) -> str:
    """What a text that is not UTF-8 likely is: by its first bytes, zero bytes or letters."""
    for mark, name in _BEGINNINGS:
        if content.startswith(mark):
            return name
    if b"\0" in content[:1000]:
        return "UTF-16 without a byte order mark, or no text at all"
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", content)]
    if sum(length for length in runs if length < 3) > sum(runs) / 2:  # accented letters among plain ones
        return "probably Windows-1252 (Western European, as spreadsheets save it)"
    return "another encoding, such as Windows-1251, GB 18030 or Shift JIS"


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


def trimmed(text: str) -> str:
    """``text`` without white space, and without what is not seen, at its ends."""
    return text.strip() if text.isascii() else text.strip(_BLANK)


def id_text(value: object) -> str:
    """An id as text, however it was written: ``17``, ``17.0`` (as pandas writes whole numbers) and ``" 17 "`` are 17.

    "" for what is no id.
    """
    if isinstance(value, str):
        return trimmed(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return _number_text(value) or ""


def _number_text(value: float) -> str | None:
    """Whole numbers with all their digits, others with as many as are meant (0.1 + 0.2 is 0.3); None for infinity."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return None
    return str(int(value)) if value.is_integer() else number_text(value)


def _scalar(value: object) -> str | None:
    if isinstance(value, str):
        text = " ".join(value.split())
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int | float) and (number := _number_text(value)) is not None:
        text = number
    else:
        return None
    return None if text.casefold() in UNKNOWN else text


_DEEPEST = 20
"""Lists in lists of lists: nobody means more."""


def structure(value: object) -> object:
    """The list or object in a text that is one, written as JSON or as Python; anything else as it is."""
    if not isinstance(value, str) or (text := value.strip())[:1] + text[-1:] not in ("[]", "{}", "()"):
        return value
    with contextlib.suppress(NotJsonError):
        return parse_json(text.encode(errors="surrogatepass"))
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = ast.literal_eval(text)
        return unescaped(list(found) if isinstance(found, tuple | set) else found)
    return value


def value_texts(value: object, depth: int = 0) -> Iterable[str]:
    """The single values in a value: of a list (of lists), of a list written as a string, or of a number or text."""
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        value = structure(value)
    if isinstance(value, list | tuple):
        if depth < _DEEPEST:
            for part in value:
                yield from value_texts(part, depth + 1)
        return
    text = _scalar(value)
    if text is not None:
        yield text


_IMAGE_KEYS = ("image", "image_url", "image_id")
_REFERENCES = ("url", "link", "src", "href", *_IMAGE_KEYS, "file", "filename", "file_name", "path", "id")


def references(value: object, depth: int = 0) -> tuple[list[str], int]:
    """The links, ids or file names in a value, and how much in it is none.

    A list may hold lists, and objects that name an image (``{"url": ...}``); an object may also hold a list's
    elements by number, or a product's images by view. Lists and objects may be written as texts.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        value = structure(value)
    if isinstance(value, dict):
        named = next((value[key] for key in _REFERENCES if isinstance(value.get(key), str | int | float)), None)
        value = [named] if named is not None else list(value.values()) or [None] * (depth > 0)
    if not isinstance(value, list):
        text = id_text(value)
        return ([text], 0) if text else ([], 1)
    if depth >= _DEEPEST:
        return [], 1
    found: list[str] = []
    unread = 0
    for part in value:
        more, fewer = references(part, depth + 1)
        found += more
        unread += fewer
    return found, unread


_NAMES = ("name", "key", "slot", "attribute", "label")
_VALUES = ("value", "values")


def pairs(value: object) -> list[tuple[str, Any]] | None:
    """(name, value) of an object, a list of pairs, or a list of objects with a name and a value; None for the rest."""
    value = structure(value)
    if isinstance(value, Mapping):
        return [(str(name), inner) for name, inner in value.items()]
    if not isinstance(value, list):
        return None
    found: list[tuple[str, Any]] = []
    for part in value:
        if isinstance(part, list) and len(part) == 2 and isinstance(part[0], str):
            found.append((part[0], part[1]))
        elif isinstance(part, Mapping) and (named := _named(part)) is not None:
            found.append(named)
        else:
            return None
    return found


def _named(entry: Mapping[str, Any]) -> tuple[str, Any] | None:
    name = next((entry[key] for key in _NAMES if isinstance(entry.get(key), str)), None)
    value = next((entry[key] for key in _VALUES if key in entry), None)
    return None if name is None or value is None else (name, value)


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
            found.update((part, None) for piece in _listed(text) if (part := _scalar(piece)) is not None)
    return tuple(found)


def _listed(text: str) -> Iterable[str]:
    """What commas separate; those within the numbers of ``1,5 l`` and ``10,5 x 20,5 cm`` separate nothing."""
    marked = _COMMAS.sub(lambda run: run[0].replace(",", "\0") if read_number(run[0]) is not None else run[0], text)
    for piece in marked.split(","):
        part = piece.strip().replace("\0", ",")
        yield from [part] if _COMMAS.fullmatch(part) is None or _is_one_number(part) else part.split(",")


def _is_one_number(text: str) -> bool:
    """Whether a text with a comma is a number rather than a list: ``36,38`` are two sizes, ``36,5`` and ``1,25`` one.

    Sizes are listed from small to large, in small steps.
    """
    number = read_number(text)
    if number is None:
        return False
    pair = re.fullmatch(r"(\d+),(\d\d)", text)
    return pair is None or not int(pair[1]) < int(pair[2]) <= 2 * int(pair[1])


_split_text = lru_cache(maxsize=50_000)(_split)
