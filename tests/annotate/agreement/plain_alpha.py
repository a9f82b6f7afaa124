"""Alpha of plain data, counted anew unit by unit: what the figures of a tally are held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from annotate.agreement.aligned_labels import Cell, Element
from annotate.agreement.coefficients import (
    Distance,
    expected_disagreement,
    one_minus_ratio,
    partial_matches,
    similarity,
)


def alpha_of_units(units: Iterable[Sequence[Hashable | None]], distance: Distance = "nominal") -> float:
    """Krippendorff's alpha of plain data.

    ``1 - D_o / D_e``: exactly 1 when everybody agrees and more than one value occurs. NaN when no unit has two values
    (one annotator), and when a single value only ever occurs: nothing could have differed, so agreement is neither
    shown nor refuted.

    Args:
        units: the values that the annotators gave each unit, in any order; None is a missing one. Sets of elements
            for ``masi``.
    """
    alike = similarity(distance)
    frequency: Counter[Cell] = Counter()
    observed = 0.0
    for unit in units:
        given = Counter(_as_cell(value) for value in unit if value is not None)
        size = given.total()
        if size < 2:
            continue
        frequency += given
        observed += sum(
            count * other_count * (1 - alike(cell, other))
            for cell, count in given.items()
            for other, other_count in given.items()
            if cell != other
        ) / (size - 1)
    counts = np.array(list(frequency.values()), float)
    shared = float(counts @ counts)
    shared += sum(2 * score * counts[i] * counts[j] for i, j, score in partial_matches(list(frequency), alike))
    return float(one_minus_ratio(observed, expected_disagreement(counts.sum(), np.array(shared))))


def _as_cell(value: Hashable) -> Cell:
    return value if isinstance(value, frozenset) else frozenset({Element("want", repr(value))})
