from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.benchmarks.measure import Options
from pipeline.benchmarks.training import benchmark
from semantic_model.attention import AttentionStack
from semantic_model.speed.training import TrainingCase, covered


@pytest.fixture(scope="module")
def case() -> TrainingCase:
    return TrainingCase(batch=6, width=16, device=torch.device("cpu"))


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
    assert seen.count((30, 5)) == 1  # 5 picture places a turn
    assert seen.count((30, 1)) == 1


def test_our_step_reads_real_places_only(case, monkeypatch):
    total = sum(rows * length for rows, length in places(case, monkeypatch, "float32"))
    plain = sum(rows * length for rows, length in places(case, monkeypatch, "plain"))
    assert total < 0.8 * plain


def test_both_steps_have_the_same_loss(case):
    assert case.largest_difference() < 1e-5


def test_texts_are_as_long_as_those_of_real_dialogues():
    contexts = TrainingCase(batch=4, width=256, device=torch.device("cpu")).contexts
    lengths = (contexts.tokens > 0).sum(axis=2)
    assert contexts.turn_mask.mean() == pytest.approx(0.7, abs=0.07)
    assert contexts.turn_mask[:, -1].all()
    assert lengths[contexts.turn_mask].mean() == pytest.approx(14.2, abs=0.6)
    assert not lengths[~contexts.turn_mask].any()
    assert (np.diff(contexts.turn_mask.astype(int), axis=1) >= 0).all()  # padding is to the left


def test_the_benchmark_says_ratio_goal_and_throughput():
    rows = benchmark(Options(rounds=1, sizes=(3,), width=16))
    assert len(rows) == 4
    for row in rows:
        assert row["ratio"] == pytest.approx(row["seconds_against"] / row["seconds"])
        assert row["examples_per_second"] == [pytest.approx(3 / row["seconds"])]
    assert [row["goal"] for row in rows] == [">= 3", None] * 2


def test_the_time_covered_by_spans_counts_overlaps_once():
    assert covered([(0.0, 2.0), (1.0, 3.0), (1.5, 1.6), (5.0, 6.0)]) == 4.0
    assert covered([]) == 0.0
