"""``semctl export-model``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, LICENCE, PUBLIC, PUSH, RUN, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.sharing.folders import Export


def export_model(
    context: typer.Context,
    run: Annotated[str, RUN],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an earlier export to replace.")],
    without_products: Annotated[
        bool, typer.Option("--without-products", help="No catalogue: products are given when it is loaded.")
    ] = False,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Also product_vectors.parquet, for a vector store.")
    ] = False,
    licence: Annotated[str | None, LICENCE] = None,
    push: Annotated[str | None, PUSH] = None,
    public: Annotated[bool, PUBLIC] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Write a trained model as a folder that ranks without this workspace: weights, settings, catalogue, card.

    `semantic_model.load(DIR)` gives it back in Python.

    Example: semctl -w shop export-model latest coats-ranker --licence apache-2.0
    """
    from pipeline.sharing.export_model import ExportModelRequest
    from pipeline.sharing.export_model import export_model as write

    workspace, console = opened(context, as_json=as_json)
    request = ExportModelRequest(
        folder, run, products=not without_products, vectors=vectors, licence=licence, push=push, public=public
    )
    console.result(write(workspace, request, progress=console), show_export)


def show_export(console: Console, found: Export) -> None:
    """Say what was written, and where it went."""
    rows = [[name, value] for name, value in found.facts.items() if not isinstance(value, dict)]
    console.table("", ("", ""), [*rows, ["files", found.files], ["MB", f"{found.size / 1e6:.1f}"]])
    console.say(f"written: {found.folder}")
    if found.kind == "model":
        console.say(f'in Python: import semantic_model; model = semantic_model.load("{found.folder}")')
    if found.url is not None:
        console.say(f"pushed: {found.url}")
