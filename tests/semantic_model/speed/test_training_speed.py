from __future__ import annotations

import pytest
import torch

from schemas.errors import InputError
from semantic_model.data.corpus import Corpus
from semantic_model.layers.attention import AttentionStack
from semantic_model.speed.training import TrainingCase, covered

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def case(world) -> TrainingCase:
    return TrainingCase(world.corpus, world.words, batch=6, width=16, device=CPU)


def places(case: TrainingCase, monkeypatch: pytest.MonkeyPatch, kind: str) -> list[tuple[int, int]]:
    """Rows and places of everything that goes through an attention stack in a step on D_P."""
    seen: list[tuple[int, int]] = []
    forward, packed = AttentionStack.forward, AttentionStack.packed

    def watched(self, x, *more):
        seen.append((x.shape[0], x.shape[1]))
        return forward(self, x, *more)

    def watched_packed(self, x, spans):
        seen.extend(spans)
        return packed(self, x, spans)

    monkeypatch.setattr(AttentionStack, "forward", watched)
    monkeypatch.setattr(AttentionStack, "packed", watched_packed)
    case.step("D_P", kind)
    return seen


def test_the_plain_step_pads_every_text_and_turn_and_encodes_every_candidate(case, monkeypatch):
    seen = places(case, monkeypatch, "plain")
    assert seen.count((30, 30)) == 2  # 6 contexts x 5 turns, and 6 x 5 candidates, of 30 places each
    assert seen.count((30, 5)) == 1  # 5 image places a turn
    assert seen.count((30, 1)) == 1  # one of each candidate


def test_our_step_reads_real_places_only(case, monkeypatch):
    ours = sum(rows * length for rows, length in places(case, monkeypatch, "float32"))
    plain = sum(rows * length for rows, length in places(case, monkeypatch, "plain"))
    assert ours < 0.3 * plain


def test_both_steps_have_the_same_loss(case):
    assert case.largest_difference() < 1e-5


def test_both_steps_have_the_same_gradients(case):
    case.model.eval()
    found = []
    for plain in (False, True):
        case.model.zero_grad(set_to_none=True)
        case._objective("D_F", case._rows(0), plain=plain).total.backward()
        found.append({name: p.grad.clone() for name, p in case.model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, value in found[1].items():
        assert torch.allclose(found[0][name], value, rtol=1e-3, atol=1e-4 * max(float(value.abs().max()), 1e-2)), name


def test_a_corpus_without_anything_to_train_on_is_refused(world):
    empty = Corpus(world.corpus.products, {}, {}, {}, False, {}, ())
    with pytest.raises(InputError, match="no recommendation turns to train on"):
        TrainingCase(empty, world.words, batch=2, width=16, device=CPU)


def test_the_time_covered_by_spans_counts_overlaps_once():
    assert covered([(0.0, 2.0), (1.0, 3.0), (1.5, 1.6), (5.0, 6.0)]) == 4.0
    assert covered([]) == 0.0
