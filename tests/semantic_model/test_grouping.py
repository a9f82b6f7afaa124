from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_model.grouping import encode_by_length, group_ends


def cost(counts: list[int], ends: tuple[int, ...], start_cost: float) -> float:
    total, begin = 0.0, 1
    for end in ends:
        total += sum(counts[begin : end + 1]) * end + start_cost
        begin = end + 1
    return total


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=8), start_cost=st.floats(0, 60))
def test_groups_are_the_cheapest_of_all(counts: list[int], start_cost: float):
    found = tuple(group_ends(counts, start_cost))
    lengths = [length for length, count in enumerate(counts) if count and length]
    assert found == tuple(sorted(found))
    assert set(found) <= set(lengths)
    if lengths:
        others = [(*chosen, lengths[-1]) for n in range(len(lengths)) for chosen in combinations(lengths[:-1], n)]
        assert cost(counts, found, start_cost) == pytest.approx(min(cost(counts, ends, start_cost) for ends in others))
    else:
        assert found == ()


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(0, 12), max_size=20), width=st.sampled_from([1, 64, 4096]))
def test_every_sequence_is_encoded_once_with_room_for_its_length(lengths: list[int], width: int):
    seen: list[int] = []

    def encode(rows: torch.Tensor, longest: int) -> torch.Tensor:
        assert all(0 < lengths[row] <= longest for row in rows.tolist())
        seen.extend(rows.tolist())
        return torch.stack([torch.full((width,), float(100 + row)) for row in rows.tolist()])

    found = encode_by_length(torch.tensor(lengths, dtype=torch.int64), width, encode)
    assert sorted(seen) == [row for row, length in enumerate(lengths) if length]
    expected = [100.0 + row if length else 0.0 for row, length in enumerate(lengths)]
    assert found[:, 0].tolist() == expected
    assert found.shape == (len(lengths), width)
