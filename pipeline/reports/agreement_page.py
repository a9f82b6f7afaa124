"""The agreement report as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from annotate.agreement.report import GOOD, TENTATIVE, AgreementReport, Estimate, SlotScore, ValueScore, word
from pipeline.reports.agreement_report import AgreementRequest
from pipeline.reports.agreement_turns import TurnShown, differing_turns, example_texts
from pipeline.reports.pages import render
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import write_atomic

__all__ = ["render_page", "write_page"]

_LEAST_SAID = 5
_MOST_PAIRS = 40


def write_page(path: Path, workspace: Workspace, report: AgreementReport, request: AgreementRequest) -> None:
    """Write the page of a report, with the texts of the turns it shows.

    Raises:
        UsageError: the file cannot be written.
    """
    apart = tuple(each.dialogue_id for each in report.worst if each.differing_turns)
    page = render_page(
        report,
        title=workspace.root.name,
        turns=differing_turns(workspace, apart, request),
        examples=example_texts(workspace, (*report.confusions, *report.omissions)),
    )
    try:
        write_atomic(path, page)
    except OSError as problem:
        raise UsageError(f"cannot write the page: {problem.strerror}", where=path) from None


def render_page(
    report: AgreementReport, *, title: str, turns: dict[str, list[TurnShown]], examples: dict[tuple[str, int], str]
) -> str:
    """The page as text: the same report gives the same bytes.

    Args:
        title: of the workspace.
        turns: dialogue id -> its turns with different answers.
        examples: (dialogue id, turn) -> what the user says.
    """
    said = sum(slot.said for slot in report.slots)
    everything = SlotScore("all slots", report.alpha, report.f1, report.turns, said, report.undefined)
    often = [value for value in report.values if value.said >= _LEAST_SAID and value.alpha.value is not None]
    return render(
        "agreement.html",
        title=title,
        report=report,
        names=sorted(each.annotator for each in report.annotators),
        sentence=_sentence(report),
        slots=(everything, *report.slots, replace(report.new_topic, slot="new topic")),
        often=len(often),
        worst_values=sorted(often, key=_worst_first)[: len(report.worst) or 20],
        turns=turns,
        examples=examples,
        settings=[f"{name} {value}" for name, value in report.settings.items() if value is not None],
        good=GOOD,
        tentative=TENTATIVE,
        least_said=_LEAST_SAID,
        most_pairs=_MOST_PAIRS,
        word=word,
        figure=_figure,
        percent=_percent,
        between=_between,
        shortened=lambda text: text if len(text) <= 180 else f"{text[:179]}…",
    )


def _worst_first(value: ValueScore) -> tuple[float, int]:
    return value.alpha.value or 0.0, -value.said


def _sentence(report: AgreementReport) -> str:
    if report.undefined is not None:
        return f"There is no overall alpha: {report.undefined}."
    weak = [slot.slot for slot in report.slots if word(slot.alpha.value) == "poor"]
    near = [slot.slot for slot in report.slots if word(slot.alpha.value) == "tentative"]
    parts = [f"Poor: {', '.join(weak)}."] if weak else ["No slot is poor."]
    parts += [f"Tentative: {', '.join(near)}."] if near else []
    if report.confusions:
        first = report.confusions[0]
        parts.append(f"Mixed up most: {first.slot}, {first.first} against {first.second} ({first.count:,} times).")
    return " ".join(parts)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no minus before 0.00


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _between(found: Estimate, shown: Callable[[float | None], str] = _figure) -> str:
    return "" if found.low is None or found.high is None else f"{shown(found.low)} to {shown(found.high)}"
