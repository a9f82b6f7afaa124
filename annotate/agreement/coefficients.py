"""The coefficients of agreement as functions of counts: all of them take arrays with any leading axes.

Undefined results are NaN, never an error: see each function for when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotate.agreement.cells import Cell, Element
from annotate.agreement.similarity import Distance, partial_matches, similarity

__all__ = ["Floats", "alpha_of_units", "cohen_kappa", "expected_disagreement", "one_minus_ratio", "ratio"]

Floats = NDArray[np.float64]


def ratio(part: Any, whole: Any) -> Floats:
    """``part / whole``; NaN where ``whole`` is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    found: Floats = np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)
    return found


def one_minus_ratio(observed: Any, expected: Any) -> Floats:
    """Agreement beyond chance, ``1 - observed / expected`` disagreement; NaN where no disagreement is possible."""
    return 1.0 - ratio(observed, expected)


def expected_disagreement(values: Floats, alike: Floats) -> Floats:
    """Alpha's expected disagreement, summed over values: ``n * D_e = (n^2 - sum_ck n_c n_k s_ck) / (n - 1)``.

    Krippendorff (2004), "Content Analysis", chapter 11: the chance that two of the ``n`` values, drawn without
    replacement, differ. With a distance ``d_ck`` between values, ``s_ck = 1 - d_ck``.

    Args:
        values: ``n``, how many values were given in units with two values or more.
        alike: ``sum_ck n_c n_k s_ck`` over the values' frequencies ``n_c``; ``sum_c n_c^2`` for nominal data.

    Returns:
        0 where all values are the same, and where there are fewer than two.
    """
    left = np.maximum(values * values - alike, 0.0)
    found: Floats = np.divide(left, values - 1, out=np.zeros_like(left), where=values > 1)
    return found


def alpha_of_units(units: Iterable[Sequence[Hashable | None]], distance: Distance = "nominal") -> float:
    """Krippendorff's alpha of plain data.

    ``1 - D_o / D_e``: exactly 1 when everybody agrees and more than one value occurs. NaN when no unit has two values
    (one annotator), and when a single value only ever occurs: nothing could have differed, so agreement is neither
    shown nor refuted.

    Args:
        units: the values that the annotators gave each unit, in any order; None is a missing one. Sets of elements
            for ``masi``.

    >>> round(alpha_of_units([("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")]), 4)
    0.5333
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


def cohen_kappa(units: Any, disagreements: Any, alike: Any) -> Floats:
    """Cohen's kappa of two annotators; Cohen (1960), Educational and Psychological Measurement 20(1).

    Several slots are pooled by summing before the ratio is taken, see :mod:`annotate.agreement.figures`; the sums run
    over the last axis.

    Args:
        units: cells that both answered, [..., slots].
        disagreements: how many of them differ, [..., slots].
        alike: ``sum_c n1_c n2_c`` of the two annotators' frequencies, [..., slots].

    Returns:
        [...]; NaN where no cell was answered by both, or both said one and the same thing throughout.
    """
    expected = np.asarray(units, float) - np.nan_to_num(ratio(alike, units))
    return one_minus_ratio(np.sum(disagreements, axis=-1), np.sum(expected, axis=-1))
