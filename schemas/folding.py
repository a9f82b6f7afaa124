"""The forms in which texts, values and names are compared."""

from __future__ import annotations

import html
import html.entities
import re
import unicodedata
from functools import lru_cache

import regex

_LONGEST_REMEMBERED = 64
"""Letters: the same few names and values are folded again and again; what users say is not."""

ENTITY = (
    r"&(?:(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
    r"|(?:amp|lt|gt|quot|nbsp)(?![A-Za-z0-9=;])|#[0-9]{2,4}(?![0-9;]))"
)
"""Pattern of an HTML entity; the commonest are known without their semicolon, as dialogues have them."""

_ENTITY = re.compile(ENTITY)
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+|(?<=[\p{L}\p{M}\p{N}])[©®™℠]")
_FRACTION = regex.compile(r"(?<=\p{Nd}) ?([¼½¾])")
_TYPED = str.maketrans({**dict.fromkeys("’‘ʼ", "'"), **dict.fromkeys("“”„", '"'), **dict.fromkeys("‐‑‒–—−", "-")})
_DECIMALS = {"¼": ".25", "½": ".5", "¾": ".75"}
# marks belong to their letters; "+", "#", "%" and currencies tell names apart
_BETWEEN = regex.compile(r"(?:[^\p{L}\p{M}\p{N}\p{S}#%]|[<=>^`|~])+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def unescape(text: str) -> str:
    """A text with its HTML entities resolved, once: ``H&amp;M`` is ``H&M``, and ``&amp;lt;`` is ``&lt;``.

    What only begins like one is none: ``AT&T`` and ``black&regular`` stay as they are.
    """
    return _ENTITY.sub(_resolved, text) if "&" in text else text


def _resolved(entity: re.Match[str]) -> str:
    # `html.unescape` resolves the beginning of unknown names, too: "&notes;" would become "¬es;"
    name = entity.group()
    return html.unescape(name) if name[1] == "#" or name[1:] in html.entities.html5 else name


def fold(text: str) -> str:
    """The form in which values are compared: case-folded, single spaces, and as :func:`plain` has it."""
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _fold(text)


def plain(text: str) -> str:
    """A text in NFKC without what is not seen (soft hyphens, joiners, direction marks) and trademark signs.

    ½ is .5, and apostrophes, quotation marks and hyphens are those of a keyboard.
    """
    if text.isascii():
        return text
    seen = _INVISIBLE.sub("", text)
    # NFKC makes "71/2" of "7½"
    return unicodedata.normalize("NFKC", _FRACTION.sub(lambda match: _DECIMALS[match[1]], seen)).translate(_TYPED)


def _fold(text: str) -> str:
    return " ".join(_lower(plain(text)).split())


def _lower(text: str) -> str:
    return text.casefold().replace("i\u0307", "i")  # of the Turkish İ, a dot above the dot would stay


_remembered = lru_cache(maxsize=16_384)(_fold)


@lru_cache(maxsize=4_096)
def fold_name(text: str) -> str:
    """The form in which names are compared: ``sleeveLength``, ``sleeve_length`` and ``Sleeve length`` agree.

    Letters of every script stay with their marks, and so do symbols that tell names apart (``c+``, ``c#``,
    ``price €``).
    """
    folded = fold(text)
    return str(_BETWEEN.sub(_mark_of_numbers, folded)) or folded


def _mark_of_numbers(between: regex.Match[str]) -> str:
    """A point where two numbers would become one: 4.5 is not 45."""
    before, after = (
        between.string[between.start() - 1 : between.start()],
        between.string[between.end() : between.end() + 1],
    )
    return "." if before.isdigit() and after.isdigit() else ""


@lru_cache(maxsize=10_000)
def snake_case(name: str) -> str:
    """``sleeveLength`` and ``Sleeve length`` -> ``sleeve_length``; what :func:`fold_name` keeps apart stays apart."""
    spaced = _lower(_CAMEL.sub("_", plain(name)))
    return str(_BETWEEN.sub("_", spaced)).strip("_")
