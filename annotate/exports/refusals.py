"""Why something of an export is refused: a reason code that programs count, and a line for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson

Reason = Literal[
    # of a task: none of its annotations can be used
    "task_without_keys",
    "unsupported_schema",
    "unknown_dialogue",
    "dialogue_changed",
    "unknown_turn",
    "held_out_dialogue",
    # of an annotation: what it says cannot be laid at any turn
    "malformed_annotation",
    "malformed_result",
    "unknown_control",
    "turn_out_of_range",
    # of a turn: the turn stays unlabelled, the others of the annotation count
    "wrong_type",
    "wrong_target",
    "malformed_value",
    "unknown_operation",
    "wanted_and_disliked",
    # of a line or a choice: the others of its turn count
    "slot_without_value",
    "unknown_slot",
    "malformed_free_text",
]
"""Reason codes, in the order in which an export is checked."""

REASONS: tuple[Reason, ...] = get_args(Reason)

_LONGEST_RAW = 10_000


@dataclass(frozen=True)
class Refusal:
    """One thing refused."""

    reason: Reason  # the code
    detail: str  # what exactly is wrong, for people
    turn: int | None = None  # the user turn concerned; None when it is the whole annotation
    raw: str | None = None  # the JSON refused, as text; shortened when it is very long
    slot: str = ""  # the slot that a refused line names; "" where it names none that there is

    def row(
        self,
        annotation_id: str,
        *,
        task_uid: str | None,
        dialogue_id: str | None,
        annotator: str | None,
        export_sha256: str | None,
    ) -> dict[str, Any]:
        """A row of ``quarantine.parquet``."""
        return {
            "reason": self.reason,
            "annotation_id": annotation_id,
            "task_uid": task_uid,
            "dialogue_id": dialogue_id,
            "turn": self.turn,
            "annotator": annotator,
            "detail": self.detail,
            "raw": self.raw,
            "export_sha256": export_sha256,
        }


class Refused(Exception):  # noqa: N818 - says what happened to the input, it is not an error of the program
    """Carries a refusal up to where it is counted; never leaves :mod:`annotate`."""

    def __init__(self, reason: Reason, detail: str, slot: str = "", *, raw: Any = None) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail, raw=None if raw is None else raw_json(raw), slot=slot)


def raw_json(value: Any) -> str:
    """``value`` as JSON text for the quarantine; what cannot be written (nested too deeply) is only described."""
    try:
        text = orjson.dumps(value).decode()
    except (orjson.JSONEncodeError, RecursionError):
        return f"<{type(value).__name__} that cannot be written as JSON>"
    return text if len(text) <= _LONGEST_RAW else text[:_LONGEST_RAW] + "..."
