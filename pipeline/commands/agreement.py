"""``semctl agreement``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pipeline.context import JSON_OPTION, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotate.agreement.coefficients import Distance
    from annotate.agreement.report import AgreementReport, ComparisonScore, Estimate
    from pipeline.console import Console

_SHOWN = 8


def agreement(
    context: typer.Context,
    min_alpha: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Exit with 3 where overall alpha is below, as 0.67.")
    ] = None,
    annotators: Annotated[str | None, typer.Option(metavar="A,B", help="Compare only these; else everybody.")] = None,
    split: Annotated[str | None, typer.Option(help="Only dialogues of train, valid or test; else all.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page to read and print.")] = None,
    distance: Annotated[
        str, typer.Option(help="Of alpha: nominal, or masi, where overlapping sets agree in part.")
    ] = "nominal",
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples of the dialogues for the intervals; 0: none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = 0,
    worst: Annotated[int, typer.Option(min=0, help="How many dialogues and confusions the page and --json list.")] = 20,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure how far annotators agree: by slot, value, dialogue and annotator, with 95 % intervals.

    Compared are turns that two people or more answered. Alpha from 0.8 is good, from 0.667 tentative, else poor.

    Example: semctl agreement --min-alpha 0.67 --html agreement.html
    """
    from pipeline.reports.agreement_report import AgreementRequest, check_alpha, workspace_agreement, write_page
    from schemas.errors import CheckError

    workspace, console = opened(context, as_json=as_json)
    names = tuple(dict.fromkeys(name.strip() for name in (annotators or "").split(",") if name.strip()))
    request = AgreementRequest(names, split, cast("Distance", distance), bootstrap, seed, worst)
    report = workspace_agreement(workspace, request, progress=console)
    if html is not None:
        write_page(html, workspace, report, request)
        console.log(f"written: {html}")
    problem = None
    if min_alpha is not None:
        try:
            check_alpha(report, min_alpha)
        except CheckError as raised:
            problem = raised
    if not as_json:
        _show(console, report)
        if problem is not None:
            raise problem
        return
    found = report.as_json()
    if min_alpha is not None:
        found["check"] = {"min_alpha": min_alpha, "held": problem is None}
    console.json(found)
    if problem is not None:  # raised, it would print a second object
        console.log(f"error: {problem}")
        raise typer.Exit(problem.exit_code)


def _show(console: Console, report: AgreementReport) -> None:
    if not report.turns:
        console.say(f"nothing to compare: {report.undefined}")
    else:
        _show_slots(console, report)
        _show_people(console, report)
        _show_where(console, report)
    for what, count in report.left_out.items():
        console.log(f"left out: {count:,} {what}")


def _show_slots(console: Console, report: AgreementReport) -> None:
    from annotate.agreement.report import GOOD, TENTATIVE, word
    from pipeline.reports.agreement_report import slot_scores

    rows = [
        [
            slot.slot,
            *_interval(slot.alpha),
            word(slot.alpha.value),
            _share(slot.f1),
            slot.n,
            slot.said,
            slot.undefined or "",
        ]
        for slot in slot_scores(report)
    ]
    console.table(
        f"Agreement on {report.turns:,} turns of {report.dialogues:,} dialogues",
        ["slot", "alpha", "95 %", "", "F1", "turns", "times said", ""],
        rows,
        caption=f"Krippendorff's alpha: good from {GOOD:g}, tentative from {TENTATIVE:g}, else poor "
        f"(Krippendorff 2004).\nPairs of answers that say the same of every slot: {_share(report.same, spread=True)}; "
        f"same state (joint goal accuracy): {_share(report.joint_goal_accuracy, spread=True)}.",
    )


def _show_people(console: Console, report: AgreementReport) -> None:
    console.table(
        "Each annotator against the others",
        ["", "alpha", "95 %", "F1", "precision", "recall", "same state", "turns", "unsure"],
        [
            [
                each.annotator,
                *_interval(each.alpha),
                *(_share(part) for part in (each.f1, each.precision, each.recall, each.joint_goal_accuracy)),
                each.turns,
                each.unreadable,
            ]
            for each in report.annotators
        ],
        caption="precision: of what they mark, the other marks it, too; recall: of what the other marks, they do.",
    )
    if len(report.pairs) > 1:
        _show_comparisons(console, "Pairs", report.pairs)
    if report.verdicts:
        _show_comparisons(console, "Each annotator against the verdicts", report.verdicts)
    if report.prelabels:
        console.table(
            "Pairs of answers that both started from a pre-label, one of them, neither",
            ["pre-label", "F1", "95 %", "the same", "95 %", "pairs"],
            [
                [each.first, *_interval(each.f1, _whole), *_interval(each.same, _whole), each.turns]
                for each in report.prelabels
            ],
        )


def _show_comparisons(console: Console, title: str, every: tuple[ComparisonScore, ...]) -> None:
    from annotate.agreement.report import word

    rows = every[:_SHOWN]
    console.table(
        title if len(every) == len(rows) else f"{title}: the {len(rows)} of {len(every):,} that agree least",
        ["", "kappa", "95 %", "", "F1", "the same", "same state", "turns"],
        [
            [
                f"{each.first}, {each.second}" if each.second else each.first,
                *_interval(each.kappa),
                word(each.kappa.value),
                *(_share(part) for part in (each.f1, each.same, each.joint_goal_accuracy)),
                each.turns,
            ]
            for each in rows
        ],
    )


def _show_where(console: Console, report: AgreementReport) -> None:
    for title, confusions in (
        ("Mixed up most", report.confusions),
        ("Said by one, left out by the other", report.omissions),
    ):
        if confusions:
            console.table(
                title,
                ["slot", "one says", "the other says", "times", "for example"],
                [
                    [each.slot, each.first, each.second, each.count, f"{example.dialogue_id} turn {example.turn}"]
                    for each in confusions[:_SHOWN]
                    for example in each.examples[:1]
                ],
            )
    apart = [each for each in report.worst if each.differing_turns]
    if apart:
        console.table(
            "Dialogues agreed on least",
            ["dialogue", "alpha", "F1", "turns", "of these differ"],
            [
                [each.dialogue_id, _figure(each.alpha), _whole(each.f1), each.turns, each.differing_turns]
                for each in apart[:_SHOWN]
            ],
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no minus before 0.00


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _interval(found: Estimate, shown: Callable[[float | None], str] = _figure) -> tuple[str, str]:
    spread = "" if found.low is None or found.high is None else f"{shown(found.low)} to {shown(found.high)}"
    return shown(found.value), spread


def _share(found: Estimate, *, spread: bool = False) -> str:
    value, between = _interval(found, _whole)
    return f"{value} ({between})" if spread and between else value
