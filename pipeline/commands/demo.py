"""``semctl demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.serve import show_serving
from pipeline.console import metric_heading
from pipeline.context import JSON_OPTION, opened
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.demo import DemoReport


def demo(
    context: typer.Context,
    size: Annotated[str, typer.Option(help="Of the generated corpus: test, demo, medium or mmd-v3.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Of the corpus, the labelling and the training.")] = 0,
    labeled_ratio: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the training dialogues that get labelled.")
    ] = 0.2,
    with_studio: Annotated[
        bool, typer.Option("--with-studio", help="Label in a real Label Studio; it is installed first if need be.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the preset's.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="End in the page to try the run in, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="--serve: port; 0: any that is free.")] = 8090,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """The whole job on a generated corpus, in a few minutes on a CPU.

    Writes into the workspace named with -w, else into ./demo-workspace; an earlier demo there is replaced.

    Example: semctl -w demo-workspace demo --seed 1 --serve
    """
    from pipeline.demo import DemoRequest, run_demo
    from pipeline.serving.server import ServeRequest, require_packages
    from pipeline.serving.server import serve as answer
    from pipeline.workspace import Workspace

    workspace, console = opened(context, as_json=as_json)
    if serve:
        if as_json:
            raise UsageError("--json prints one object, and --serve goes on", fix="leave one of them out")
        require_packages()  # before minutes of work
    if workspace.root == Path().resolve():
        workspace = Workspace(workspace.root / "demo-workspace")
    request = DemoRequest(size, seed, labeled_ratio, with_studio, epochs)
    report = run_demo(workspace, request, progress=console)
    console.result(report, _show)
    if with_studio:
        console.log(
            f"its project stays in Label Studio; a local one is stopped with `semctl -w {workspace.root} studio stop`"
        )
    if serve:
        answer(
            workspace,
            ServeRequest(report.run, port=port),
            started=lambda serving: show_serving(console, serving),
            progress=console,
        )


def _show(console: Console, report: DemoReport) -> None:
    shown = report.as_json()
    names = [name for name in shown["rows"][0] if "@" in name]
    console.table(
        f"{shown['split']} split, {shown['candidates']} {report.with_images.products:,} products, "
        f"{len(report.with_images.rows[0].queries):,} queries; {report.labelled} dialogues labelled; per cent",
        ["", *map(metric_heading, names)],
        [[row["name"], *(100 * row[name] for name in names)] for row in shown["rows"]],
    )
    top = report.recommendation
    console.say(f'dialogue {top.dialogue_id}, after "{top.history[-1].text}"')
    console.table(
        f"top {len(top.products)}",
        ["#", "score", "name", "image", "right"],
        [
            [item.rank, f"{item.score:.3f}", item.name, Path(item.images[0]).name if item.images else None,
             "yes" if item.positive else ""]
            for item in top.products
        ],
    )  # fmt: skip
    places = [
        ("corpus, with images", "corpus/"),
        ("tasks for Label Studio, guideline", "labelling/"),
        ("labels and what was refused", "labels/"),
        ("D_F and D_P", "splits/"),
        ("the run: model, figures, model card", f"runs/{report.run}/"),
    ]
    console.table(f"in {report.workspace}", ["what", "where"], places)
    seconds = shown["seconds"]
    console.table("seconds", ["stage", "seconds"], [*seconds.items(), ("all", round(sum(seconds.values()), 1))])
