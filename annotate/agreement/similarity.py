"""How alike two cells are, from 0 to 1; alpha's distance is 1 minus this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

from annotate.agreement.cells import Cell, Element

__all__ = ["DISTANCES", "Distance", "Similarity", "partial_matches", "similarity"]

Distance = Literal["nominal", "masi"]
Similarity = Callable[[Cell, Cell], float]

DISTANCES: tuple[Distance, ...] = ("nominal", "masi")


def similarity(distance: Distance) -> Similarity:
    """The similarity that goes with a distance.

    ``nominal``: cells are the same or they are not, which is what the usual thresholds of alpha are about.
    ``masi``: sets that overlap agree in part: the Jaccard index times 2/3 where one holds the other and times 1/3
    where neither does (Passonneau 2006, "Measuring agreement on set-valued items", LREC). Saying nothing and saying
    something have nothing in common.
    """
    return _nominal if distance == "nominal" else _masi


def _nominal(one: Cell, other: Cell) -> float:
    return float(one == other)


def _masi(one: Cell, other: Cell) -> float:
    if one == other:
        return 1.0
    shared = len(one & other)
    nested = shared == min(len(one), len(other))
    return shared / len(one | other) * (2 / 3 if nested else 1 / 3)


def partial_matches(cells: Sequence[Cell], alike: Similarity) -> list[tuple[int, int, float]]:
    """All pairs ``i < j`` of different cells that are alike in part, with how much; found by what they share."""
    holders: dict[Element, list[int]] = {}
    for number, cell in enumerate(cells):
        for element in cell:
            holders.setdefault(element, []).append(number)
    pairs = {pair for numbers in holders.values() for pair in combinations(numbers, 2)}
    scored = ((i, j, alike(cells[i], cells[j])) for i, j in sorted(pairs))
    return [(i, j, score) for i, j, score in scored if score > 0]
