from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from semantic_model.data.tokenizer import PAD
from semantic_model.layers.pooling import masked_mean
from semantic_model.layers.token_states import TokenStates
from semantic_model.layers.word_vectors import WordTable
from semantic_model.semantic.encoders import TextEncoder

TOKENS = torch.tensor([[3, 4, 5, 0], [6, 0, 0, 0], [0, 0, 0, 0], [7, 3, 3, 9]])


def parts(config_of, **text):
    config = config_of(text={"pool": "mean", **text})
    torch.manual_seed(0)
    words = WordTable(config, 30, 8)
    return words, TokenStates(config, words, 8), TextEncoder(config, words, 8)


def test_padded_texts_are_read_as_packed_ones(config_of):
    words, states, packed = parts(config_of)
    states.load_state_dict(packed.state_dict())
    mask = TOKENS != PAD
    found = states(words(TOKENS), mask)
    assert not found[~mask].any()
    torch.testing.assert_close(masked_mean(found, mask), packed(TOKENS), atol=1e-6, rtol=1e-5)


def test_more_padding_changes_nothing_and_places_beyond_share_the_last_ones(config_of):
    words, states, _ = parts(config_of)
    mask = TOKENS != PAD
    longer = F.pad(TOKENS, (0, 9))  # more places than there are positions
    found = states(words(longer), longer != PAD)
    torch.testing.assert_close(found[:, :4], states(words(TOKENS), mask), atol=1e-6, rtol=1e-5)
    alike = torch.full((1, 12), 3)
    out = states(words(alike), alike != PAD)[0]
    torch.testing.assert_close(out[7:], out[7].expand(5, -1))
    assert not torch.allclose(out[6], out[7])


def test_positions_begin_as_those_that_come_with_the_words(config_of, world):
    words = world.words
    brought = np.arange(24, dtype=np.float32).reshape(3, 8)
    known = type(words)(words.tokenizer, None, "", positions=brought)
    for setting, begins in (("brought", True), ("learned", False)):
        _, states, _ = parts(config_of, positions=setting)
        before = states.positions.weight.detach().clone()
        states.start_from(known)
        expected = torch.cat([torch.from_numpy(brought), before[3:]]) if begins else before
        torch.testing.assert_close(states.positions.weight.detach(), expected)
