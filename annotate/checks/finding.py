"""One finding: what a check has to say of a dialogue, a turn, a slot and a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from annotate.checks.codes import CODES, Severity

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    code: str  # one of :data:`~annotate.checks.codes.CODES`
    dialogue_id: str
    detail: str  # what exactly, for people
    turn: int | None = None  # the user turn; None when it is the whole dialogue
    slot: str | None = None  # what it is about, where it is about one
    value: str | None = None
    suggestion: str | None = None  # what may be meant, as it is marked (``slot=value``); never applied by itself
    annotators: tuple[str, ...] = ()  # whose label it is
    annotation_ids: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        return CODES[self.code].severity

    @property
    def place(self) -> tuple[int, str, str, str, str, tuple[str, ...]]:
        """Order within a dialogue."""
        turn = -1 if self.turn is None else self.turn
        return turn, self.code, self.slot or "", self.value or "", self.detail, self.annotation_ids

    def row(self) -> dict[str, Any]:
        """Its row of ``findings.parquet``."""
        return {
            "dialogue_id": self.dialogue_id,
            "turn": self.turn,
            "slot": self.slot,
            "value": self.value,
            "annotators": list(self.annotators),
            "annotation_ids": list(self.annotation_ids),
            "code": self.code,
            "severity": self.severity,
            "detail": self.detail,
            "suggestion": self.suggestion,
        }
