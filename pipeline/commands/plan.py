"""``semctl plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, PRICE_IN, PRICE_OUT, opened
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.selection.plan import Gain, Plan, Round
    from pipeline.selection.round_cost import Estimate


def plan(
    context: typer.Context,
    dialogues: Annotated[
        str | None,
        typer.Option(
            "--dialogues", "-n", metavar="N,N", help="Dialogues of the round, of several to compare; else 50."
        ),
    ] = None,
    wage: Annotated[float | None, typer.Option(metavar="W", help="What an hour of an annotator costs.")] = None,
    currency: Annotated[str, typer.Option(metavar="NAME", help="Of wage and prices; only shown.")] = "EUR",
    seconds_per_turn: Annotated[
        float | None,
        typer.Option(metavar="S", help="What a user turn takes, instead of what the ingested answers took."),
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(metavar="S", help="Share of the dialogues that several annotators answer.")
    ] = None,
    redundancy: Annotated[
        int | None, typer.Option(metavar="K", help="How many of them answer each of these; else 2.")
    ] = None,
    prelabel: Annotated[
        str | None, typer.Option(metavar="llm", help="Count what pre-labels of a language model take, too.")
    ] = None,
    price_in: Annotated[float | None, PRICE_IN] = None,
    price_out: Annotated[float | None, PRICE_OUT] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Say what the next round of labelling costs, and what it is expected to bring.

    Hours are those of the answers ingested so far, a turn. What states gain is read off a curve through trackers that
    parts of today's labels teach, and what the ranking gains off the runs of `experiment grid`. Intervals hold 95 %.
    Nothing is changed, and nothing is sent anywhere.

    Example: semctl plan --dialogues 20,50,100 --wage 20
    """
    from pipeline.labelling.prelabelling import LlmOptions
    from pipeline.selection.plan import PlanRequest, plan_round

    workspace, console = opened(context, as_json=as_json)
    request = PlanRequest(
        dialogues=_numbers(dialogues),
        wage=wage,
        currency=currency,
        seconds_per_turn=seconds_per_turn,
        overlap=overlap,
        redundancy=redundancy,
        prelabel=prelabel,
        llm=LlmOptions(price_in=price_in, price_out=price_out),
    )
    console.result(plan_round(workspace, request, progress=console), _show)


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        return () if text is None else tuple(map(int, text.split(",")))
    except ValueError:
        raise UsageError(f"--dialogues {text} is no number", fix="give one, or several with commas between") from None


def _show(console: Console, found: Plan) -> None:
    pool = found.pool
    there = f", {pool.exported:,} with annotators" if pool.exported else ""
    console.say(f"{pool.labelled:,} dialogues labelled{there}, {len(pool.candidates):,} left")
    for each in found.rounds:
        console.say(each.sentence)
    asks = any(each.asking is not None for each in found.rounds)
    heads = ["dialogues", "user turns", "hours", f"cost ({found.currency})", *["tokens, at most"] * asks]
    console.table(
        "the next round",
        [*heads, "value F1", "joint goal accuracy", "NDCG@5"],
        [_row(each, asks=asks) for each in found.rounds],
        caption="with 95 % intervals; gains in points",
    )
    for line in found.notes:
        console.say(f"  {line}")
    for line in dict.fromkeys(line for each in found.rounds for line in each.notes):
        console.say(f"  warning: {line}")
    for line in found.missing:
        console.say(f"not known: {line}")


def _row(each: Round, *, asks: bool) -> list[object]:
    cells: list[object] = [each.dialogues, *map(_shown, (each.turns, each.hours, each.cost))]
    if asks:
        cells.append(None if each.asking is None else f"{each.asking.sent + each.asking.received:,}")
    return [*cells, *map(_points, each.gains.values())]


def _shown(estimate: Estimate | None) -> str | None:
    return None if estimate is None else estimate.text


def _points(gain: Gain | None) -> str | None:
    if gain is None:
        return None
    low, high = (f"{100 * end:.1f}" for end in gain.interval)
    return f"{100 * gain.gain:+.1f} ({low} to {high})"
