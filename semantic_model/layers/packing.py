"""Sequences of different lengths one after the other, so that nothing is computed for padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Spans = tuple[tuple[int, int], ...]
"""(how many sequences, their length), shortest first: how packed sequences lie one after the other."""


class Packing(NamedTuple):
    """Where sequences go."""

    order: Tensor  # rows of the sequences that are not empty, shortest first
    spans: Spans  # how they lie when packed


def pack(lengths: Tensor) -> Packing:
    """Sort R sequences by length, int [R]."""
    counts = lengths.bincount().tolist()  # waits for a GPU, once for all groups
    order = lengths.argsort(stable=True)[counts[0] if counts else 0 :]
    return Packing(order, tuple((count, length) for length, count in enumerate(counts) if count and length))


def sequences(x: Tensor, spans: Spans) -> Iterable[Tensor]:
    """Packed sequences [P, D] by length: views [count, length, D]."""
    parts = torch.split(x, [count * length for count, length in spans])
    return (part.reshape(count, length, -1) for part, (count, length) in zip(parts, spans, strict=True))


def unpack(encoded: Tensor, order: Tensor, rows: int) -> Tensor:
    """One vector [D] a sequence back to where it came from: [r, D] -> [R, D], zeros for empty sequences."""
    return encoded.new_zeros(rows, encoded.shape[1]).index_copy(0, order, encoded)


def group_ends(counts: Sequence[int], start_cost: float) -> list[int]:
    """Which lengths to encode together, where padding cannot be left out: the cheapest cut of 1 ... L into groups.

    Args:
        counts: ``counts[length]`` sequences have that length, from 0.
        start_cost: what one more group costs, in padded places.

    Returns:
        The longest length of each group, ascending.

    >>> group_ends([0, 5, 0, 0, 5, 5], start_cost=1)
    [1, 4, 5]
    >>> group_ends([0, 5, 0, 0, 5, 5], start_cost=10)
    [1, 5]
    """
    lengths = [length for length, count in enumerate(counts) if count and length]
    upto = np.concatenate([[0], np.cumsum([counts[length] for length in lengths])])
    cost, begin = np.zeros(len(lengths) + 1), [0] * (len(lengths) + 1)
    for i, length in enumerate(lengths, start=1):  # the last group ends with the i-th length
        tried = cost[:i] + (upto[i] - upto[:i]) * length + start_cost
        begin[i] = int(tried.argmin())
        cost[i] = tried[begin[i]]
    ends, i = [], len(lengths)
    while i:
        ends.append(lengths[i - 1])
        i = begin[i]
    return ends[::-1]
