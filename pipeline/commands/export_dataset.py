"""``semctl export-dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.export_model import show_export
from pipeline.context import JSON_OPTION, LICENCE, PUBLIC, PUSH, opened


def export_dataset(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an earlier export to replace.")],
    with_names: Annotated[
        bool, typer.Option("--with-names", help="Leave annotators' names in; else annotator-1, annotator-2, ...")
    ] = False,
    licence: Annotated[str | None, LICENCE] = None,
    push: Annotated[str | None, PUSH] = None,
    public: Annotated[bool, PUBLIC] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Write the labels as a dataset: D_F, D_P, dialogues, catalogue, ontology, guideline, agreement, lineage, card.

    `datasets.load_dataset(DIR, "D_F")` reads it; croissant.json describes it to other tools.

    Example: semctl -w shop export-dataset coats-labels
    """
    from pipeline.sharing.export_dataset import ExportDatasetRequest
    from pipeline.sharing.export_dataset import export_dataset as write

    workspace, console = opened(context, as_json=as_json)
    request = ExportDatasetRequest(folder, names=with_names, licence=licence, push=push, public=public)
    console.result(write(workspace, request, progress=console), show_export)
