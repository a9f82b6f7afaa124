"""How a gold slot value becomes a vector, and what is done about slots without one: worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from semantic_model.data.tokenizer import Vocabulary
from semantic_model.layers.word_vectors import WordTable
from semantic_model.semantic.reading import INPUTS, SlotReader, StateBatch, value_text
from semantic_model.semantic.settings import Settings
from semantic_model.semantic.state import value_encoder
from tests.semantic_model.slots_of import slots_of

NARROW = {"model": {"width": 4, "heads": 1}}  # the last two numbers are zero everywhere, and left out below
VECTORS = np.array([[5, 5, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [4, 4, 0, 0]], dtype=np.float32)  # [PAD] first
# two pieces, one piece, none at all; V = 3
VALUES = torch.tensor([[[1, 2, 0], [3, 0, 0], [0, 0, 0]]])


def encoded(**state) -> list[list[float]]:
    config = Settings.model_validate({**NARROW, "text": {"embeddings": "corpus"}, "state": state})
    words = WordTable(config, 4, 4)
    found = value_encoder(config, words)
    brought = Vocabulary(Tokenizer(WordLevel({"a": 0, "b": 1, "c": 2, "d": 3})), VECTORS, "four vectors")
    words.start_from(brought)
    if hasattr(found, "start_from"):
        found.start_from(brought)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if name in ("none", "score.weight"):
                weight = [[0.0, 1.0, 0.0, 0.0]] if name == "score.weight" else [7.0, 8.0, 0.0, 0.0]
                parameter.copy_(torch.tensor(weight))
            if name == "score.bias":
                parameter.zero_()
        return found(VALUES)[0, :, :2].tolist()


def test_the_mean_is_over_real_pieces():
    assert encoded() == [[0.5, 1.0], [4.0, 4.0], [0.0, 0.0]]


def test_the_sum_is_over_real_pieces():
    assert encoded(value_pool="sum") == [[1.0, 2.0], [4.0, 4.0], [0.0, 0.0]]


def test_learned_weights_are_a_softmax_over_real_pieces():
    # scores are the second numbers, 0 and 2: weights 1 / (1 + e^2) and e^2 / (1 + e^2)
    heavy = np.exp(2) / (1 + np.exp(2))
    found = encoded(value_pool="attn")
    assert found[0] == pytest.approx([1 - heavy, 2 * heavy])
    assert found[1:] == [[4.0, 4.0], [0.0, 0.0]]


def test_the_release_sums_padding_and_divides_by_real_pieces():
    # (1, 0) + (0, 2) + [PAD] (5, 5), by 2; (4, 4) + 2 (5, 5), by 1; an empty value is 3 (5, 5), by 1 instead of 0
    assert encoded(value_pool="release") == [[3.0, 3.5], [14.0, 14.0], [15.0, 15.0]]


def test_a_slot_without_a_value_may_have_a_vector_of_its_own():
    assert encoded(none="learned") == [[0.5, 1.0], [4.0, 4.0], [7.0, 8.0]]


def test_without_values_nothing_is_read():
    assert encoded(use_values=False, value_pool="release", none="learned") == [[0.0, 0.0]] * 3


def test_unmentioned_slots_say_none_or_nothing(world, config_of):
    for none, text in (("token", "none"), ("learned", ""), ("mask", "")):
        reader = SlotReader(config_of(state={"none": none}), world.words, world.features, slots_of("color"), INPUTS)
        assert reader.states([()]).values[0, 0].tolist() == [*world.words.encode([text], 6)[0], *[0] * 6][:6]
    assert value_text([], sentiment=True, none="") == ""
    assert value_text([("like", "red")], sentiment=False, none="") == "red"


def test_masked_slots_come_out_as_zeros_and_change_no_other(inputs_of, config_of):
    given = inputs_of(config_of(state={"none": "mask"}))
    model = given.model.eval()
    S = model.teacher_state(given.states)
    assert torch.equal(S[:, 2], torch.zeros(4, 8))  # sleeve_length is never mentioned
    assert (S[:, :2].norm(dim=2) > 0).all()
    two = model.slot_keys.keys
    model.slot_keys.keys = two[[0, 1, 0]]  # another name of the slot that is masked
    assert torch.allclose(model.teacher_state(given.states)[:, :2], S[:, :2], atol=1e-6)


def test_a_state_without_any_mentioned_slot_stays_finite(inputs_of, config_of):
    given = inputs_of(config_of(state={"none": "mask"}))
    nothing = StateBatch(torch.zeros_like(given.states.values), given.states.labelled)
    S = given.model.eval().teacher_state(nothing)
    products = given.model.encode_products(given.products).take(torch.arange(12).expand(4, -1))
    found = given.model.score(given.model.interact(given.model.encode_contexts(given.contexts), products, S))
    assert torch.equal(S, torch.zeros_like(S))
    assert torch.isfinite(found).all()
