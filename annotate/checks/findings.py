"""Findings of the checks and their reason codes: how bad each is, what it says, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from schemas.errors import UsageError
from schemas.files import read_toml
from schemas.validation import did_you_mean

Severity = Literal["error", "warning", "info"]
"""``error``: the label is lost or says two things at once. ``warning``: probably wrong, somebody should look.
``info``: worth knowing, seldom wrong."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Check:
    """One reason code."""

    code: str
    severity: Severity  # see :data:`Severity`
    meaning: str  # what a finding of it says
    remedy: str  # what to do, in a line
    relabel: bool = True  # whether labelling the dialogue again can change it


CODES: Mapping[str, Check] = {
    code: Check(code, **given) for code, given in read_toml(Path(__file__).with_name("codes.toml")).items()
}
"""Every code, the worst first."""


def codes_of(names: Iterable[str], *, where: object | None = None) -> frozenset[str]:
    """The codes that names of codes and severities stand for; ``none`` and ``all`` are understood.

    Raises:
        UsageError: a name that is neither; the nearest one is named.
    """
    found: set[str] = set()
    for name in names:
        if name in CODES:
            found.add(name)
        elif name in SEVERITIES or name == "all":
            found |= {check.code for check in CODES.values() if name in ("all", check.severity)}
        elif name != "none":
            known = (*SEVERITIES, "all", "none", *CODES)
            fix = did_you_mean(name, known, f"one of {', '.join(known)}")
            raise UsageError(f"'{name}' is no code of a check", where=where, fix=fix)
    return frozenset(found)


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    code: str  # one of :data:`CODES`
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
        return {**vars(self), "severity": self.severity}
