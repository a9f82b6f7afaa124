"""The forms in which values and names are compared."""

from __future__ import annotations

import unicodedata

__all__ = ["fold", "fold_name"]


def fold(text: str) -> str:
    """The form in which values are compared: NFKC, case-folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def fold_name(text: str) -> str:
    """The form in which names are compared: ``sleeveLength``, ``sleeve_length`` and ``Sleeve length`` agree."""
    folded = fold(text)
    return "".join(letter for letter in folded if letter.isalnum()) or folded
