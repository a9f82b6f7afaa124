"""``semctl audit``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.labelling.audit import AuditReport, Suspect

_SAYS = {
    "missing": "{value} is not marked",
    "marked": "{value} is marked",
    "kept": "{value} is kept",
    "ended": "{value} is given up",
}


def audit(
    context: typer.Context,
    top: Annotated[int, typer.Option("--top", metavar="N", help="How many turns; their dialogues are the list.")] = 50,
    folds: Annotated[
        int, typer.Option(help="Parts of the labelled dialogues; each is read by what the others teach.")
    ] = 5,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the list; else audit.txt in labelling/.")
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show the labels that are probably wrong, the most improbable first, and list their dialogues.

    Each label is held against what the labels of other dialogues teach, turn by turn, after the labelled state before
    it; beside it stand the errors and warnings of `checks`. No label is changed.

    Example: semctl audit --top 50, then
    semctl export-for-labelling --project "second look" --dialogues labelling/audit.txt --prelabel current
    """
    from pipeline.labelling.audit import AuditRequest
    from pipeline.labelling.audit import audit as audit_labels

    workspace, console = opened(context, as_json=as_json)
    report = audit_labels(workspace, AuditRequest(top, folds, out), progress=console)
    console.result(report, _show)


def _show(console: Console, report: AuditReport) -> None:
    if report.taught_by:
        how = f"held against what at least {report.taught_by:,} other labelled dialogues teach"
    else:
        how = "too few labelled dialogues to learn from: held against the rules of the lexicon alone"
    console.say(f"{report.turns:,} labelled turns of {report.dialogues:,} dialogues, {how}")
    if not report.rows:
        console.say("no label is improbable")
        return
    console.table(
        "the most improbable labels",
        ("", "dialogue", "turn", "said", "label", "read as", "likely", "checks", "by"),
        [_line(number, row) for number, row in enumerate(report.rows, start=1)],
        caption="likely: how likely the label is, to the tracker",
    )
    dialogues = f"{len(report.listed):,} dialogue{'s' if len(report.listed) > 1 else ''}"
    console.say(f"{dialogues} in the list")
    console.say(f"Next: semctl export-for-labelling --project NAME --dialogues {shlex.quote(str(report.file))}")


def _line(number: int, row: Suspect) -> tuple[object, ...]:
    doubt = row.doubt
    value = f"{'!' if doubt.polarity == 'dislike' else ''}{doubt.slot}={doubt.value}"
    return (
        number,
        row.dialogue_id,
        row.turn,
        row.text,
        _SAYS[doubt.how].format(value=value),
        f"{doubt.slot}={', '.join(row.reads)}" if row.reads else f"no {doubt.slot}",
        f"{doubt.probability:.3f}",
        ", ".join(row.findings),
        ", ".join(row.annotators),
    )
