"""Ranking a whole catalogue for one context: the Gram form against the plain DSI and against its own matrix product."""

from __future__ import annotations

from statistics import median
from typing import Any, get_args

from pipeline.benchmarks.measure import Goal, Options, compared, interleaved, row
from schemas.errors import CheckError
from semantic_model.ranking.ranker import TablePrecision
from semantic_model.speed.scoring import ScoringCase, extra_mebibytes, gpu_times

SIZES, WIDTH, MEBIBYTES = (100_000, 1_000_000), 768, 64
FASTER = Goal("at least", 3.0)
OVER_PRODUCT = Goal("at most", 1.3)
OVER_READING = Goal("at most", 2.0)
WITHIN = Goal("at most", 1.0)


def benchmark(options: Options) -> list[dict[str, Any]]:
    """Both modalities of 100,000 and 1,000,000 products at D = 768, 15 slots, K = 3, float32 and bfloat16.

    Raises:
        CheckError: scores are not those of the plain form.
    """
    rounds, width = options.rounds or 5, options.width or WIDTH
    found: list[dict[str, Any]] = []
    for products in options.sizes or SIZES:
        found += _scoring(products, width, rounds, options)
        found += _memory(products, width)
    for products in options.sizes or SIZES[-1:]:
        found += _on_a_gpu(products, width, rounds)
    return found


def _scoring(products: int, width: int, rounds: int, options: Options) -> list[dict[str, Any]]:
    case = ScoringCase(products, width)
    title = f"scoring {products:,} products"
    works = {"gram": case.gram, "product": case.product, "plain": case.plain, "bfloat16": case.bfloat16}
    seconds = interleaved(works, rounds, progress=options.progress, title=title)
    difference = case.largest_difference()
    if not difference <= 1e-5:
        raise CheckError(f"the Gram form is {difference:.2g} off the plain form", where=f"{products:,} products")
    rounding, in_common = case.rounding()
    each = {name: 1e6 * median(values) / products for name, values in seconds.items()}
    return [
        compared(
            f"{title}, float32",
            f"the plain DSI, cache-blocked ({case.plain_chunk} products a chunk)",
            seconds["gram"],
            seconds["plain"],
            FASTER,
            microseconds_each=each["gram"],
            largest_difference=difference,
        ),
        compared(
            f"{title}, float32",
            f"its own matrix product M X_0^T ({case.product_chunk} products a chunk)",
            seconds["gram"],
            seconds["product"],
            OVER_PRODUCT,
            faster=False,
            microseconds_each=each["gram"],
        ),
        compared(
            f"{title}, bfloat16",
            "the float32 table",
            seconds["bfloat16"],
            seconds["gram"],
            microseconds_each=each["bfloat16"],
            largest_difference=rounding,
            best_in_common=in_common,
        ),
    ]


def _memory(products: int, width: int) -> list[dict[str, Any]]:
    found = []
    for precision in get_args(TablePrecision):
        extra = extra_mebibytes(products, width, precision)
        if extra is not None:
            tables = 2 * (2 if precision == "bfloat16" else 4) * products * width >> 20
            found.append(
                row(
                    f"memory of scoring {products:,} products, {precision}",
                    extra / MEBIBYTES,
                    f"of {MEBIBYTES} MiB; scores included, the two tables' {tables:,} MiB not",
                    WITHIN,
                    seconds=None,
                    mebibytes=extra,
                )
            )
    return found


def _on_a_gpu(products: int, width: int, rounds: int) -> list[dict[str, Any]]:
    times = gpu_times(products, width, rounds)
    if times is None:
        return []
    name = f"ranking {products:,} products a query on {times.device}, bfloat16"
    reading = "reading both product tables once"
    return [compared(name, reading, times.ranking, times.reading, OVER_READING, faster=False)]
