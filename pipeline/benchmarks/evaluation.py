"""Evaluation among 1,000 candidates: products encoded once, against encoding the candidates of every query."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

from pipeline.benchmarks.measure import Goal, Options, row
from schemas.errors import CheckError
from semantic_model.config.config import Config, load_config
from semantic_model.speed.evaluation import EvaluationCase

QUERIES, CANDIDATES = 500, 1005
FASTER = Goal("at least", 500.0)


def benchmark(options: Options) -> list[dict[str, Any]]:
    """500 queries with 1,005 candidates each, at the `paper` preset's size with random weights.

    Candidates are encoded again for a few queries only, one in each round; the time of all queries is extrapolated
    from them. A smaller ``width`` also makes the network and the candidate lists small, for trying the benchmark out.

    Raises:
        CheckError: both ways give different scores.
    """
    rounds = options.rounds or 3
    candidates = CANDIDATES if options.width is None else 60
    return [
        found
        for queries in options.sizes or (QUERIES,)
        for found in _evaluation(queries, candidates, _config(options.width), rounds, options)
    ]


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
