"""``metrics.jsonl``: one JSON object a line, an epoch's or a step's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.files import write_atomic

__all__ = ["Journal"]


class Journal:
    """Appends lines to a file.

    Args:
        path: the file; made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **values: Any) -> None:
        """Append one line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def cut(self, step: int) -> None:
        """Drop the lines of later steps, which are going to be done again, and one that a kill cut off."""
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        kept = []
        for line in lines:
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        write_atomic(self.path, "".join(f"{line}\n" for line in kept))
