"""``semctl adjudicate`` and ``semctl feedback``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.context import JSON_OPTION, Context
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.labelling.adjudicate import AdjudicateResult

__all__ = ["register"]

_MOST_SHOWN = 10
_RESOLVE = typer.Option(
    "--resolve",
    metavar="POLICY",
    help="Where annotators differ: majority, adjudicated or dawid-skene; else what semctl.toml says.",
)


def register(app: typer.Typer) -> None:
    """Add ``adjudicate`` and ``feedback``."""
    app.command("adjudicate")(adjudicate)
    app.command("feedback")(feedback)


def adjudicate(
    context: typer.Context,
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help="Review project, made when it is not there.")
    ] = None,
    to_file: Annotated[
        Path | None, typer.Option("--to-file", metavar="FILE", help="Write a JSON file that Label Studio imports.")
    ] = None,
    min_disagreement: Annotated[
        float | None,
        typer.Option(
            "--min-disagreement",
            metavar="SHARE",
            help="Every turn on which at least this share of its annotators differs from the commonest answer, decided "
            "or not; 0: any difference. Else the turns that nothing has decided.",
        ),
    ] = None,
    resolve: Annotated[str | None, _RESOLVE] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Put the turns that annotators answer differently in front of a reviewer, whose verdicts win.

    Run again, it adds only turns newly in dispute. Verdicts come back with ingest-labels.

    Example: semctl adjudicate --project "dresses, review"
    """
    from pipeline.labelling.adjudicate import adjudicate_to_file, adjudicate_to_project

    given: Context = context.obj
    console = given.console(as_json=as_json)
    workspace = given.workspace.require()
    if (project is None) == (to_file is None):
        raise UsageError("say where to: --project NAME or --to-file FILE", fix="one of the two")
    if project is not None:
        result = adjudicate_to_project(
            workspace, project, min_disagreement=min_disagreement, resolve_by=resolve, progress=console
        )
    else:
        assert to_file is not None
        result = adjudicate_to_file(
            workspace, to_file, min_disagreement=min_disagreement, resolve_by=resolve, progress=console
        )
    if as_json:
        console.json(_as_json(result))
    else:
        _show(console, result)


def _as_json(result: AdjudicateResult) -> dict[str, Any]:
    to = result.destination
    place = {"project": to.project, "project_id": to.project_id, "url": result.url} if to.project else {"file": to.file}
    named = {
        name: [{"dialogue_id": one.dialogue_id, "turn": one.turn, "uid": one.uid} for one in turns]
        for name, turns in (("vanished", result.vanished), ("changed", result.changed))
    }
    return {
        **place,
        "policy": result.policy,
        "disputed": result.disputed,
        "dialogues": result.dialogues,
        "tasks_new": result.tasks_new,
        "turns_new": result.turns_new,
        "waiting": result.waiting,
        "decided": result.decided,
        "left_open": result.left_open,
        "outdated": result.outdated,
        **named,
        "batch": result.batch,
        "images_problem": result.images_problem,
    }


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


def feedback(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the packs go; made when it is not there.")],
    annotator: Annotated[
        str | None, typer.Option("--annotator", metavar="NAME", help="One annotator's pack only.")
    ] = None,
    resolve: Annotated[str | None, _RESOLVE] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Write a pack per annotator, a page and a JSON file: the turns where they and the final label differ.

    Example: semctl feedback packs --annotator ann@shop.example
    """
    from pipeline.reports.feedback import write_feedback

    given: Context = context.obj
    console = given.console(as_json=as_json)
    packs = write_feedback(given.workspace.require(), folder, annotator=annotator, resolve_by=resolve, progress=console)
    if as_json:
        console.json(
            {
                "packs": [
                    {
                        "annotator": pack.feedback.annotator,
                        "answered": pack.feedback.answered,
                        "compared": pack.feedback.compared,
                        "same": pack.feedback.same,
                        "undecided": pack.feedback.undecided,
                        "differences": len(pack.feedback.differences),
                        "page": str(pack.page),
                        "data": str(pack.data),
                    }
                    for pack in packs
                ]
            }
        )
        return
    rows = [
        (f.annotator, f.answered, f.compared, f.compared - f.same, f.undecided, pack.page.name)
        for pack in packs
        for f in (pack.feedback,)
    ]
    columns = ("annotator", "turns answered", "compared", "differ", "undecided", "page")
    console.table(f"packs in {folder}", columns, rows)
    if not packs:
        console.log("nobody has answered anything yet")
