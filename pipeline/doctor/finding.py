"""One thing that was looked at, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from schemas.json_form import json_form

Level = Literal["ok", "warning", "problem"]
"""``warning``: something works worse than it could, or soon will; ``problem``: something does not work."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    area: str  # machine, workspace or Label Studio
    check: str
    level: Level
    found: str
    fix: str | None = None  # what to do about it; None where nothing needs doing

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self)
