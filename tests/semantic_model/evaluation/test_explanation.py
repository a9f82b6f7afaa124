"""What models tell of themselves adds up to what they do: real models of width 8 on the small world."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semantic_model.config.sections import ModelConfig
from semantic_model.evaluation.explanation import explain
from semantic_model.layers.attention import AttentionStack, MultiHeadAttention
from semantic_model.models.tfidf import TfIdf
from semantic_model.ranking.model_spec import Sizes, find_model
from semantic_model.ranking.network_ranker import NetworkRanker
from tests.semantic_model.evaluation.test_uncertainty import ONTOLOGY

ROWS = [[0, 3, 11], [1, 2, 5], [4, 4, 4], [7, 8, 9]]


@pytest.fixture
def ranker_of(world, config_of):
    def build(kind: str, **sections):
        config = config_of(model={"kind": kind}, **{"loss": {"rank": "softmax", "scale": 7.0}, **sections})
        spec = find_model(kind)
        reader = spec.open_reader(config, world.words, world.features, ONTOLOGY, None)
        torch.manual_seed(3)
        model = spec.build(config, Sizes(world.words.size, config.model.width, world.features.width, reader))
        with torch.no_grad():  # away from values at the start that hide a mistake, as zeros and identities do
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.2 * torch.randn_like(parameter)
        return NetworkRanker(model, reader, spec.title)

    return build


@pytest.fixture
def asked(world):
    queries = world.corpus.queries("train")[:4]
    return queries, world.corpus.products


@pytest.mark.parametrize("grounding", [{}, {"shown": False}, {"similarity": False}])
def test_the_parts_of_a_score_are_what_it_is_the_sum_of(ranker_of, asked, grounding):
    queries, products = asked
    loss = {"rank": "softmax", "js_weight": 0.0, "co_sim_weight": 0.0}
    ranker = ranker_of("grounded", grounding=grounding, loss=loss)
    table = ranker.encode_products(products)
    scores = ranker.score(ranker.encode_contexts(queries), table)
    found = explain(ranker, queries, table, ROWS)
    sums = [[sum(parts.values()) for parts in each.parts] for each in found]
    np.testing.assert_allclose(sums, np.take_along_axis(scores, np.array(ROWS), axis=1), rtol=1e-4, atol=1e-4)
    names = {"color", "type", "similarity of words and images", "shown before"}
    names -= {"shown before"} if "shown" in grounding else set()
    names -= {"similarity of words and images"} if "similarity" in grounding else set()
    assert all(parts.keys() == names for each in found for parts in each.parts)
    shown = [[each.parts[c].get("shown before", 0.0) != 0 for c in range(3)] for each in found]
    # dialogue d0 was shown product 1 before its recommendation, d1 product 2, d2 product 3, d3 product 4
    images = [query.history[1].image_ids[0] for query in queries]
    expected = [[products[row].image_id == image for row in rows] for rows, image in zip(ROWS, images, strict=True)]
    assert shown == ([[False] * 3] * 4 if "shown" in grounding else expected)


def test_beliefs_are_the_probabilities_that_the_student_predicts(ranker_of, asked):
    queries, products = asked
    ranker = ranker_of("grounded")
    found = explain(ranker, queries, ranker.encode_products(products), ROWS)
    with torch.inference_mode():
        batch = ranker.reader.contexts(queries).batch(slice(None), torch.device("cpu"))
        state = ranker.model.student_state(ranker.model.encode_contexts(batch)).state
    values = [(slot.name, value.value) for slot in ONTOLOGY.slots for value in slot.values]
    for b, each in enumerate(found):
        told = {(belief.slot, belief.value, belief.polarity): belief.probability for belief in each.beliefs}
        for v, (slot, value) in enumerate(values):
            for polarity, side in (("like", state.like), ("dislike", state.dislike)):
                probability = float(side[b, v])
                if probability > 0.01:
                    assert told.pop((slot, value, polarity)) == pytest.approx(probability, abs=1e-5)
        assert told == {}
        assert each.state is not None
        by_slot = [belief.slot for belief in each.beliefs]
        assert by_slot == sorted(by_slot, key=["color", "type"].index)


@pytest.mark.parametrize("kind", ["semantic", "grounded"])
def test_attention_is_that_of_the_dialogue_state_interaction(ranker_of, asked, kind):
    queries, products = asked
    ranker = ranker_of(kind)
    found = explain(ranker, queries, ranker.encode_products(products), ROWS)
    network = ranker.model if kind == "semantic" else ranker.model.semantic
    with torch.inference_mode():
        batch = ranker.reader.contexts(queries).batch(slice(None), torch.device("cpu"))
        context = network.encode_contexts(batch if kind == "semantic" else batch.plain)
        vectors = network.encode_products(
            ranker.reader.products(products) if kind == "semantic" else ranker.reader.products(products).plain
        )
        candidates = network.interact(context, vectors.take(torch.tensor(ROWS)), network.student_state(context))
    for name, expected in (("text", candidates.context_T), ("images", candidates.context_I)):
        told = [list(each.slots[name].values()) for each in found]
        np.testing.assert_allclose(told, expected.attention[:, 0], atol=1e-5)
        np.testing.assert_allclose(np.sum(told, axis=1), 1.0, atol=1e-5)
    assert [list(each.slots["text"]) for each in found] == [["color", "type"]] * 4
    # three utterances come before each recommendation, and the window is 3
    assert [len(each.turns) for each in found] == [3] * 4
    np.testing.assert_allclose([sum(each.turns) for each in found], 1.0, atol=1e-5)


def test_a_student_that_reads_the_last_turn_attends_to_nothing_else(ranker_of, asked):
    queries, products = asked
    ranker = ranker_of("semantic", student={"context": "last"})
    found = explain(ranker, queries, ranker.encode_products(products), ROWS)
    assert [list(each.turns) for each in found] == [[1.0]] * 4


def test_models_without_states_and_other_rankers_tell_nothing(ranker_of, asked, world):
    queries, products = asked
    for ranker in (ranker_of("dual-encoder"), TfIdf().fit(world.corpus)):
        for each in explain(ranker, queries, ranker.encode_products(products), ROWS):
            assert each.state is None
            assert [len(part) for part in (each.beliefs, each.slots, each.turns, each.parts)] == [0] * 4


def test_the_papers_model_has_no_beliefs_that_could_be_read(ranker_of, asked):
    queries, products = asked
    ranker = ranker_of("semantic")
    (first, *_) = explain(ranker, queries, ranker.encode_products(products), ROWS)
    assert first.state is None
    assert not first.beliefs
    assert not first.parts
    assert first.slots


def test_weights_give_what_the_attention_gives():
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 1, 0.0).eval()  # with one head the mean over heads is that head
    x, source = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    mask = torch.tensor([[True, True, False, True], [False, False, False, False]])
    with torch.inference_mode():
        weights = attention.weights(x, source, mask)
        expected = attention(x, source, mask)
        made = attention.out(weights @ attention.value(source))
    torch.testing.assert_close(made[0], expected[0])
    assert (weights[0, :, 2] == 0).all()
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 3))


def test_the_last_weights_are_those_of_what_the_blocks_before_give():
    torch.manual_seed(0)
    stack = AttentionStack(ModelConfig(width=8, heads=2, inner=8, layers=2, dropout=0.0)).eval()
    x, source, mask = torch.randn(1, 3, 8), torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    with torch.inference_mode():
        after = stack.layers[0](x, source, mask)
        torch.testing.assert_close(
            stack.last_weights(x, source, mask), stack.layers[1].attention.weights(after, source, mask)
        )
