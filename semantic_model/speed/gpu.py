"""Ranking a catalogue on a GPU, and reading its two product tables once: nothing can be faster than that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from semantic_model.ranking.chunked_scoring import score_catalogue
from semantic_model.semantic.gram import GramQuery
from semantic_model.semantic.scoring import MatchQuery, Modality, ProductTable
from semantic_model.speed.scoring import draw, random_sides, table_of


class GpuTimes(NamedTuple):
    """Seconds of each round."""

    device: str  # the GPU's name
    ranking: list[float]  # of one query: all scores and the 100 best; queries come 16 at a time
    reading: list[float]  # of reading both bfloat16 tables once


def gpu_times(products: int, width: int, rounds: int) -> GpuTimes | None:
    """None where there is no GPU."""
    if not torch.cuda.is_available():
        return None
    device, queries = torch.device("cuda"), 16
    sides = [(dsi.to(device), x_C.to(device), stack.to(device)) for dsi, x_C, stack in random_sides(width, queries)]
    text, image = (GramQuery.of(*side) for side in sides)
    query = MatchQuery(text, image, (1.0, 1.0))
    drawn = table_of(draw(products, width, "bfloat16"), products)
    both = [Modality(*(field.to(device) for field in side)) for side in (drawn.text, drawn.image)]
    table = ProductTable(both[0], both[1], drawn.image_mask.to(device))
    scores = torch.empty(queries, products, device=device)

    def rank() -> None:
        score_catalogue(query, table, scores)
        scores.topk(min(100, products), dim=1)

    def read() -> None:
        for side in both:
            side.vectors.view(torch.int32).amax()

    ranking = [seconds / queries for seconds in _seconds(rank, rounds)]
    return GpuTimes(torch.cuda.get_device_name(), ranking, _seconds(read, rounds))


def _seconds(work: Callable[[], object], rounds: int) -> list[float]:
    """Of each round, after one that warms up."""
    seconds = []
    for turn in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if turn:
            seconds.append(time.perf_counter() - start)
    return seconds
