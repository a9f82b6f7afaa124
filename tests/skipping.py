"""What to do about a part (a server, a browser, real data) that is not there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip_or_fail(part: str, reason: str) -> NoReturn:
    """Skip because ``part`` is missing, or fail when SEMCTL_REQUIRE names it."""
    required = {name.strip() for name in os.environ.get("SEMCTL_REQUIRE", "").split(",")}
    if part in required:
        pytest.fail(f"SEMCTL_REQUIRE names '{part}': {reason}")
    pytest.skip(reason)
