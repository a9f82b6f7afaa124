"""Evaluation among 1,000 candidates: products encoded once, against encoding the candidates of every query.

And what each model takes for it, against a plain matrix product.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

from pipeline.benchmarks.measure import Goal, Options, compared, row
from schemas.errors import CheckError, MissingPartError
from semantic_model.config.config import Config, load_config
from semantic_model.registry import MODELS
from semantic_model.speed.evaluation import EvaluationCase
from semantic_model.speed.systems import MadeUpShop, ProductCase, SystemCase

QUERIES, CANDIDATES = 500, 1005
FASTER = Goal("at least", 500.0)
SYSTEM_WIDTH = 128  # of every system alike
SECONDS, LATE_SECONDS = 10.0, 60.0  # of 500 queries; where products depend on the query
_WARM = 8  # queries that warm a system up


def benchmark(options: Options) -> list[dict[str, Any]]:
    """500 queries with 1,005 candidates each, at the `paper` preset's size with random weights.

    Candidates are encoded again for a few queries only, one in each round; the time of all queries is extrapolated
    from them. Then each model of the registry, with random weights and the width that the systems have in common. A
    smaller ``width`` also makes the networks and the candidate lists small, for trying the benchmark out.

    Raises:
        CheckError: both ways give different scores.
    """
    rounds = options.rounds or 3
    candidates = CANDIDATES if options.width is None else 60
    found = []
    for queries in options.sizes or (QUERIES,):
        found += _evaluation(queries, candidates, _config(options.width), rounds, options)
        found += _systems(queries, candidates, rounds, options)
    return found


def _config(width: int | None) -> Config:
    config = load_config("paper", ["image.finetune=false"])
    if width is None:
        return config
    sizes = config.model.model_copy(update={"width": width, "inner": width, "layers": 1})
    return config.model_copy(update={"model": sizes})


def _evaluation(queries: int, candidates: int, config: Config, rounds: int, options: Options) -> list[dict[str, Any]]:
    case = EvaluationCase(queries, candidates, 2 * candidates, config)
    once: dict[str, float] = {}
    for name, work in (("contexts", case.encode_contexts), ("table", case.encode_products)):
        start = perf_counter()
        work()
        once[name] = perf_counter() - start
    case.rank_from_table()
    fast, slow, difference = [], [], 0.0
    for turn in options.progress.track(range(rounds), f"evaluation, {queries:,} queries"):
        start = perf_counter()
        case.rank_from_table()
        fast.append(perf_counter() - start)
        start = perf_counter()
        difference = max(difference, case.rank_by_encoding(turn % queries))
        slow.append(perf_counter() - start)
    if not difference <= 1e-4:
        raise CheckError(f"scores differ by {difference:.2g} when candidates are encoded again")
    ratios = sorted(queries * b / a for a, b in zip(fast, slow, strict=True))
    again = queries * median(slow)
    opponent = f"encoding the {candidates:,} candidates of each query ({rounds} queries timed, extrapolated)"
    title = f"ranking {queries:,} x {candidates:,} candidates"
    whole = once["contexts"] + once["table"] + median(fast)
    return [
        row(
            f"{title} from a product table",
            median(ratios),
            f"times as fast as {opponent}",
            FASTER,
            seconds=median(fast),
            seconds_against=again,
            ratios=[ratios[0], ratios[-1]],
            rounds=rounds,
            largest_difference=difference,
        ),
        row(
            f"{title}, all in: contexts, a table of {2 * candidates:,} products",
            (once["contexts"] + again) / whole,
            f"times as fast as contexts and {opponent}",
            None,
            seconds=whole,
            seconds_against=once["contexts"] + again,
            seconds_of_contexts=once["contexts"],
            seconds_of_table=once["table"],
        ),
    ]


def _systems(queries: int, candidates: int, rounds: int, options: Options) -> list[dict[str, Any]]:
    """What each model takes for scores and metrics, once all is encoded."""
    width = SYSTEM_WIDTH if options.width is None else options.width
    shop = MadeUpShop(queries, candidates, 2 * candidates)
    product = ProductCase(shop, width)
    product.rank()
    found = []
    for name in options.progress.track(list(MODELS), f"evaluation of each model, {queries:,} queries"):
        try:
            system = SystemCase(name, shop, width)
        except MissingPartError as missing:
            options.progress.log(f"{name} is left out: {missing}")
            continue
        system.rank(_WARM)
        seconds: dict[str, list[float]] = {"system": [], "product": []}
        for _ in range(rounds):
            for who, work in (("system", system.rank), ("product", product.rank)):
                start = perf_counter()
                work()
                seconds[who].append(perf_counter() - start)
        measured = compared(
            f"ranking {queries:,} x {candidates:,} candidates with {system.ranker.name}, width {width}",
            "a plain matrix product of vectors",
            seconds["system"],
            seconds["product"],
            faster=False,
        )
        if options.width is None and queries == QUERIES:
            limit = LATE_SECONDS if system.late else SECONDS
            measured |= {"goal": f"<= {limit:g} s", "reached": measured["seconds"] <= limit}
        found.append(measured)
    return found
