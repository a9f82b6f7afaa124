"""``semctl export-for-labelling``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.context import JSON_OPTION, Context
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.export_for_labelling import ExportResult

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add ``export-for-labelling``."""
    app.command("export-for-labelling")(export_for_labelling)


def export_for_labelling(
    context: typer.Context,
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help="Label Studio project, made when it is not there.")
    ] = None,
    to_file: Annotated[
        Path | None, typer.Option("--to-file", metavar="FILE", help="Write a JSON file that Label Studio imports.")
    ] = None,
    dialogues: Annotated[
        Path | None, typer.Option("--dialogues", metavar="FILE", help="One dialogue id per line, in this order.")
    ] = None,
    limit: Annotated[int | None, typer.Option("-n", metavar="N", help="At most so many dialogues; else all.")] = None,
    window: Annotated[
        int, typer.Option("--window", metavar="W", min=0, max=100, help="User turns in one task; 0: what fits a page.")
    ] = 0,
    split: Annotated[str, typer.Option("--split", help="train, valid, test or all.")] = "train",
    seed: Annotated[int, typer.Option("--seed", help="Of the order in which -n counts; a larger N adds.")] = 0,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Put dialogues in front of annotators: into a Label Studio project, or into a file.

    Example: semctl export-for-labelling --project "dresses, round 1" -n 100
    """
    from pipeline.export_for_labelling import export_to_file, export_to_project
    from pipeline.labelling_selection import Selection

    given: Context = context.obj
    console = given.console(as_json=as_json)
    selection = Selection(named=dialogues, limit=limit, split=split, seed=seed)
    workspace = given.workspace.require()
    if (project is None) == (to_file is None):
        raise UsageError("say where to: --project NAME or --to-file FILE", fix="one of the two")
    if project is not None:
        result = export_to_project(workspace, project, selection, window=window, progress=console)
    else:
        assert to_file is not None
        result = export_to_file(workspace, to_file, selection, window=window, progress=console)
    if as_json:
        console.json(_as_json(result))
    else:
        _show(console, result, workspace.root)


def _as_json(result: ExportResult) -> dict[str, Any]:
    to = result.destination
    place = {"project": to.project, "project_id": to.project_id, "url": result.url} if to.project else {"file": to.file}
    return {
        **place,
        "tasks_new": result.tasks_new,
        "tasks_present": result.tasks_present,
        "dialogues": result.dialogues,
        "user_turns": result.user_turns,
        "window": result.window,
        "batch": result.batch,
        "values_typed": result.values_typed,
        "pictures": dict(result.pictures),
        "pictures_problem": result.pictures_problem,
        "doubles_removed": result.doubles_removed,
        "outdated": result.outdated,
    }


def _show(console: Console, result: ExportResult, root: Path) -> None:
    rows: list[tuple[str, object]] = [
        ("tasks new", result.tasks_new),
        ("tasks already there", result.tasks_present),
        ("dialogues", result.dialogues),
        ("user turns", result.user_turns),
        ("user turns in a task, at most", result.window),
        ("pictures shown", result.pictures["shown"]),
        ("pictures missing", result.pictures["missing"]),
        ("rare values, to be typed", result.values_typed),
    ]
    if result.doubles_removed:
        rows.append(("doubled tasks of an interrupted run, removed", result.doubles_removed))
    if result.batch is not None:
        rows.append(("batch", f"labelling/batch-{result.batch:04d}"))
    if result.url:
        rows.append(("label at", result.url))
    to = result.destination
    source = f"--project {shlex.quote(to.project)}" if to.project else "EXPORT.json"
    console.table(f"exported to {to}", ("", ""), rows, caption=f"when labelled: semctl ingest-labels {source}")
    if to.file and result.batch is not None:
        console.log(
            f"to import it by hand: a project with labelling/batch-{result.batch:04d}/label_config.xml, and for the "
            f"pictures a Local storage of {root / 'labelling' / 'files' / 'pictures'}"
        )
    if result.outdated:
        console.log(f"warning: {result.outdated} tasks of the project show an older wording of their dialogue")
    if result.pictures_problem:
        console.log(
            f"warning: this Label Studio cannot show the pictures ({result.pictures_problem}); run it with "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root / 'labelling' / 'files'} on this machine"
        )
