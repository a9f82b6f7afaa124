"""``semctl recommend``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.evaluate import ProductTable
from pipeline.context import JSON_OPTION, NO_IMAGES, PRODUCT_TABLE, RUN, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.modelling.recommender import Recommendation


def recommend(
    context: typer.Context,
    dialogue: Annotated[str, typer.Option(help="Dialogue id.")],
    run: Annotated[str, RUN] = "latest",
    turn: Annotated[
        int | None, typer.Option(help="Read up to this turn, counted from 0; else up to the user's last.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many products.")] = 10,
    product_table: Annotated[ProductTable, PRODUCT_TABLE] = ProductTable.float32,
    no_images: Annotated[bool, NO_IMAGES] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Top products of the whole catalogue for a dialogue.

    Example: semctl -w shop recommend --dialogue 10008 --turn 2 --top 5
    """
    from pipeline.modelling.recommend import RecommendRequest
    from pipeline.modelling.recommend import recommend as rank

    workspace, console = opened(context, as_json=as_json)
    request = RecommendRequest(
        dialogue, run, turn=turn, top=top, images=not no_images, product_table=product_table.value
    )
    result = rank(workspace, request, progress=console)
    console.result(result, _show)


def _show(console: Console, result: Recommendation) -> None:
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
