"""The command ``benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.context import JSON_OPTION, Context

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("benchmark")(benchmark)


def benchmark(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to measure: import.")],
    corpus: Annotated[
        Path | None, typer.Option(help="A corpus in MMD's layout to measure on, instead of made-up ones.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the best of each counts.")] = 3,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure a stage against the least that could be done, side by side in one run.

    Example: semctl benchmark import
    """
    from pipeline.benchmarks import run_benchmark

    options: Context = context.obj
    console = options.console(as_json=as_json)
    result = run_benchmark(name, corpus=corpus, rounds=rounds, progress=console)
    if as_json:
        console.json(result)
        return
    console.table(
        "Benchmarks",
        ["what", "CPU seconds", "against", "CPU seconds", "ratio", "goal"],
        [
            [row["name"], row["seconds"], row["against"], row["seconds_against"], row["ratio"], f"<= {row['goal']:g}"]
            for row in result["benchmarks"]
        ],
        caption=", ".join(f"{key} {value}" for key, value in result["machine"].items()),
    )
