"""Sequences of different lengths in one pass, without paying for padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["encode_by_length", "group_ends"]

# what a group costs on top of its tokens, in tokens of width 1 (a token costs width squared): its kernels have to start
_START_ON_CPU, _START_ON_GPU = 2e6, 2e9


def group_ends(counts: Sequence[int], start_cost: float) -> list[int]:
    """Which lengths to encode together: the cheapest cut of 1 ... L into groups that are padded to their longest.

    Args:
        counts: ``counts[length]`` sequences have that length, from 0.
        start_cost: what one more group costs, in padded tokens.

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


def encode_by_length(lengths: Tensor, width: int, encode: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Encode R sequences in groups of similar length.

    Args:
        lengths: int [R]; a sequence of length 0 is all zeros.
        width: D.
        encode: (row numbers [r], longest length among them) -> float32 [r, D].

    Returns:
        [R, D].
    """
    order = lengths.argsort(stable=True)
    counts = lengths.bincount().tolist()  # the only place that waits for a GPU
    start = _START_ON_CPU if lengths.device.type == "cpu" else _START_ON_GPU
    at = counts[0] if counts else 0
    found = [torch.zeros(at, width, device=lengths.device)]
    begin = 1
    for end in group_ends(counts, start / width**2):
        size = sum(counts[begin : end + 1])
        found.append(encode(order[at : at + size], end))
        at, begin = at + size, end + 1
    gathered = torch.cat([part.to(found[-1].dtype) for part in found])
    return torch.empty_like(gathered).index_copy(0, order, gathered)
