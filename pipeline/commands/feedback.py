"""``semctl feedback``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.context import JSON_OPTION, RESOLVE, opened


def feedback(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the packs go; made when it is not there.")],
    annotator: Annotated[str | None, typer.Option(metavar="NAME", help="One annotator's pack only.")] = None,
    resolve: Annotated[str | None, RESOLVE] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Write a pack per annotator, a page and a JSON file: the turns where they and the final label differ.

    Example: semctl feedback packs --annotator ann@shop.example
    """
    from pipeline.reports.feedback import FeedbackRequest, write_feedback

    workspace, console = opened(context, as_json=as_json)
    packs = write_feedback(workspace, FeedbackRequest(folder, annotator, resolve), progress=console)
    if as_json:
        console.json({"packs": [pack.as_json() for pack in packs]})
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
