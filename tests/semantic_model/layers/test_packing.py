from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_model.config.sections import ModelConfig
from semantic_model.layers.attention import AttentionStack
from semantic_model.layers.packing import group_ends, pack, sequences, unpack


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
@given(lengths=st.lists(st.integers(0, 6), max_size=20))
def test_packed_sequences_come_back_to_their_rows(lengths: list[int]):
    packing = pack(torch.tensor(lengths, dtype=torch.int64))
    order = packing.order.tolist()
    assert sorted(order) == [row for row, length in enumerate(lengths) if length]
    assert [lengths[row] for row in order] == [length for count, length in packing.spans for _ in range(count)]
    x = torch.cat([torch.full((lengths[row], 2), float(row)) for row in order] or [torch.zeros(0, 2)])
    parts = list(sequences(x, packing.spans))
    assert [tuple(part.shape) for part in parts] == [(count, length, 2) for count, length in packing.spans]
    firsts = torch.cat([part[:, 0] for part in parts] or [torch.zeros(0, 2)])
    found = unpack(firsts, packing.order, len(lengths))
    assert found.tolist() == [[float(row)] * 2 if length else [0.0, 0.0] for row, length in enumerate(lengths)]


def test_packed_attention_is_that_of_each_sequence_alone_and_of_padded_ones():
    torch.manual_seed(0)
    stack = AttentionStack(ModelConfig(width=8, heads=2, inner=8, layers=2, dropout=0.0))
    lengths = torch.tensor([3, 1, 0, 4, 3])
    padded = torch.randn(5, 4, 8)
    mask = torch.arange(4) < lengths[:, None]
    expected = stack(torch.where(mask[..., None], padded, 0.0), mask)
    packing = pack(lengths)
    found = stack.packed(padded[packing.order][mask[packing.order]], packing.spans)
    assert torch.allclose(found, expected[packing.order][mask[packing.order]], atol=1e-6)
    for row, part in zip(packing.order.tolist(), found.split([1, 3, 3, 4]), strict=True):
        one = padded[row : row + 1, : lengths[row]]
        assert torch.allclose(stack(one, torch.ones(one.shape[:2], dtype=torch.bool))[0], part, atol=1e-6)
