"""``semctl recommend``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.evaluate import ProductTable
from pipeline.context import ENGINE, JSON_OPTION, NO_IMAGES, PRODUCT_TABLE, opened
from pipeline.engine import EngineName, find_engine
from schemas.errors import UsageError
from semantic_model.registry import BASELINES

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.modelling.recommend import BatchReport
    from pipeline.modelling.recommender import Recommendation, RecommendedProduct

_RUN = typer.Argument(help=f"Run id, or 'latest'; or {', '.join(BASELINES)}, which need no training.")
_FILTER = 'Only products for which this holds, as "color = red and price < 50"; with in (...), not, or, parentheses.'
_DIVERSIFY = (
    "How much less a product counts for being like those above it: 0 (not at all) to 1 (maximal marginal relevance)."
)
_EXPLAIN = "Tell what the run believes is wanted, what each product has of it, and what images add."
_IMAGE = "With --message or alone: an image that the user shows, a file or a product's id; repeatable."
_BATCH = "JSON lines, a conversation each; needs --out."


def recommend(
    context: typer.Context,
    run: Annotated[str, _RUN] = "latest",
    dialogue: Annotated[str | None, typer.Option(help="Dialogue id.")] = None,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What a user says, in place of a dialogue.")
    ] = None,
    image: Annotated[list[str] | None, typer.Option(metavar="FILE", help=_IMAGE)] = None,
    conversation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A dialogue as JSON, in the form of the jsonl format.")
    ] = None,
    batch: Annotated[Path | None, typer.Option(metavar="FILE", help=_BATCH)] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="With --batch: the Parquet file to write.")] = None,
    turn: Annotated[
        int | None, typer.Option(help="Read up to this turn, counted from 0; else up to the user's last.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many products.")] = 10,
    where: Annotated[str | None, typer.Option(metavar="FILTER", help=_FILTER)] = None,
    diversify: Annotated[float, typer.Option(min=0, max=1, metavar="WEIGHT", help=_DIVERSIFY)] = 0.0,
    explain: Annotated[bool, typer.Option("--explain", help=_EXPLAIN)] = False,
    product_table: Annotated[ProductTable, PRODUCT_TABLE] = ProductTable.float32,
    no_images: Annotated[bool, NO_IMAGES] = False,
    engine: Annotated[EngineName, ENGINE] = EngineName.local,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Top products of the catalogue for a dialogue, a message, or every conversation of a file.

    Example: semctl -w shop recommend --message "a red dress, not too expensive" --where "price < 50" --explain

    Example: semctl -w shop recommend --dialogue 10008 --turn 2 --top 5

    Example: semctl -w shop recommend --batch asked.jsonl --out recommended.parquet
    """
    from pipeline.modelling.recommend import BatchRequest, RecommendRequest, recommend_batch
    from pipeline.modelling.recommend import recommend as rank

    workspace, console = opened(context, as_json=as_json)
    if batch is None:
        if out is not None:
            raise UsageError("--out is for --batch; one recommendation is printed", fix="leave it out, or see --json")
        if engine is not EngineName.local:
            raise UsageError("--engine is for --batch; one recommendation has no shards", fix="leave it out")
        request = RecommendRequest(
            dialogue,
            run,
            turn=turn,
            top=top,
            images=not no_images,
            product_table=product_table.value,
            conversation=conversation,
            message=message,
            shown=tuple(image or ()),
            where=where,
            diversify=diversify,
            explain=explain,
        )
        console.result(rank(workspace, request, progress=console), _show)
        return
    alone = {
        "--dialogue": dialogue,
        "--conversation": conversation,
        "--message": message,
        "--image": image,
        "--turn": turn,
        "--explain": explain or None,
    }
    named = next((name for name, value in alone.items() if value is not None), None)
    if named is not None:
        raise UsageError(f"{named} does not go with --batch", fix="leave one of them out")
    if out is None:
        raise UsageError("--batch needs a file to write", fix="name it with --out FILE.parquet")
    asked = BatchRequest(
        batch,
        out,
        run,
        top=top,
        images=not no_images,
        product_table=product_table.value,
        where=where,
        diversify=diversify,
    )
    with find_engine(engine)() as workers:
        report = recommend_batch(workspace, asked, engine=workers, progress=console)
    console.result(report, _show_batch)
    if report.problem is not None:
        if as_json:  # the object that is there says it
            raise typer.Exit(report.problem.exit_code)
        raise report.problem


def _show(console: Console, result: Recommendation) -> None:
    console.say(f"{result.dialogue_id}, after turn {result.turn}, by {result.run}")
    for said in result.history[-4:]:
        shown = f"  [{len(said.image_ids)} images]" if said.image_ids else ""
        console.say(f"  {said.speaker:>6}: {said.text}{shown}")
    if result.explanation is not None:
        _show_state(console, result)
    known = result.positives is not None
    explained = result.explanation is not None
    believes = result.explanation is not None and result.explanation.state is not None
    among = "" if result.fitting is None else f" of the {result.fitting:,} products that the filter lets through"
    console.table(
        f"Top {len(result.products)}{among}",
        [
            *("#", "score", "product", "name", "of what is wanted" if believes else "further attributes"),
            *(_IMAGES_ADD if explained else ["image"]),
            *(["right"] if known else []),
        ],
        [
            [
                product.rank,
                f"{product.score:.4f}",
                product.product_id,
                product.name,
                _of_what_is_wanted(product)
                if believes
                else ", ".join(f"{name} {'/'.join(values)}" for name, values in product.not_in_name().items()),
                *(_added(product) if explained else [product.images[0] if product.images else None]),
                *(["yes" if product.positive else ""] if known else []),
            ]
            for product in result.products
        ],
        caption=f"right: what the dialogue's system recommends next ({', '.join(result.positives or ())})"
        if known
        else None,
    )


_IMAGES_ADD = ("its image adds", "images shown add")


def _show_state(console: Console, result: Recommendation) -> None:
    explanation = result.explanation
    assert explanation is not None
    if explanation.state is None:
        console.say(explanation.note)
        return
    state = explanation.state
    ranks_by: dict[str, list[str]] = {}
    for value in state.beliefs:
        ranks_by.setdefault(value.slot, []).append(f"{_wish(value.polarity, value.value)} {value.probability:.2f}")
    console.table(
        "What is believed to be wanted",
        ["slot", "read", "sure", "ranked by"],
        [
            [
                slot,
                ", ".join(_wish(item.polarity, item.value) for item in state.state if item.slot == slot) or None,
                f"{sure:.2f}",
                ", ".join(ranks_by.get(slot, [])[:3]) or None,
            ]
            for slot, sure in state.sure.items()
        ],
    )


def _wish(polarity: str, value: str) -> str:
    return value if polarity == "like" else f"not {value}"


def _of_what_is_wanted(product: RecommendedProduct) -> str:
    """``type dress; against: color red; not known: size M``."""
    assert product.explanation is not None
    found: dict[str, list[str]] = {}
    for item in product.explanation.values:
        found.setdefault(item.outcome, []).append(f"{item.slot} {_wish(item.polarity, item.value)}")
    heads = {"matched": "", "contradicted": "against: ", "not known": "not known: "}
    return "; ".join(f"{head}{', '.join(found[outcome])}" for outcome, head in heads.items() if outcome in found)


def _added(product: RecommendedProduct) -> list[str | None]:
    assert product.explanation is not None
    found = product.explanation.image_of_product, product.explanation.images_of_conversation
    return [None if change is None else f"{change:+.3f}" for change in found]


def _show_batch(console: Console, report: BatchReport) -> None:
    rows: list[list[object]] = [
        ["conversations", report.conversations],
        ["rows", report.rows],
        ["written to", str(report.out)],
    ]
    if report.rejected:
        rows += [["lines rejected", sum(report.rejected.values())], ["see", str(report.rejected_file)]]
    console.table(f"Recommended with {report.run}", ["", ""], rows)
