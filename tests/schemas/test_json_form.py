"""Results as JSON: by their fields, and by their own form where they have one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from schemas.json_form import json_form


class Ends(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Count:
    done: int

    def as_json(self) -> int:
        return self.done


@dataclass(frozen=True)
class Report:
    file: Path
    ends: Ends | None
    counts: dict[str, Count]
    names: tuple[str, ...] = ("a", "b")


def test_fields_are_written_by_name_and_parts_by_their_own_form():
    found = json_form(Report(Path("a/b.json"), Ends(0.25, 0.5), {"tasks": Count(3)}))
    assert found == {
        "file": "a/b.json",
        "ends": {"low": 0.25, "high": 0.5},
        "counts": {"tasks": 3},
        "names": ["a", "b"],
    }


def test_what_is_left_out_is_not_there():
    assert json_form(Report(Path("x"), None, {}), "file", "names") == {"ends": None, "counts": {}}
