"""``semctl adjudicate``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, PROJECT, RESOLVE, TO_FILE, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.labelling.adjudicate import AdjudicateResult

_MOST_SHOWN = 10


def adjudicate(
    context: typer.Context,
    project: Annotated[str | None, PROJECT] = None,
    to_file: Annotated[Path | None, TO_FILE] = None,
    min_disagreement: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Every turn on which at least this share of its annotators differs from the commonest answer, decided "
            "or not; 0: any difference. Else the turns that nothing has decided.",
        ),
    ] = None,
    resolve: Annotated[str | None, RESOLVE] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Put the turns that annotators answer differently in front of a reviewer, whose verdicts win.

    Run again, it adds only turns newly in dispute. Verdicts come back with ingest-labels.

    Example: semctl adjudicate --project "dresses, review"
    """
    from pipeline.labelling.adjudicate import AdjudicateRequest
    from pipeline.labelling.adjudicate import adjudicate as ask

    workspace, console = opened(context, as_json=as_json)
    workspace.require()
    request = AdjudicateRequest(min_disagreement, resolve, project=project, to_file=to_file)
    result = ask(workspace, request, progress=console)
    console.result(result, _show)


def _show(console: Console, result: AdjudicateResult) -> None:
    to = result.destination
    rows: list[tuple[str, object]] = [
        ("turns for a reviewer", result.disputed),
        ("  in dialogues", result.dialogues),
        ("turns added", result.turns_new),
        ("tasks added", result.tasks_new),
        ("asked before, still open", result.waiting),
        ("asked before, decided", result.decided),
        ("asked before, left open by the reviewer", result.left_open),
        ("asked before, answers changed after the verdict", result.outdated),
        ("asked before, no longer in dispute", len(result.vanished)),
    ]
    if result.batch is not None:
        rows.append(("batch", f"labelling/batch-{result.batch:04d}"))
    if result.url:
        rows.append(("review at", result.url))
    source = f"--project {shlex.quote(to.project)}" if to.project else "EXPORT.json"
    caption = f"Next: review them, then semctl ingest-labels {source}" if result.turns_new or result.waiting else None
    console.table(f"review ({result.policy}): {to}", ("", ""), rows, caption=caption)
    for what, turns in (
        ("no longer in dispute, a verdict would still count", result.vanished),
        ("answers changed since this was asked", result.changed),
    ):
        for one in turns[:_MOST_SHOWN]:
            console.log(f"{what}: {one.dialogue_id}, turn {one.turn} (task {one.uid})")
        if len(turns) > _MOST_SHOWN:
            console.log(f"{what}: {len(turns) - _MOST_SHOWN:,} more; --json names them all")
    if result.images_problem:
        console.log(f"warning: this Label Studio cannot show the images ({result.images_problem})")
