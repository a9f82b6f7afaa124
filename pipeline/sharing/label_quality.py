"""What cards say of the labels: who made them, how far people agree, what the checks found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.annotations.annotation import CORPUS
from pipeline.workspace import Workspace
from schemas.errors import LabelError
from schemas.files import read_json
from schemas.tables import ANNOTATIONS, FINDINGS, read_table

if TYPE_CHECKING:
    from annotate.agreement.report import AgreementReport

_WORST = 3
_COMMONEST = 6


@dataclass(frozen=True)
class LabelQuality:
    """Of the labels that the last ingest left."""

    people: int  # who answered, without the corpus itself
    by_corpus: int  # dialogues whose states came with the corpus
    ledger: Mapping[str, Any]  # what became of answers
    agreement: AgreementReport
    severities: Mapping[str, int]  # severity -> findings of the checks
    codes: Mapping[str, int]  # code -> findings, the commonest first

    def lines(self) -> list[str]:
        """In short, a line of Markdown each."""
        full, partial = self.ledger["d_f"], self.ledger["d_p"]
        answers = self.ledger["annotations"]
        found = [
            f"D_F: {full['dialogues']:,} dialogues, {full['turns']:,} user turns; D_P: {partial['dialogues']:,} "
            f"dialogues, {partial['turns']:,} user turns",
            f"answers: {answers['received']:,} received, {answers['accepted']:,} accepted, "
            f"{answers['quarantined']:,} refused, {answers['superseded']:,} superseded, {answers['skipped']:,} skipped",
            f"labelled by {self.people:,} {'person' if self.people == 1 else 'people'}"
            + (f"; the states of {self.by_corpus:,} dialogues came with the corpus" if self.by_corpus else ""),
            self._agreed(),
        ]
        if self.severities:
            counts = ", ".join(f"{count:,} {name}" for name, count in self.severities.items())
            codes = ", ".join(f"{code} {count:,}" for code, count in list(self.codes.items())[:_COMMONEST])
            found.append(f"findings of the checks: {counts} ({codes})")
        return found

    def _agreed(self) -> str:
        from annotate.agreement.report import word

        report = self.agreement
        alpha = report.alpha
        if alpha.value is None:
            return f"agreement is not known: {report.undefined}"
        spread = "" if alpha.low is None else f" (95 % {alpha.low:.2f} to {alpha.high:.2f})"
        worst = [f"{slot.slot} {slot.alpha.value:.2f}" for slot in report.slots if slot.alpha.value is not None][
            :_WORST
        ]
        return (
            f"Krippendorff's alpha {alpha.value:.2f}{spread}, {word(alpha.value)}, over {report.turns:,} turns of "
            f"{report.dialogues:,} dialogues that two people or more answered; lowest: {', '.join(worst)}"
        )


def label_quality(workspace: Workspace, rename: Callable[[str], str]) -> LabelQuality:
    """Measured now, on the labels of the workspace.

    Args:
        rename: of names of annotators, also within texts.

    Raises:
        WorkspaceError: nothing was ingested.
        LabelError: the ledger is not one.
    """
    from pipeline.reports.agreement_report import AgreementRequest, workspace_agreement

    fix = "run `semctl ingest-labels` again"
    ledger = renamed(read_json(workspace.label_ledger, error=LabelError, fix=fix, shape=dict[str, Any]), rename)
    who = read_table(workspace.annotations, ANNOTATIONS, columns=["annotator", "dialogue_id"])
    pairs = set(zip(who["annotator"].to_pylist(), who["dialogue_id"].to_pylist(), strict=True))
    severities: dict[str, int] = {}
    codes: dict[str, int] = {}
    if workspace.findings.is_file():
        found = read_table(workspace.findings, FINDINGS, columns=["code", "severity"])
        for severity in found["severity"].to_pylist():
            severities[severity] = severities.get(severity, 0) + 1
        for code in found["code"].to_pylist():
            codes[code] = codes.get(code, 0) + 1
    return LabelQuality(
        people=len({name for name, _ in pairs} - {CORPUS}),
        by_corpus=len({dialogue for name, dialogue in pairs if name == CORPUS}),
        ledger=ledger,
        agreement=workspace_agreement(workspace, AgreementRequest()),
        severities=dict(sorted(severities.items())),
        codes=dict(sorted(codes.items(), key=lambda each: (-each[1], each[0]))),
    )


def renamed(value: Any, rename: Callable[[str], str]) -> Any:
    """A JSON value with every text in it renamed, keys too."""
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, dict):
        return {rename(key): renamed(each, rename) for key, each in value.items()}
    return [renamed(each, rename) for each in value] if isinstance(value, list | tuple) else value
