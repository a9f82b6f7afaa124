"""``semctl serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.evaluate import ProductTable
from pipeline.context import JSON_OPTION, NO_IMAGES, PRODUCT_TABLE, RUN, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.serving.server import Serving


def serve(
    context: typer.Context,
    run: Annotated[str, RUN] = "latest",
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's own need $SEMCTL_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8090,
    product_table: Annotated[ProductTable, PRODUCT_TABLE] = ProductTable.float32,
    no_images: Annotated[bool, NO_IMAGES] = False,
    keep_corrections: Annotated[
        bool,
        typer.Option(
            "--keep-corrections",
            help="Keep what people correct on the page, with their conversations: labels for `semctl ingest-labels`.",
        ),
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Serve a run over HTTP, with a page to try it in, until Ctrl-C.

    The page is at /; /openapi.json describes /recommend, /state, /products, /images, /health, /version and /metrics.
    Requests are answered in batches. A catalogue that is imported anew is served without a restart. With
    $SEMCTL_API_KEY set, requests need the header `Authorization: Bearer KEY`. Nothing of a conversation is stored, but
    with --keep-corrections, which the page tells.

    Example: semctl -w shop serve --port 8090
    """
    from pipeline.serving.server import ServeRequest
    from pipeline.serving.server import serve as answer

    workspace, console = opened(context, as_json=as_json)
    request = ServeRequest(run, host, port, not no_images, product_table.value, keep_corrections)
    answer(workspace, request, started=lambda serving: console.result(serving, show_serving), progress=console)


def show_serving(console: Console, serving: Serving) -> None:
    """Where to look."""
    asked = "; requests need the key" if serving.key else ""
    console.say(f"{serving.run}, {serving.products:,} products: {serving.address}{asked}")
    if serving.kept_in is not None:
        console.log(f"corrections and their conversations are kept in {serving.kept_in}")
    console.log("Ctrl-C ends it")
