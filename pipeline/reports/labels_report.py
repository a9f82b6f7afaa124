"""``semctl report --labels``: how good the labels of a workspace are, and how far they reach, on one page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from annotate.agreement.report import GOOD, TENTATIVE, AgreementReport, ComparisonScore, ConfusionCount, word
from annotate.checks.findings import CODES
from pipeline.labelling.checks import FoundAgain, found_again
from pipeline.labelling.progress import LabellingProgress
from pipeline.reports.agreement_report import AgreementRequest, slot_scores, workspace_agreement
from pipeline.reports.next_labels import NextLabels, next_labels
from pipeline.reports.pages import render
from pipeline.workspace import Workspace
from schemas.errors import LabelError, WorkspaceError
from schemas.files import read_json, taken_apart
from schemas.progress import Progress, SilentProgress
from schemas.safe_text import shortened
from schemas.tables import ANNOTATIONS, QUARANTINE, read_table

if TYPE_CHECKING:
    from annotate.assignment.progress_report import ProgressReport, ProgressRow
    from pipeline.corpus.stats import WorkspaceStats

_AGAIN = "run `semctl ingest-labels` again"
_SHOWN = 12
_LONGEST = 300


class Refused(NamedTuple):
    """What was refused for one reason."""

    reason: str
    times: int
    example: str  # what exactly, of the first


@dataclass(frozen=True)
class LabelsReport:
    """All that is known of the labels of a workspace."""

    workspace: str  # its folder's name
    ledger: Mapping[str, Any]  # of the last ingest, see :meth:`pipeline.labelling.ingest_report.IngestReport.ledger`
    stats: WorkspaceStats
    agreement: AgreementReport
    quarantine: tuple[Refused, ...]  # of all exports, the commonest reason first
    findings: FoundAgain
    progress: ProgressReport | None  # None where nothing was exported for labelling
    requeue: tuple[str, ...]  # dialogues to label again, the worst first
    next: NextLabels
    rename: Callable[[str], str]  # an annotator's name -> what is shown

    @property
    def lines(self) -> tuple[str, ...]:
        """What the page says, in short."""
        full, partial = self.ledger["d_f"], self.ledger["d_p"]
        alpha = self.agreement.alpha.value
        agreed = f"alpha {alpha:.2f}, {word(alpha)}" if alpha is not None else f"no alpha: {self.agreement.undefined}"
        return (
            f"D_F: {full['dialogues']:,} dialogues, {full['turns']:,} turns; D_P: {partial['dialogues']:,}, "
            f"{partial['turns']:,}; agreement: {agreed}",
            f"in quarantine: {sum(each.times for each in self.quarantine):,}; findings: "
            f"{sum(self.findings.counts.values()):,}, {self.findings.errors:,} of them errors; to label again: "
            f"{len(self.requeue):,}",
        )

    def as_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "kind": "labels",
            "workspace": self.workspace,
            "ledger": dict(self.ledger),
            "coverage": self.stats.as_json(),
            "agreement": self.agreement.as_json(),
            "quarantine": [each._asdict() for each in self.quarantine],
            "checks": self.findings.as_json(),
            "progress": None if self.progress is None else self.progress.as_json(),
            "requeue": list(self.requeue),
            "next": self.next.as_json(),
        }


def labels_report(workspace: Workspace, *, names: bool = True, progress: Progress | None = None) -> LabelsReport:
    """Collect what the last ingest left: agreement, coverage, what was refused, what the checks found, who did what.

    Args:
        workspace: whose labels.
        names: False gives annotators numbers, in the order of their names, wherever they would be named.
        progress: shown what takes long.

    Raises:
        WorkspaceError: nothing was ingested yet.
        LabelError: the ledger is not one.
    """
    from pipeline.corpus.stats import workspace_stats

    shown = progress or SilentProgress()
    ledger = _ledger(workspace)
    labelling = _labelling(workspace)
    rename = _same if names else _numbered(workspace, labelling)
    agreement = workspace_agreement(workspace, AgreementRequest(), progress=shown)
    return LabelsReport(
        workspace=workspace.root.name,
        ledger=_renamed_keys(ledger, rename),
        stats=workspace_stats(workspace),
        agreement=_agreement(agreement, rename),
        quarantine=_quarantine(workspace, rename),
        findings=_findings(workspace, rename),
        progress=labelling and _progress(labelling, rename, names=names),
        requeue=_requeue(workspace),
        next=next_labels(workspace, (), shown),
        rename=rename,
    )


def labels_page(report: LabelsReport) -> str:
    """The page as text: the same report gives the same bytes."""
    return render(
        "labels_report.html",
        report=report,
        ledger=report.ledger,
        slots=slot_scores(report.agreement),
        codes=CODES,
        good=GOOD,
        tentative=TENTATIVE,
        word=word,
        shown=_SHOWN,
        figure=lambda value: "–" if value is None else f"{round(value, 2) + 0.0:.2f}".replace("-", "−"),
        percent=lambda value: "–" if value is None else f"{100 * value:.0f}\u00a0%",
        points=lambda value: f"{100 * value:+.1f}".replace("-", "−"),
    )


def _ledger(workspace: Workspace) -> dict[str, Any]:
    path = workspace.require().label_ledger
    if not path.is_file():
        raise WorkspaceError("nothing was ingested yet", where=path, fix="run `semctl ingest-labels` first")
    found = read_json(path, error=LabelError, fix=_AGAIN, shape=dict[str, Any])
    with taken_apart(path, error=LabelError, what="not a ledger of labels", fix=_AGAIN):
        for split in ("d_f", "d_p"):
            int(found[split]["dialogues"]), int(found[split]["turns"])
        for name in ("received", "accepted", "superseded", "skipped", "quarantined"):
            int(found["annotations"][name])
        dict(found["notices"]), list(found["out_of_catalogue"]), dict(found["by_split"])
        dict(found["refused_turns"]), dict(found["refused_lines"])
        dict(found["resolved"]), dict(found["untouched"])
    return found


def _same(name: str) -> str:
    return name


def _numbered(workspace: Workspace, labelling: ProgressReport | None) -> Callable[[str], str]:
    """Replaces every annotator's name, also within a text, by a number."""
    found = read_table(workspace.annotations, ANNOTATIONS, columns=["annotator"])["annotator"].unique().to_pylist()
    assigned = [row.annotator for row in labelling.rows if row.annotator is not None] if labelling else []
    people = sorted({*found, *assigned} - {"corpus"})
    known = {name: f"annotator {number}" for number, name in enumerate(people, start=1)}
    if not known:
        return _same
    longest_first = sorted(known, key=len, reverse=True)
    every = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first))
    return lambda text: every.sub(lambda hit: known[hit.group()], text)


def _renamed_keys(value: Any, rename: Callable[[str], str]) -> Any:
    """A JSON value with every text in it renamed, keys too."""
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, dict):
        return {rename(key): _renamed_keys(each, rename) for key, each in value.items()}
    return [_renamed_keys(each, rename) for each in value] if isinstance(value, list) else value


def _agreement(found: AgreementReport, rename: Callable[[str], str]) -> AgreementReport:
    def both(each: ComparisonScore) -> ComparisonScore:
        return replace(each, first=rename(each.first), second=rename(each.second))

    def mixed(each: ConfusionCount) -> ConfusionCount:  # first and second are what was said there
        examples = (one._replace(first=rename(one.first), second=rename(one.second)) for one in each.examples)
        return replace(each, examples=tuple(examples))

    return replace(
        found,
        annotators=tuple(replace(each, annotator=rename(each.annotator)) for each in found.annotators),
        pairs=tuple(map(both, found.pairs)),
        verdicts=tuple(map(both, found.verdicts)),
        confusions=tuple(map(mixed, found.confusions)),
        omissions=tuple(map(mixed, found.omissions)),
    )


def _quarantine(workspace: Workspace, rename: Callable[[str], str]) -> tuple[Refused, ...]:
    if not workspace.quarantine.is_file():
        return ()
    rows = read_table(workspace.quarantine, QUARANTINE, columns=["reason", "detail"]).to_pylist()
    counts = Counter(row["reason"] for row in rows)
    first = {row["reason"]: row["detail"] for row in reversed(rows)}
    order = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return tuple(Refused(name, counts[name], rename(shortened(first[name], _LONGEST))) for name in order)


def _findings(workspace: Workspace, rename: Callable[[str], str]) -> FoundAgain:
    found = found_again(workspace, most=_SHOWN)
    shown = [
        {
            **row,
            "annotators": [rename(name) for name in row["annotators"]],
            "annotation_ids": [],
            "detail": rename(row["detail"]),
            "text": None if row["text"] is None else shortened(row["text"], _LONGEST),
        }
        for row in found.shown
    ]
    return replace(found, shown=shown)


def _labelling(workspace: Workspace) -> ProgressReport | None:
    if not workspace.labelling.is_dir():
        return None
    try:
        return LabellingProgress(workspace).as_ingested("not asked of a server")
    except LabelError:  # nothing was exported: the corpus brought its labels, or they were a file
        return None


def _progress(found: ProgressReport, rename: Callable[[str], str], *, names: bool) -> ProgressReport:
    def shown(row: ProgressRow) -> ProgressRow:
        annotator = None if row.annotator is None else rename(row.annotator)
        place = row.place or ""
        if Path(place).is_absolute():  # where it lies on this machine says nothing elsewhere
            place = Path(place).name
        elif not names and row.annotator is not None:  # a part of a project is named after its annotator
            place = f"batch {row.batch}"
        return replace(row, annotator=annotator, place=place)

    return replace(found, rows=tuple(map(shown, found.rows)))


def _requeue(workspace: Workspace) -> tuple[str, ...]:
    if not workspace.requeue.is_file():
        return ()
    lines: Sequence[str] = workspace.requeue.read_text(encoding="utf-8", errors="replace").split("\n")
    return tuple(line for line in lines if line)
