"""The forms in which values and names are compared."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

__all__ = ["fold", "fold_name"]

_LONGEST_REMEMBERED = 64
"""Letters: the same few names and values are folded again and again; what shoppers say is not."""


def fold(text: str) -> str:
    """The form in which values are compared: NFKC, case-folded, single spaces."""
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _fold(text)


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


_remembered = lru_cache(maxsize=16_384)(_fold)


@lru_cache(maxsize=4_096)
def fold_name(text: str) -> str:
    """The form in which names are compared: ``sleeveLength``, ``sleeve_length`` and ``Sleeve length`` agree."""
    folded = fold(text)
    return "".join(letter for letter in folded if letter.isalnum()) or folded
