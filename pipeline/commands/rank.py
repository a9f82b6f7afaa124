"""``semctl evaluate`` and ``semctl recommend``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.console import metric_heading
from pipeline.context import JSON_OPTION, Context

__all__ = ["register"]


class Split(StrEnum):
    """Whose recommendation turns are asked."""

    train = "train"
    valid = "valid"
    test = "test"


class Candidates(StrEnum):
    """What the positives are ranked against."""

    listed = "listed"
    thousand = "1000"
    all = "all"
    release = "release"


class Metrics(StrEnum):
    """The formula of precision, recall and NDCG."""

    standard = "standard"
    release = "release"


class ProductTable(StrEnum):
    """Precision of encoded products."""

    float32 = "float32"
    bfloat16 = "bfloat16"


_RUN = typer.Argument(help="Run id, or 'latest'.")
_PRODUCT_TABLE = typer.Option(help="How exactly a run keeps encoded products; bfloat16 halves their memory.")
_NO_IMAGES = typer.Option("--no-images", help="Leave every image out, of dialogues and catalogue.")


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("evaluate")(evaluate)
    app.command("recommend")(recommend)


def evaluate(
    context: typer.Context,
    run: Annotated[str, _RUN] = "latest",
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
    product_table: Annotated[ProductTable, _PRODUCT_TABLE] = ProductTable.float32,
    no_images: Annotated[bool, _NO_IMAGES] = False,
    baselines_only: Annotated[
        bool, typer.Option("--baselines-only", help="Only random, popularity and tfidf; needs no run.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Precision, recall and NDCG @5, 10, 20 of a run, beside random, popularity and tfidf.

    Example: semctl -w shop evaluate --split valid --candidates all
    """
    from pipeline.modelling.evaluate import evaluate as measure

    state: Context = context.obj
    console = state.console(as_json=as_json)
    report = measure(
        state.workspace,
        run,
        split=split.value,
        candidates=candidates.value,
        images=not no_images,
        baselines_only=baselines_only,
        metrics=metrics.value,
        min_negatives=min_negatives,
        product_table=product_table.value,
        progress=console,
    )
    if as_json:
        console.json(report.as_dict())
        return
    names = list(report.rows[0].means)
    names_of_rows = {row.name for row in report.rows}
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
                *(["state-rule (gold) is told the gold states"] if "state-rule (gold)" in names_of_rows else []),
                *([str(report.file)] if report.file else []),
            ]
        ),
    )


def recommend(
    context: typer.Context,
    dialogue: Annotated[str, typer.Option(help="Dialogue id.")],
    run: Annotated[str, _RUN] = "latest",
    turn: Annotated[
        int | None, typer.Option(help="Read up to this turn, counted from 0; else up to the user's last.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many products.")] = 10,
    product_table: Annotated[ProductTable, _PRODUCT_TABLE] = ProductTable.float32,
    no_images: Annotated[bool, _NO_IMAGES] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Top products of the whole catalogue for a dialogue.

    Example: semctl -w shop recommend --dialogue 10008 --turn 2 --top 5
    """
    from pipeline.modelling.recommend import recommend as rank

    state: Context = context.obj
    console = state.console(as_json=as_json)
    result = rank(
        state.workspace,
        run,
        dialogue=dialogue,
        turn=turn,
        top=top,
        images=not no_images,
        product_table=product_table.value,
    )
    if as_json:
        console.json(result.as_dict())
        return
    console.say(f"{result.dialogue_id}, after turn {result.turn}, by {result.run}")
    for said in result.history[-4:]:
        shown = f"  [{len(said.image_ids)} images]" if said.image_ids else ""
        console.say(f"  {said.speaker:>6}: {said.text}{shown}")
    known = result.positives is not None
    console.table(
        f"Top {len(result.products)}",
        ["#", "score", "product", "name", "further attributes", "image", *(["right"] if known else [])],
        [
            [
                product.rank,
                f"{product.score:.4f}",
                product.product_id,
                product.name,
                ", ".join(f"{name} {'/'.join(values)}" for name, values in product.not_in_name().items()),
                product.images[0] if product.images else None,
                *(["yes" if product.positive else ""] if known else []),
            ]
            for product in result.products
        ],
        caption=f"right: what the dialogue's system recommends next ({', '.join(result.positives or ())})"
        if known
        else None,
    )
