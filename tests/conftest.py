"""Fixtures for every test: where the real data is, and which parts must be there.

``SEMCTL_REQUIRE=studio,browser,realdata`` turns "skipped because it is missing" into a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def skip_or_fail(part: str, reason: str) -> None:
    """Skip because ``part`` is missing, or fail when SEMCTL_REQUIRE names it."""
    required = {name.strip() for name in os.environ.get("SEMCTL_REQUIRE", "").split(",")}
    if part in required:
        pytest.fail(f"SEMCTL_REQUIRE names '{part}': {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real dialogues beside the project."""
    folder = Path(os.environ.get("SEMCTL_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "simmc2_fashion_mmd").is_dir():
        skip_or_fail("realdata", f"no real data in {folder}; set SEMCTL_SHARED_DATA")
    return folder


@pytest.fixture(autouse=True)
def _no_ambient_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMCTL_WORKSPACE", raising=False)
