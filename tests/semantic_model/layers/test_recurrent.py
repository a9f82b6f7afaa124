"""Recurrent encoders against torch's packed sequences, and with padding on either side."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from semantic_model.layers.recurrent import RecurrentEncoder

LENGTHS = [3, 5, 1]


def sequences(cell: str, bidirectional: bool):
    torch.manual_seed(0)
    encoder = RecurrentEncoder(cell, 4, 6, bidirectional=bidirectional)
    x = torch.randn(3, 5, 4)
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    return encoder, x, mask


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_states_are_those_of_a_packed_sequence(cell: str, bidirectional: bool):
    encoder, x, mask = sequences(cell, bidirectional)
    oracle = (nn.GRU if cell == "gru" else nn.LSTM)(4, 6, batch_first=True, bidirectional=bidirectional)
    own = dict(encoder.forwards.named_parameters())
    if encoder.backwards is not None:
        own |= {f"{name}_reverse": value for name, value in encoder.backwards.named_parameters()}
    oracle.load_state_dict(own)
    packed, last = oracle(pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    h = last if cell == "gru" else last[0]  # [directions, R, D]
    states, ends = encoder(x, mask)
    torch.testing.assert_close(states, expected)
    torch.testing.assert_close(ends, h.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_padding_before_or_behind_changes_nothing(cell: str):
    encoder, x, mask = sequences(cell, bidirectional=True)
    states, last = encoder(x, mask)
    noise = torch.randn(3, 2, 4)
    gap = torch.zeros(3, 2, dtype=torch.bool)
    behind, end = encoder(torch.cat([x, noise], dim=1), torch.cat([mask, gap], dim=1))
    torch.testing.assert_close(behind[:, :5], states)
    torch.testing.assert_close(end, last)
    before, end = encoder(torch.cat([noise, x], dim=1), torch.cat([gap, mask], dim=1))
    torch.testing.assert_close(before[:, 2:], states)
    torch.testing.assert_close(end, last)
    assert not behind[:, 5:].any()
    assert not before[:, :2].any()


def test_a_sequence_without_any_place_is_zeros_and_gives_no_gradient_that_is_not_a_number():
    encoder, x, mask = sequences("lstm", bidirectional=True)
    states, last = encoder(x, mask & torch.tensor([True, False, True])[:, None])
    assert not states[1].any()
    assert not last[1].any()
    (states.sum() + last.sum()).backward()
    assert all(torch.isfinite(value.grad).all() for value in encoder.parameters())
