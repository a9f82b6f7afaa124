"""``semctl evaluate``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.console import metric_heading
from pipeline.context import JSON_OPTION, NO_IMAGES, PRODUCT_TABLE, RUN, opened
from semantic_model.registry import BASELINES

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.modelling.evaluate import EvaluationReport


Split = StrEnum("Split", "train valid test")
Candidates = StrEnum("Candidates", {"listed": "listed", "thousand": "1000", "all": "all", "release": "release"})
Metrics = StrEnum("Metrics", "standard release")
ProductTable = StrEnum("ProductTable", "float32 bfloat16")

_BASELINES = ", ".join(BASELINES)


def evaluate(
    context: typer.Context,
    run: Annotated[str, RUN] = "latest",
    split: Annotated[Split, typer.Option(help="Split to measure on.")] = Split.test,
    candidates: Annotated[
        Candidates,
        typer.Option(
            help="The turn's listed candidates, the paper's 5:1000, the whole catalogue, or the lists as the released "
            "code takes them."
        ),
    ] = Candidates.listed,
    metrics: Annotated[
        Metrics, typer.Option(help="The textbook's formula, or the released code's, which flatters.")
    ] = Metrics.standard,
    min_negatives: Annotated[int, typer.Option(min=1, help="Leave turns with fewer wrong candidates out.")] = 1,
    product_table: Annotated[ProductTable, PRODUCT_TABLE] = ProductTable.float32,
    no_images: Annotated[bool, NO_IMAGES] = False,
    baselines_only: Annotated[bool, typer.Option("--baselines-only", help=f"Only {_BASELINES}; needs no run.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Precision, recall and NDCG @5, 10, 20 of a run, beside random, popularity, tfidf, bm25 and rules over states.

    Example: semctl -w shop evaluate --split valid --candidates all
    """
    from pipeline.modelling.evaluate import EvaluateRequest
    from pipeline.modelling.evaluate import evaluate as measure

    workspace, console = opened(context, as_json=as_json)
    request = EvaluateRequest(
        run,
        split=split.value,
        candidates=candidates.value,
        images=not no_images,
        baselines_only=baselines_only,
        metrics="release" if metrics == Metrics.release else "standard",
        min_negatives=min_negatives,
        product_table=product_table.value,
    )
    report = measure(workspace, request, progress=console)
    console.result(report, _show)


def _show(console: Console, report: EvaluationReport) -> None:
    from pipeline.modelling.evaluate import RULES

    names = list(report.rows[0].means)
    rows = []
    for row in report.rows:
        ends = row.intervals["ndcg@5"]
        rows.append([row.name, *(100 * row.means[name] for name in names), 50 * (ends.high - ends.low)])
    console.table(
        f"{report.run or 'baselines'} on {report.split}: {len(report.rows[0].queries):,} queries, "
        f"candidates: {report.candidates}, catalogue: {report.products:,} products"
        f"{'' if report.images else ', without images'}"
        f"{'' if report.metrics == 'standard' else ', metrics of the released code'}; per cent",
        ["", *map(metric_heading, names), "±"],
        rows,
        caption="; ".join(
            [
                "±: half of the 95 % interval of NDCG@5, by dialogue",
                *(said for name, said in RULES.items() if any(name in row.name for row in report.rows)),
                *([str(report.file)] if report.file else []),
            ]
        ),
    )
    if report.states:
        slots = sorted({slot for figures in report.states.values() for slot in figures.values})
        turns = next(iter(report.states.values())).turns
        console.table(
            f"belief states before {turns:,} of these turns, against gold; per cent",
            ["", "slot F1", "value F1", "joint goal accuracy", *slots],
            [
                [
                    name,
                    *map(_share, (figures.filled.f1, figures.value_f1, figures.jga)),
                    *(_share(figures.values[slot].f1 if slot in figures.values else None) for slot in slots),
                ]
                for name, figures in report.states.items()
            ],
            caption="of a slot: F1 of its values; tracker: taught by the labels that the run had",
        )


def _share(value: float | None) -> object:
    return "" if value is None else 100 * value
