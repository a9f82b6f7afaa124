"""``semctl ingest-labels``."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.context import JSON_OPTION, RESOLVE, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.labelling.ingest_labels import IngestReport
    from pipeline.workspace import Workspace


def ingest_labels(
    context: typer.Context,
    export: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="JSON export of a Label Studio project, also gzipped.")
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Fetch what changed in this Label Studio project since the last time; may be given several times.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where FILE was exported: users of one server are the same people, whatever export names them.",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Fetch all answers of the project anew.")] = False,
    resolve: Annotated[str | None, RESOLVE] = None,
    requeue: Annotated[
        str | None,
        typer.Option(
            metavar="CODES",
            help="Findings that put a dialogue into labels/requeue.txt: severities and codes, with commas between.",
        ),
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Take labels in: check them, follow the belief states, write the splits D_F and D_P.

    A file adds what is in it. A project is followed: answers edited, skipped or deleted there since the last time are
    replaced or withdrawn here, and verdicts of its review come along. Without either, only the states that the corpus
    itself brought are taken, and, as always, the corrections that `semctl serve --keep-corrections` has kept.

    Example: semctl ingest-labels --project "dresses, round 1"
    """
    from pipeline.labelling.ingest_labels import IngestRequest
    from pipeline.labelling.ingest_labels import ingest_labels as ingest

    workspace, console = opened(context, as_json=as_json)
    workspace.require()
    request = IngestRequest(export, server, tuple(project or ()), full, resolve, requeue)
    report = ingest(workspace, request, progress=console)
    console.result(report, partial(_show, workspace=workspace))


def _show(console: Console, report: IngestReport, workspace: Workspace) -> None:
    counted = report.as_json()
    rows: list[tuple[str, object]] = [
        (name, counted["annotations"][name]) for name in ("received", "accepted", "superseded", "skipped")
    ]
    rows += _quarantined(counted)
    of = " of the corpus" if report.source.page is None else " of the corpus and of the page"
    console.table(
        f"annotations{of}" if report.source.is_corpus else "annotations", ("", ""), rows, caption=_begun(report)
    )
    if report.source.is_corpus and not report.received:
        console.log("nothing to take in: name an export of Label Studio, or --project NAME")
    if counted["page"] is not None:
        kept = [(name.replace("_", " "), count) for name, count in counted["page"].items()]
        console.table("corrections kept by the page", ("", ""), kept)
    if counted["changes"] is not None:
        console.table("since the last ingest", ("", ""), list(counted["changes"].items()))
    if counted["pulled"]:
        columns = ("project", "tasks", "fetched", "deleted", "fetch mode")
        names = ("project", "tasks", "tasks_fetched", "tasks_deleted", "looked_at")
        console.table("projects", columns, [[project[name] for name in names] for project in counted["pulled"]])
    if report.resolved["turns_of_several"] or report.resolved["by_verdict"]:
        _show_resolved(console, report)
    if report.untouched["prelabelled"]:
        _show_untouched(console, report)
    notices = [(name.replace("_", " "), count) for name, count in counted["notices"].items() if count]
    if notices:
        console.table("warnings", ("", ""), notices)
    if counted["notices"]["in_quarantine"]:
        console.log("what was refused, with reasons and details: labels/quarantine.parquet")
    if report.out_of_catalogue:
        console.table("not in the catalogue", ("slot", "value", "times"), report.out_of_catalogue[:10])
    if report.checked.findings:
        _show_findings(console, report, workspace)
    console.table("splits", ("", "D_F dialogues", "turns", "D_P dialogues", "turns"), _splits(report))


def _quarantined(counted: dict[str, Any]) -> list[tuple[str, object]]:
    """What was refused: whole answers, turns of answers of which others count, and lines of such turns."""
    kinds = (("answer", "quarantined"), ("turn", "refused_turns"), ("line", "refused_lines"))
    said = [(kind, sum(counted[name].values()), counted[name]) for kind, name in kinds]
    parts = [f"{number} {kind}{'s' * (number != 1)}" for kind, number, _ in said if number]
    only_answers = parts and all(not number for _, number, _ in said[1:])
    earlier = counted["notices"]["in_quarantine"]
    rows: list[tuple[str, object]] = [("quarantined", said[0][1] if only_answers else ", ".join(parts) or 0)]
    if not parts and earlier:
        rows = [("quarantined", f"none now, {earlier} of earlier exports")]
    return rows + [(f"  {reason}", count) for _, _, reasons in said for reason, count in reasons.items()]


def _begun(report: IngestReport) -> str | None:
    if not report.drafts:
        return None
    people = ", ".join(f"{name} {count}" for name, count in sorted(report.source.drafts.items()) if name)
    return f"begun and not submitted: {report.drafts}" + (f" ({people})" if people else "")


def _show_findings(console: Console, report: IngestReport, workspace: Workspace) -> None:
    from annotate.checks.findings import CODES

    checked = report.checked
    rows = [
        (code, CODES[code].severity, count, checked.dialogues[code], CODES[code].remedy)
        for code, count in checked.findings.items()
    ]
    file = os.path.relpath(workspace.requeue)  # as the next command, run here, takes it
    again = (
        f"{checked.requeue:,} dialogues to label again are in {file}: "
        f"semctl export-for-labelling --dialogues {file} --project NAME"
    )
    columns = ("code", "severity", "count", "dialogues", "what to do")
    console.table("findings; semctl checks shows them", columns, rows, caption=again if checked.requeue else None)


def _show_resolved(console: Console, report: IngestReport) -> None:
    counted = report.resolved
    rows = [
        ("answered by several", counted["turns_of_several"]),
        ("  all alike", counted["agreed"]),
        (f"  decided by {counted['policy']}", counted["by_policy"]),
        ("  in dispute", counted["disputed"]),
        ("decided by a reviewer", counted["by_verdict"]),
    ]
    caption = (
        f"in dispute in {counted['disputed_dialogues']} dialogues; a reviewer decides: semctl adjudicate --project NAME"
    )
    console.table("user turns", ("", ""), rows, caption=caption if counted["disputed"] else None)
    if counted["annotators"]:
        people = counted["annotators"].items()
        rates = [(who, f"{said['sensitivity']:.1%}", f"{said['specificity']:.3%}") for who, said in people]
        console.table("annotators, as their answers tell", ("", "marks what is there", "and nothing else"), rates)


def _show_untouched(console: Console, report: IngestReport) -> None:
    rows = [
        (
            name,
            counted["prelabelled"],
            counted["untouched"],
            f"{counted['rate']:.0%}",
            counted["seconds_per_turn_untouched"],
            counted["seconds_per_turn_changed"],
        )
        for name, counted in report.untouched["annotators"].items()
    ]
    columns = ("annotator", "answers", "untouched", "rate", "seconds a turn, untouched", "seconds a turn, changed")
    console.table("answers that started from a pre-label", columns, rows)


def _splits(report: IngestReport) -> list[tuple[object, ...]]:
    full, partial = report.d_f.by_split, report.d_p.by_split
    none = {"dialogues": 0, "turns": 0}
    names = sorted({*full, *partial}, key=lambda name: (("train", "valid", "test", name).index(name), name))
    rows: list[tuple[object, ...]] = [
        (name, *full.get(name, none).values(), *partial.get(name, none).values()) for name in names
    ]
    return [*rows, ("all", report.d_f.dialogues, report.d_f.turns, report.d_p.dialogues, report.d_p.turns)]
