from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semantic_model.ranking.chunked_scoring import Chunk, Scratch, for_each
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.semantic.encoders import ProductVectors
from semantic_model.semantic.gram import GramQuery, gram_cosine, gram_cosine_
from semantic_model.semantic.interaction import DialogueStateInteraction
from semantic_model.semantic.reading import INPUTS, SlotReader
from semantic_model.semantic.scoring import ProductTable
from semantic_model.semantic.settings import DsiConfig
from tests.semantic_model.slots_of import slots_of

CPU = torch.device("cpu")


def plain_cosine(dsi: DialogueStateInteraction, x_C: Tensor, stack: Tensor, X_0: Tensor) -> Tensor:
    """Hop by hop with every x_k written out, in float64 where float32 rounding could be mistaken for an error."""
    x_P = dsi.interact(X_0.expand(len(x_C), -1, -1), stack).x
    return torch.nn.functional.cosine_similarity(x_C[:, None], x_P, dim=-1)


def a_question(seed: int, *, B: int, n: int, K: int, D: int, C: int, temperature: float, scale: float = 1.0):
    torch.manual_seed(seed)
    dsi = DialogueStateInteraction(DsiConfig(hops=K, temperature=temperature), D).requires_grad_(False)
    S, c, X_0 = torch.randn(B, n, D), torch.randn(B, 1, D), scale * torch.randn(C, D)
    stack = dsi.states(S)
    return dsi, dsi.interact(c, stack).x[:, 0], stack, X_0


def in_place(dsi: DialogueStateInteraction, x_C: Tensor, stack: Tensor, X_0: Tensor) -> Tensor:
    square = X_0.float().square().sum(dim=1)
    return gram_cosine_(GramQuery.of(dsi, x_C, stack), X_0, square, Scratch(CPU)).clone()


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    B=st.integers(1, 5),
    n=st.integers(1, 15),
    K=st.integers(0, 4),
    D=st.integers(8, 96),
    C=st.sampled_from([1, 2, 7, 60, 513, 700]),
    temperature=st.sampled_from([0.05, 0.1, 0.3, 1.0, 5.0]),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    empty_product=st.booleans(),
    empty_slot=st.booleans(),
)
def test_the_in_place_gram_form_equals_the_plain_form(
    seed, B, n, K, D, C, temperature, scale, empty_product, empty_slot
):
    dsi, x_C, stack, X_0 = a_question(seed, B=B, n=n, K=K, D=D, C=C, temperature=temperature, scale=scale)
    if empty_product:
        X_0[0] = 0.0  # no image
    if empty_slot:
        stack[:, :, 0] = 0.0
    found = in_place(dsi, x_C, stack, X_0)
    assert torch.isfinite(found).all()
    plain = plain_cosine(dsi, x_C, stack, X_0)
    exact = plain_cosine(dsi.double(), x_C.double(), stack.double(), X_0.double())
    # tiny products and small temperatures make much of a rounding error, in the plain form as well
    assert (found - exact).abs().max() < max(1e-5, 3 * float((plain - exact).abs().max()))


@pytest.mark.parametrize("temperature", [0.03, 0.01, 0.002])
def test_small_temperatures_stay_finite_on_either_side_of_the_bound(temperature: float):
    dsi, x_C, stack, X_0 = a_question(1, B=2, n=6, K=3, D=64, C=300, temperature=temperature)
    X_0[:6] = 3 * stack[0, 0]  # cosine 1 with a slot: the largest exponent there is
    X_0[6:12] = -3 * stack[0, 0]
    found = in_place(dsi, x_C, stack, X_0)
    exact = plain_cosine(dsi.double(), x_C.double(), stack.double(), X_0.double())
    # a softmax makes 1 / temperature times as much of every rounding error
    assert (found - exact).abs().max() < 1e-5 * max(1.0, 0.05 / temperature)


def test_a_product_that_the_hops_cancel_matches_nothing():
    dsi, x_C, stack, X_0 = a_question(2, B=1, n=1, K=1, D=16, C=3, temperature=0.05)
    X_0[0] = -stack[0, 1, 0]  # one slot: a = 1, so x_1 = 0 exactly
    found = in_place(dsi, x_C, stack, X_0)
    assert abs(found[0, 0]) < 1e-2
    assert torch.allclose(found, gram_cosine(dsi, x_C, stack, X_0), atol=1e-3)
    assert torch.allclose(found[:, 1:], plain_cosine(dsi, x_C, stack, X_0)[:, 1:], atol=1e-5)


def test_memory_that_is_used_again_leaves_nothing_behind():
    scratch = Scratch(CPU)
    for C in (700, 30, 700):
        dsi, x_C, stack, X_0 = a_question(C, B=3, n=5, K=2, D=24, C=C, temperature=0.5)
        found = gram_cosine_(GramQuery.of(dsi, x_C, stack), X_0, X_0.square().sum(dim=1), scratch)
        assert torch.allclose(found, in_place(dsi, x_C, stack, X_0), atol=1e-7)


def test_a_bfloat16_table_gives_exactly_the_scores_of_the_rounded_products():
    dsi, x_C, stack, X_0 = a_question(3, B=2, n=15, K=3, D=96, C=600, temperature=0.1)
    rounded = X_0.bfloat16()
    assert torch.allclose(in_place(dsi, x_C, stack, rounded), in_place(dsi, x_C, stack, rounded.float()), atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_a_bfloat16_table_moves_scores_little_and_keeps_the_best_products(temperature: float):
    dsi, x_C, stack, X_0 = a_question(4, B=4, n=15, K=3, D=256, C=5000, temperature=temperature, scale=4.0)
    X_0[:50] += torch.randn(50, 1) * x_C[0]  # some that stand out for the first context
    exact, rounded = in_place(dsi, x_C, stack, X_0), in_place(dsi, x_C, stack, X_0.bfloat16())
    assert (exact - rounded).abs().max() < 2**-8
    assert (exact - rounded).abs().mean() < 5e-4
    for one, other in zip(exact, rounded, strict=True):
        best, found = set(one.topk(100).indices.tolist()), set(other.topk(100).indices.tolist())
        assert len(best & found) >= 97
        # nobody overtakes another by more than rounding explains
        assert one[sorted(found)].min() >= one.topk(100).values[-1] - 2 * 2**-8


@pytest.fixture
def ranker_and_contexts(inputs_of, config_of, world):
    config = config_of()
    reader = SlotReader(config, world.words, world.features, slots_of("color", "type", "sleeve_length"), INPUTS)
    ranker = NetworkRanker(inputs_of(config).model, reader, "semantic")
    return ranker, ranker.encode_contexts(world.corpus.queries("train"))


def test_catalogue_scores_are_those_of_the_paper_s_formula(ranker_and_contexts, world):
    ranker, contexts = ranker_and_contexts
    table = ranker.encode_products(world.corpus.products)
    vectors = ProductVectors(table.text.vectors, table.image.vectors, table.image_mask)
    with torch.no_grad():
        candidates = vectors.take(torch.arange(12).expand(len(contexts), -1))
        plain = ranker.model.score(ranker.model.interact(contexts.context, candidates, contexts.S))
    assert np.abs(ranker.score(contexts, table) - plain.numpy()).max() < 1e-5
    assert np.abs(ranker.score(contexts, vectors) - plain.numpy()).max() < 1e-5


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunk", [Chunk(1, 5), Chunk(3, 2), Chunk(100, 100)])
def test_scores_depend_on_neither_chunks_nor_cores(ranker_and_contexts, world, monkeypatch, chunk, threads):
    ranker, contexts = ranker_and_contexts
    table = ranker.encode_products(world.corpus.products)
    whole = ranker.score(contexts, table)
    before = torch.get_num_threads()
    monkeypatch.setattr(Chunk, "of", lambda *_: chunk)
    monkeypatch.setattr(ranker, "queries", 5)
    torch.set_num_threads(threads)
    try:
        assert np.allclose(ranker.score(contexts, table), whole, atol=1e-6)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_scores_of_a_candidate_list_are_those_of_its_products(ranker_and_contexts, world, monkeypatch):
    ranker, contexts = ranker_and_contexts
    table = ranker.encode_products(world.corpus.products)
    whole = ranker.score(contexts, table)
    monkeypatch.setattr(Chunk, "of", lambda *_: Chunk(1, 4))
    rows = np.random.default_rng(0).integers(-1, 12, (len(contexts), 9))
    found = ranker.score(contexts, table, rows)
    assert np.array_equal(found == -np.inf, rows == -1)
    there = rows >= 0
    assert np.allclose(found[there], np.take_along_axis(whole, rows.clip(min=0), axis=1)[there], atol=1e-6)
    assert ranker.score(contexts, table, rows[:, :0]).shape == (len(contexts), 0)


def test_a_bfloat16_ranker_stores_half_as_much_and_scores_nearly_the_same(ranker_and_contexts, world):
    ranker, contexts = ranker_and_contexts
    full = ranker.encode_products(world.corpus.products)
    ranker.precision = "bfloat16"
    half = ranker.encode_products(world.corpus.products)
    assert half.text.vectors.nbytes * 2 == full.text.vectors.nbytes
    assert half.image.vectors.dtype == torch.bfloat16
    difference = np.abs(ranker.score(contexts, half) - ranker.score(contexts, full)).max()
    assert 0 < difference < 2 * 2**-8


def test_squared_norms_are_those_of_the_vectors_as_stored():
    vectors = torch.randn(5000, 8).bfloat16()
    table = ProductTable.of(ProductVectors(vectors, 2 * vectors, torch.ones(5000, dtype=torch.bool)))
    assert torch.allclose(table.text.square, vectors.float().square().sum(dim=1))
    assert torch.allclose(table[10:20].image.square, 4 * table.text.square[10:20])


def test_workers_share_all_pieces_and_keep_their_order():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = for_each(range(100), lambda pieces: list(pieces))
        assert sorted(piece for some in found for piece in some) == list(range(100))
        assert all(some == sorted(some) for some in found)
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            for_each([1, 0, 1, 1], lambda pieces: [1 / piece for piece in pieces])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_workers_need_no_gradients_and_no_pieces():
    def grads(pieces: Iterator[int]) -> list[bool]:
        return [torch.is_grad_enabled() for _ in pieces]

    assert not any(flag for some in for_each(range(4), grads) for flag in some)
    assert for_each([], grads) == [[]]
