"""Fixtures for every test: where the real data is, and which parts must be there.

``SEMCTL_REQUIRE=studio,browser,realdata`` turns "skipped because it is missing" into a failure.
With ``SEMCTL_FIXED_EXAMPLES`` set, hypothesis draws the same examples in every run, as a check of one commit has to.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.skipping import skip_or_fail
from tests.studio_fixtures import personal_token, studio_server, studio_variables

__all__ = ["personal_token", "skip_or_fail", "studio_server", "studio_variables"]

ROOT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background by a shell: children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed" if "SEMCTL_FIXED_EXAMPLES" in os.environ else "default")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real dialogues beside the project."""
    folder = Path(os.environ.get("SEMCTL_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "simmc2_fashion_mmd").is_dir():
        skip_or_fail("realdata", f"no real data in {folder}; set SEMCTL_SHARED_DATA")
    return folder


@pytest.fixture(autouse=True)
def _no_ambient_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = ("SEMCTL_LLM_URL", "SEMCTL_LLM_MODEL", "SEMCTL_LLM_KEY")
    for name in ("SEMCTL_WORKSPACE", "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", *llm):
        monkeypatch.delenv(name, raising=False)
