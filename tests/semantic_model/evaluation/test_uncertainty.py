"""How unsure rankers are: hand-worked distributions, and real models of width 8 on the small world."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schemas.belief import SlotValue
from schemas.ontology import Ontology, Slot, Value
from semantic_model.evaluation.uncertainty import (
    Judge,
    context_vectors,
    has_teacher,
    jensen_shannon,
    log_probabilities,
    margin,
    ranking_margins,
    seed_disagreement,
    teacher_disagreement,
)
from semantic_model.ranking.model_spec import Sizes, find_model
from semantic_model.ranking.network_ranker import NetworkRanker, TeacherRanker
from semantic_model.semantic.scoring import match_all

ONTOLOGY = Ontology(
    slots=(
        Slot(name="color", attribute="color", values=tuple(Value(value=v, count=3) for v in ("red", "blue", "green"))),
        Slot(name="type", attribute="type", values=tuple(Value(value=v, count=4) for v in ("dress", "shirt"))),
    )
)
KINDS = ("semantic", "grounded", "dual-encoder")


def log(*rows):
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, dtype=np.float64)).clip(-700)


def test_divergence_is_that_of_the_definition():
    p, q = (0.5, 0.5, 0.0), (0.5, 0.0, 0.5)
    # half of either's mass is its own: the mean is (1/2, 1/4, 1/4), of 1.5 bits; each has 1 bit
    assert jensen_shannon([log(p), log(q)]) == pytest.approx([0.5])
    assert jensen_shannon([log((1, 0)), log((0, 1))]) == pytest.approx([1.0])
    assert jensen_shannon([log((1, 0, 0)), log((0, 1, 0)), log((0, 0, 1))]) == pytest.approx([1.0])
    assert jensen_shannon([log(p), log(p)]) == pytest.approx([0.0])


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_divergence_lies_between_0_and_1_whatever_the_order(seed: int, count: int):
    tables = [np.log(p) for p in np.random.default_rng(seed).dirichlet(np.ones(6), size=(count, 3))]
    found = jensen_shannon(tables)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found, jensen_shannon(tables[::-1]), atol=1e-12)


def test_a_margin_is_to_the_next_product_that_is_not_tied():
    assert margin(log((0.5, 0.3, 0.2), (0.4, 0.4, 0.2), (1 / 3, 1 / 3, 1 / 3))) == pytest.approx([0.2, 0.2, 0.0])


def ranker_of(kind: str, world, config_of, seed: int):
    config = config_of(model={"kind": kind}, loss={"rank": "softmax", "scale": 7.0})
    spec = find_model(kind)
    reader = spec.open_reader(config, world.words, world.features, ONTOLOGY, None)
    torch.manual_seed(seed)
    model = spec.build(config, Sizes(world.words.size, config.model.width, world.features.width, reader))
    return NetworkRanker(model, reader, spec.title)


@pytest.fixture
def judge_of(world, config_of):
    def build(kind: str, seed: int = 0) -> Judge:
        return Judge(ranker_of(kind, world, config_of, seed), world.corpus.products, world.corpus.queries("train"))

    return build


def test_probabilities_of_the_papers_model_are_the_softmax_of_its_scaled_match(judge_of):
    judge = judge_of("semantic")
    ranker = judge.ranker
    contexts, table = ranker.encode_contexts(judge.queries), ranker.encode_products(judge.products)
    with torch.inference_mode():
        batch = ranker.reader.products(judge.products)
        match = match_all(ranker.model, contexts.context, ranker.model.encode_products(batch), contexts.S)
        expected = torch.log_softmax(ranker.model.log_scale.exp() * match, dim=1).numpy()
    np.testing.assert_allclose(log_probabilities(ranker, ranker.score(contexts, table)), expected, atol=1e-4)


def test_log_odds_of_a_grounded_model_are_probabilities_as_they_are(judge_of):
    judge = judge_of("grounded")
    scores = judge.ranker.score(
        judge.ranker.encode_contexts(judge.queries), judge.ranker.encode_products(judge.products)
    )
    expected = torch.log_softmax(torch.from_numpy(scores).double(), dim=1).numpy()
    np.testing.assert_allclose(log_probabilities(judge.ranker, scores), expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_agrees_with_itself_and_not_with_another_seed(judge_of, kind: str):
    one, other = judge_of(kind), judge_of(kind, seed=1)
    assert seed_disagreement([one, one]) == pytest.approx(np.zeros(8), abs=1e-6)
    found = seed_disagreement([one, other])
    assert found.shape == (8,)
    assert (found > 1e-5).all()


def test_all_contexts_are_asked_whatever_is_held_at_a_time(judge_of, monkeypatch):
    judges = [judge_of("grounded"), judge_of("grounded", seed=1)]
    states = [(SlotValue("color", "red"),)] * 8
    whole = [seed_disagreement(judges), teacher_disagreement(judges[0], states), ranking_margins(judges[0])]
    vectors = context_vectors(judges[0])
    monkeypatch.setattr("semantic_model.evaluation.uncertainty._CHUNK", 3)
    monkeypatch.setattr("semantic_model.evaluation.uncertainty._CELLS", 2 * len(judges[0].products))
    parts = [seed_disagreement(judges), teacher_disagreement(judges[0], states), ranking_margins(judges[0])]
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    np.testing.assert_allclose(context_vectors(judges[0]), vectors, atol=1e-5)


@pytest.mark.parametrize("kind", ["semantic", "grounded"])
def test_the_teacher_ranks_by_the_state_that_it_is_told(judge_of, kind: str):
    judge = judge_of(kind)
    assert has_teacher(judge.ranker)
    red, blue = ((SlotValue("color", value),) for value in ("red", "blue"))
    told = teacher_disagreement(judge, [red] * 8)
    assert ((told > 0) & (told < 1)).all()
    assert teacher_disagreement(judge, [red] * 8) == pytest.approx(told)
    assert not np.allclose(teacher_disagreement(judge, [blue] * 8), told, atol=1e-7)


def test_a_grounded_student_that_believes_what_the_teacher_is_told_does_not_differ(judge_of, monkeypatch):
    judge = judge_of("grounded")
    states = [(SlotValue("color", "red"),)] * 8
    model, reader = judge.ranker.model, judge.ranker.reader
    student = judge.ranker.encode_contexts(judge.queries)
    told = model.teacher_state(reader.states(states))
    monkeypatch.setattr(type(judge.ranker), "encode_contexts", lambda self, queries: replace(student, state=told))
    assert teacher_disagreement(judge, states) == pytest.approx(np.zeros(8), abs=1e-6)


def test_a_teacher_as_a_ranker_scores_with_the_states_of_its_queries(judge_of):
    judge = judge_of("grounded")
    model, reader = judge.ranker.model, judge.ranker.reader
    states = [(SlotValue("color", ("red", "blue")[at % 2]),) for at in range(len(judge.queries))]
    at = {(query.dialogue_id, query.turn): number for number, query in enumerate(judge.queries)}
    asked: list[int] = []

    def gold(queries):
        asked.extend(at[query.dialogue_id, query.turn] for query in queries)
        return [states[at[query.dialogue_id, query.turn]] for query in queries]

    teacher = TeacherRanker(judge.ranker, gold)
    assert teacher.name == f"{judge.ranker.name} (teacher)"
    found = teacher.score(teacher.encode_contexts(judge.queries), teacher.encode_products(judge.products))
    assert asked == list(range(len(judge.queries)))
    with torch.inference_mode():
        context = model.encode_contexts(reader.contexts(judge.queries).batch(slice(None), torch.device("cpu")))
        products = model.encode_products(reader.products(judge.products))
        expected = model.logits(context, products, model.teacher_state(reader.states(states))).numpy()
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-4)


def test_a_dual_encoder_has_no_teacher(judge_of):
    assert not has_teacher(judge_of("dual-encoder").ranker)


@pytest.mark.parametrize(("kind", "width"), [("semantic", 16), ("grounded", 16), ("dual-encoder", 8)])
def test_context_vectors_have_parts_of_length_one(judge_of, kind: str, width: int):
    found = context_vectors(judge_of(kind))
    assert found.shape == (8, width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found[:, :8], axis=1), 1, atol=1e-5)


def test_margins_of_a_model_are_those_of_its_probabilities(judge_of):
    judge = judge_of("dual-encoder")
    scores = judge.ranker.score(
        judge.ranker.encode_contexts(judge.queries), judge.ranker.encode_products(judge.products)
    )
    p = np.sort(np.exp(log_probabilities(judge.ranker, scores)), axis=1)
    assert ranking_margins(judge) == pytest.approx(p[:, -1] - p[:, -2])
    assert math.isclose(float(p[0].sum()), 1.0, rel_tol=1e-9)
