"""The command ``benchmark``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.benchmarks import BENCHMARKS
from pipeline.context import JSON_OPTION, LLM_MODEL, MAX_COST, MAX_TOKENS, PRICE_IN, PRICE_OUT, opened


def benchmark(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"{', '.join(BENCHMARKS)}.")],
    corpus: Annotated[
        Path | None, typer.Option(help="import: a corpus in MMD's layout to measure on, instead of made-up ones.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="How often everything is measured.")] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="How many products, queries, dialogues, actions or clients; repeatable."),
    ] = None,
    width: Annotated[int | None, typer.Option(min=8, help="D of the vectors, instead of the paper's 768.")] = None,
    prelabel: Annotated[
        list[str] | None,
        typer.Option(metavar="HOW", help="prelabels: run:ID or llm, to be measured beside the lexicon; repeatable."),
    ] = None,
    self_training: Annotated[
        bool, typer.Option("--self-training", help="states: also the tracker as it has taught itself.")
    ] = False,
    ranking: Annotated[
        bool,
        typer.Option("--ranking", help="turns: also NDCG@5 of runs that learn from the labels, on the valid part."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="turns: keep the simulated labels, as exports that ingest-labels takes."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="serving: how long clients ask, at once and one at a time; else 60.")
    ] = None,
    dialogues: Annotated[
        int | None, typer.Option(min=1, help="--prelabel llm: how many it is asked about; else 20.")
    ] = None,
    llm_model: Annotated[str | None, LLM_MODEL] = None,
    max_cost: Annotated[float | None, MAX_COST] = None,
    max_tokens: Annotated[int | None, MAX_TOKENS] = None,
    price_in: Annotated[float | None, PRICE_IN] = None,
    price_out: Annotated[float | None, PRICE_OUT] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 when a goal is missed.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure a stage against what else could be done, side by side in one run.

    Example: semctl benchmark scoring --size 100000
    """
    from pipeline.benchmarks import run_benchmark, tables_of
    from pipeline.benchmarks.measure import Options
    from pipeline.labelling.prelabelling import LlmOptions
    from schemas.errors import CheckError

    workspace, console = opened(context, as_json=as_json)
    asked = Options(rounds=rounds, sizes=tuple(size or ()), width=width, corpus=corpus, progress=console)
    llm = LlmOptions(llm_model, price_in, price_out, max_cost, max_tokens)
    llm.refuse_without(prelabel or ())
    asked = replace(asked, workspace=workspace.root, prelabels=tuple(prelabel or ()), out=out)
    asked = replace(asked, self_training=self_training, ranking=ranking)
    asked = replace(asked, dialogues=dialogues, llm=llm, seconds=seconds)
    result = run_benchmark(name, asked)
    rows = result["benchmarks"]
    if as_json:
        console.json(result)
    else:
        console.table(
            "Benchmarks",
            ["what", "seconds", "ratio", "from - to", "", "goal", "reached"],
            [
                [
                    row["name"],
                    row.get("seconds", ""),
                    f"{row['ratio']:.4g}",
                    " - ".join(f"{end:.3g}" for end in row.get("ratios", [])),
                    row["against"],
                    row["goal"] or "",
                    {True: "yes", False: "no", None: ""}[row["reached"]],
                ]
                for row in rows
            ],
            caption=", ".join(f"{key} {value}" for key, value in result["machine"].items()),
        )
        for title, columns, lines in tables_of(name, rows):
            console.table(title, columns, lines)
    missed = [row["name"] for row in rows if row["reached"] is False]
    if check and missed:
        raise CheckError(f"{len(missed)} of {len(rows)} goals missed", where="; ".join(missed))
