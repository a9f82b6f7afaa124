"""Word lists, sentences and outlines of the generated corpus, as TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def load(name: str) -> dict[str, Any]:
    """A file of this folder; keys are in its order."""
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))
