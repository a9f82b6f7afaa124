from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_model.grounded.beliefs import (
    BeliefPredictor,
    Beliefs,
    LogBeliefs,
    SlotSums,
    belief_loss,
    gold_beliefs,
    posterior,
    state_beliefs,
    state_of_beliefs,
    tracked_beliefs,
)
from semantic_model.grounded.reading import EVIDENCE, TRACKED, GroundedStates

SIZES = (3, 0, 2, 1)  # values of four slots
SLOT_OF = torch.tensor([slot for slot, size in enumerate(SIZES) for _ in range(size)])
SUMS = SlotSums(SLOT_OF, 4)
B, V, D, n = 5, 6, 8, 4


def predictor(*, evidence: bool = True, seed: int = 0, spread: float = 0.3) -> BeliefPredictor:
    torch.manual_seed(seed)
    made = BeliefPredictor(D, SUMS, n, V, 0.0, evidence=evidence)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter += spread * torch.randn_like(parameter)
    return made


def inputs(seed: int = 1) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(seed)
    return torch.randn(B, n, D), torch.randn(B, 2 * D), torch.rand(B, V, len(EVIDENCE)), torch.randn(V, D)


def states(like: list[list[int]], dislike: list[list[int]]) -> GroundedStates:
    columns = [torch.zeros(len(like), V, dtype=torch.bool) for _ in range(2)]
    for wanted, rows in zip(columns, (like, dislike), strict=True):
        for b, row in enumerate(rows):
            wanted[b, row] = True
    return GroundedStates(
        torch.zeros(len(like), n, 1),
        torch.ones(len(like), n, dtype=torch.bool),
        *columns,
        torch.ones(len(like), n, dtype=torch.bool),
    )


def slot_totals(beliefs: Beliefs) -> torch.Tensor:
    return beliefs.none + SUMS(beliefs.like + beliefs.dislike)


def test_sums_are_over_the_values_of_each_slot():
    assert SUMS(torch.tensor([1.0, 2, 4, 8, 16, 32])).tolist() == [7, 0, 24, 32]
    assert SUMS.spread(torch.tensor([7, 5, 24, 32])).tolist() == [7, 7, 7, 24, 24, 32]
    assert SUMS.columns == (slice(0, 3), slice(3, 3), slice(3, 5), slice(5, 6))


@pytest.mark.parametrize("slots", [0, 3])
def test_an_ontology_without_values_or_slots_has_no_columns(slots: int):
    sums = SlotSums(torch.zeros(0, dtype=torch.int64), slots)
    assert sums(torch.zeros(2, 0)).tolist() == [[0.0] * slots] * 2
    assert sums.columns == (slice(0, 0),) * slots
    torch.manual_seed(0)
    model = BeliefPredictor(D, sums, slots, 0, 0.0)
    found = model(torch.randn(2, slots, D), torch.randn(2, 2 * D), torch.zeros(2, 0, len(EVIDENCE)), torch.zeros(0, D))
    assert torch.allclose(found.none, torch.zeros(2, slots), atol=1e-6)  # nothing is wanted, for sure
    gold = gold_beliefs(
        GroundedStates(
            torch.zeros(2, slots, 1),
            torch.ones(2, slots, dtype=torch.bool),
            *[torch.zeros(2, 0, dtype=torch.bool)] * 2,
            torch.ones(2, slots, dtype=torch.bool),
        ),
        sums,
    )
    assert gold.none.tolist() == [[1.0] * slots] * 2
    assert belief_loss(found, gold, torch.ones(2, slots, dtype=torch.bool), sums).item() == pytest.approx(0, abs=1e-6)


def test_gold_beliefs_share_a_slot_among_its_values():
    gold = gold_beliefs(states([[0, 2, 5], [], [3]], [[1], [], [3]]), SUMS)
    third = pytest.approx(1 / 3)
    assert gold.none.tolist() == [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 1]]
    assert gold.like.tolist() == [[third, 0, third, 0, 0, 1], [0] * 6, [0, 0, 0, 0.5, 0, 0]]
    assert gold.dislike.tolist() == [[0, third, 0, 0, 0, 0], [0] * 6, [0, 0, 0, 0.5, 0, 0]]
    assert torch.allclose(slot_totals(gold), torch.ones(3, 4))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 3.0, 10.0]))
def test_predicted_beliefs_of_a_slot_sum_to_one(seed: int, spread: float):
    found = predictor(seed=seed, spread=spread)(*inputs(seed))
    assert torch.allclose(slot_totals(found.exp()), torch.ones(B, n), atol=1e-5)
    assert torch.allclose(found.none[:, 1], torch.zeros(B), atol=1e-6)  # a slot without values


def plain_logits(model: BeliefPredictor, given: tuple[torch.Tensor, ...]) -> list[list[tuple[str, int, float]]]:
    """Per context: (like or dislike, value, logit), written out number by number."""
    S, turns, evidence, values = (part.tolist() for part in given)
    weights = {name: value.tolist() for name, value in model.named_parameters()}
    found = []
    for b in range(B):
        row = []
        for v in range(V):
            s = SLOT_OF[v].item()
            q = [
                sum(w * x for w, x in zip(line, S[b][s], strict=True)) + bias
                for line, bias in zip(weights["query.weight"], weights["query.bias"], strict=True)
            ]
            dot = sum(x * y for x, y in zip(q, values[v], strict=True))
            cosine = dot / math.sqrt(sum(x * x for x in q)) / math.sqrt(sum(y * y for y in values[v]))
            common = math.exp(weights["log_scale"]) * cosine
            common += 5 * weights["bias"][v]
            common += 5 * sum(w * h for w, h in zip(weights["from_turns"][v], turns[b], strict=True))
            for how in ("like", "dislike"):
                said = sum(w * e for w, e in zip(weights[how][s], evidence[b][v], strict=True))
                extra = weights["rarely_disliked"][s] if how == "dislike" else 0.0
                row.append((how, v, common + 5 * (said + extra)))
        found.append(row)
    return found


def test_predicted_beliefs_equal_a_twin_in_plain_loops():
    model, given = predictor(), inputs()
    found = model(*given).exp()
    for b, row in enumerate(plain_logits(model, given)):
        for s in range(n):
            none = math.exp(5 * model.none[s].item())
            mine = [(how, v, math.exp(logit)) for how, v, logit in row if SLOT_OF[v] == s]
            total = none + sum(weight for *_, weight in mine)
            assert found.none[b, s].item() == pytest.approx(none / total, rel=1e-3, abs=1e-6)
            for how, v, weight in mine:
                assert getattr(found, how)[b, v].item() == pytest.approx(weight / total, rel=1e-3, abs=1e-6)


def test_evidence_counts_unless_it_is_switched_off():
    S, turns, evidence, values = inputs()
    without = predictor(evidence=False)
    assert torch.equal(without(S, turns, evidence, values).like, without(S, turns, 0 * evidence, values).like)
    assert not without.like.requires_grad
    assert not without.dislike.requires_grad
    mentioned = torch.zeros(B, V, len(EVIDENCE))
    mentioned[0, 4, EVIDENCE.index("last")] = 1
    mentioned[1, 4, EVIDENCE.index("negated_last")] = 1
    fresh = BeliefPredictor(D, SUMS, n, V, 0.0)
    plain, found = fresh(S, turns, 0 * mentioned, values).exp(), fresh(S, turns, mentioned, values).exp()
    assert found.like[0, 4] > plain.like[0, 4]
    assert found.dislike[1, 4] > plain.dislike[1, 4]
    assert torch.allclose(found.like[:, :3], plain.like[:, :3])  # other slots stay as they were


@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
def test_large_logits_do_not_overflow(size: float):
    model = predictor()
    with torch.no_grad():
        model.bias[0], model.bias[3], model.bias[5] = size, -size, -size
        model.none[2] = -size
    given = inputs()
    found = model(*given)
    for part in found:
        assert torch.isfinite(part).all()
    assert torch.allclose(slot_totals(found.exp()), torch.ones(B, n), atol=1e-5)
    assert (found.exp().like[:, 0] > 0.49).all()
    belief_loss(
        found, gold_beliefs(states([[0]] * B, [[]] * B), SUMS), torch.ones(B, n, dtype=torch.bool), SUMS
    ).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def made_beliefs() -> LogBeliefs:
    """Two contexts; slots of 3, 0, 2 and 1 values."""
    like = torch.tensor([[0.5, 0.1, 0.1, 0.2, 0.2, 0.25], [0.1, 0.1, 0.1, 0.3, 0.1, 0.5]])
    dislike = torch.tensor([[0.1, 0.05, 0.05, 0.1, 0.1, 0.25], [0.1, 0.1, 0.1, 0.2, 0.2, 0.125]])
    none = torch.tensor([[0.1, 1.0, 0.4, 0.5], [0.4, 1.0, 0.2, 0.375]])
    made = Beliefs(none, like, dislike)
    assert torch.allclose(slot_totals(made), torch.ones(2, 4))
    return LogBeliefs(*(part.log() for part in made))


def test_the_loss_is_a_sum_over_slots_and_a_mean_over_contexts():
    gold = gold_beliefs(states([[0, 2], [5]], [[], [3]]), SUMS)
    every = torch.ones(2, 4, dtype=torch.bool)
    first = -(0.5 * math.log(0.5) + 0.5 * math.log(0.1)) - 0 - math.log(0.4) - math.log(0.5)
    second = -math.log(0.4) - 0 - math.log(0.2) - math.log(0.5)
    found = belief_loss(made_beliefs(), gold, every, SUMS).item()
    assert found == pytest.approx((first + second) / 2)


def test_the_loss_looks_at_labelled_slots_only():
    gold = gold_beliefs(states([[0, 2], [5]], [[], [3]]), SUMS)
    labelled = torch.tensor([[True, True, False, True], [False, False, True, False]])
    first = -(0.5 * math.log(0.5) + 0.5 * math.log(0.1)) - math.log(0.5)
    assert belief_loss(made_beliefs(), gold, labelled, SUMS).item() == pytest.approx((first - math.log(0.2)) / 2)
    labelled[1] = False  # the mean is over contexts with any
    assert belief_loss(made_beliefs(), gold, labelled, SUMS).item() == pytest.approx(first)
    labelled[0] = False
    assert belief_loss(made_beliefs(), gold, labelled, SUMS).item() == 0


def test_unlabelled_slots_have_no_gradient():
    logs = made_beliefs()
    for part in logs:
        part.requires_grad_()
    gold = gold_beliefs(states([[0, 3], [5]], [[], [3]]), SUMS)
    labelled = torch.tensor([[True, False, False, True], [False] * 4])
    belief_loss(logs, gold, labelled, SUMS).backward()
    moved = [part.grad.nonzero().tolist() for part in logs]
    assert moved == [[[0, 3]], [[0, 0]], []]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_loss_is_least_at_the_gold_beliefs(seed: int):
    torch.manual_seed(seed)
    wanted = [[v for v in range(V) if torch.rand(()) < 0.3] for _ in range(4)]
    gold = gold_beliefs(states(wanted[:2], wanted[2:]), SUMS)
    labelled = torch.rand(2, n) < 0.7

    def loss(beliefs: Beliefs) -> float:
        smooth = Beliefs(*(0.999 * part + 1e-9 for part in beliefs))
        return belief_loss(LogBeliefs(*(part.log() for part in smooth)), gold, labelled, SUMS).item()

    logits = [torch.randn(2, n), torch.randn(2, V), torch.randn(2, V)]
    total = logits[0].exp() + SUMS(logits[1].exp() + logits[2].exp())
    other = Beliefs(logits[0].exp() / total, *(part.exp() / SUMS.spread(total) for part in logits[1:]))
    mixed = Beliefs(*(0.9 * one + 0.1 * two for one, two in zip(gold, other, strict=True)))
    assert loss(gold) <= loss(mixed) + 1e-6 <= loss(other) + 2e-6


def test_the_loss_teaches_the_predictor():
    given, model = inputs(), predictor()
    gold = gold_beliefs(states([[0], [1], [2, 5], [3], []], [[], [0], [], [], [4]]), SUMS)
    labelled = torch.ones(B, n, dtype=torch.bool)
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        adam.zero_grad()
        loss = belief_loss(model(*given), gold, labelled, SUMS)
        loss.backward()
        adam.step()
    found = model(*given).exp()
    assert torch.allclose(found.like, gold.like, atol=0.1)
    assert torch.allclose(found.dislike, gold.dislike, atol=0.1)


def test_what_the_tracker_believes_counts_as_much_as_a_mention_from_the_start():
    torch.manual_seed(0)
    model = BeliefPredictor(D, SUMS, n, V, 0.0, tracked=True)
    kinds = (*EVIDENCE, *TRACKED)
    S, turns, values = torch.randn(1, n, D), torch.zeros(1, 2 * D), torch.randn(V, D)

    def odds(kind: str, column: int, side: str) -> float:
        """Log-odds of a value against "nothing wanted" in its slot."""
        evidence = torch.zeros(1, V, len(kinds))
        evidence[0, column, kinds.index(kind)] = 1.0
        found = model(S, turns, evidence, values)
        return (getattr(found, side)[0, column] - found.none[0, SLOT_OF[column]]).item()

    assert odds("tracked", 1, "like") == pytest.approx(odds("last", 1, "like"), abs=1e-5)
    assert odds("tracked", 1, "like") == pytest.approx(odds("system_last", 1, "like") + 3, abs=1e-5)
    # disliked values are rarer, which the tracker knows already
    assert odds("tracked_against", 4, "dislike") == pytest.approx(odds("negated_last", 4, "dislike") + 3, abs=1e-5)
    plain = BeliefPredictor(D, SUMS, n, V, 0.0)
    assert plain.like.shape[1] == len(EVIDENCE) == model.like.shape[1] - len(TRACKED)


def test_a_posterior_worked_by_hand():
    """One slot of three values; of four products two have the first, one the second and one none."""
    sums = SlotSums(torch.tensor([0, 0, 0]), 1)
    two = math.log(2)
    affinity = torch.tensor([[two, 0, 0], [two, 0, 0], [0, two, 0], [0, 0, 0]])
    prior = Beliefs(torch.tensor([[0.4]]), torch.tensor([[0.3, 0.1, 0.0]]), torch.tensor([[0.2, 0.0, 0.0]]))
    # p: 2 2 1 1 of 6 for "like first", 1 1 2 1 of 5 for "like second", .5 .5 1 1 of 3 for "dislike first"; even, 1 of 4
    first, second, against = 0.3 * 2 / 6 * 4, 0.1 * 1 / 5 * 4, 0.2 * 0.5 / 3 * 4
    total = 0.4 + first + second + against
    found = posterior(prior, affinity, torch.tensor([[True, False, False, False]]), sums)
    assert found.none[0, 0].item() == pytest.approx(0.4 / total)
    assert found.like[0].tolist() == pytest.approx([first / total, second / total, 0.0])
    assert found.dislike[0].tolist() == pytest.approx([against / total, 0.0, 0.0])
    # both products with the first value say the same twice
    both = posterior(prior, affinity, torch.tensor([[True, True, False, False]]), sums)
    twice, other, avoided = 0.3 * (8 / 6) ** 2, 0.1 * (4 / 5) ** 2, 0.2 * (2 / 3) ** 2
    assert both.like[0, 0].item() == pytest.approx(twice / (0.4 + twice + other + avoided))


@given(st.integers(0, 1000), st.integers(0, 4))
@settings(deadline=None)
def test_a_posterior_is_a_distribution_and_no_products_change_nothing(seed: int, positives: int):
    torch.manual_seed(seed)
    logits = torch.randn(2, n + 2 * V)
    none, like, dislike = (part.exp() for part in logits.split([n, V, V], dim=1))
    total = none + SUMS(like + dislike)
    prior = Beliefs(none / total, like / SUMS.spread(total), dislike / SUMS.spread(total))
    chosen = torch.zeros(2, 7, dtype=torch.bool)
    chosen[:, :positives] = True
    found = posterior(prior, 20 * torch.randn(7, V), chosen, SUMS)
    assert torch.allclose(slot_totals(found), torch.ones(2, n), atol=1e-5)
    assert all(torch.isfinite(part).all() and (part >= 0).all() for part in found)
    if not positives:
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, prior, strict=True))


def test_what_the_tracker_believes_as_distributions_worked_by_hand():
    evidence = torch.zeros(2, V, len(EVIDENCE) + len(TRACKED))
    evidence[0, :3, -2] = torch.tensor([0.5, 0.2, 0.0])
    evidence[0, 1, -1] = 0.1
    evidence[0, 5, -2] = 1.0
    evidence[1, :2, -2] = torch.tensor([0.9, 0.6])  # two values of a slot that both hold
    found = tracked_beliefs(evidence, SUMS)
    assert found.none.tolist() == [pytest.approx([0.2, 1, 1, 0]), pytest.approx([0, 1, 1, 1])]
    assert found.like[0].tolist() == pytest.approx([0.5, 0.2, 0, 0, 0, 1])
    assert found.dislike[0].tolist() == pytest.approx([0, 0.1, 0, 0, 0, 0])
    assert found.like[1].tolist() == pytest.approx([0.6, 0.4, 0, 0, 0, 0])
    assert torch.allclose(slot_totals(found), torch.ones(2, n))


@given(st.integers(0, 1000))
@settings(deadline=None)
def test_the_state_read_off_is_the_one_that_the_tracker_holds_however_unsure_it_is(seed: int):
    torch.manual_seed(seed)
    evidence = torch.rand(3, V, len(EVIDENCE) + len(TRACKED)) * torch.randint(0, 2, (3, V, 1))
    held = torch.randint(-1, 2, (3, V))
    found = state_beliefs(evidence, held, SUMS)
    assert torch.allclose(slot_totals(found), torch.ones(3, n), atol=1e-5)
    names, values = [f"s{slot}" for slot in range(n)], [f"v{value}" for value in range(V)]
    for b in range(3):
        fields = (field[b].double().numpy() for field in found)
        read = state_of_beliefs(names, SLOT_OF.numpy(), values, *fields)
        assert {(item.value, item.polarity) for item in read.state} == {
            (f"v{at}", "like" if held[b, at] > 0 else "dislike") for at in range(V) if held[b, at]
        }
        assert all(0.5 < sure <= 1 for sure in read.sure.values())
