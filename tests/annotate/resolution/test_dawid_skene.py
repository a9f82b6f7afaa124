from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.resolution.policies import DawidSkene, Pattern, Reliability, fit

Votes = dict[str, bool]


def counted(items: list[Votes]) -> Counter[Pattern]:
    return Counter(tuple(sorted(item.items())) for item in items)


def plain_fit(items: list[Votes], rounds: int, smoothing: float = 1.0) -> tuple[float, dict[str, tuple[float, float]]]:
    """Dawid and Skene item by item, in plain loops: what the counted form has to agree with."""
    people = sorted({who for item in items for who in item})
    true = []
    for item in items:
        yes = sum(item.values())
        true.append(1.0 if 2 * yes > len(item) else 0.0 if 2 * yes < len(item) else 0.5)
    prevalence, rates = 0.0, {}
    for round_ in range(rounds + 1):
        prevalence = (sum(true) + smoothing) / (len(items) + 2 * smoothing)
        for who in people:
            hit = said_of_true = correct_no = said_of_false = 0.0
            for item, p in zip(items, true, strict=True):
                if who in item:
                    said_of_true += p
                    said_of_false += 1 - p
                    hit += p if item[who] else 0.0
                    correct_no += 0.0 if item[who] else 1 - p
            rates[who] = (
                (hit + smoothing) / (said_of_true + 2 * smoothing),
                (correct_no + smoothing) / (said_of_false + 2 * smoothing),
            )
        if round_ == rounds:
            break
        for position, item in enumerate(items):
            if_true, if_false = prevalence, 1 - prevalence
            for who, yes in item.items():
                sensitivity, specificity = rates[who]
                if_true *= sensitivity if yes else 1 - sensitivity
                if_false *= 1 - specificity if yes else specificity
            true[position] = if_true / (if_true + if_false)
    return prevalence, rates


def answered(rates: dict[str, tuple[float, float]], count: int, prevalence: float, seed: int) -> list[Votes]:
    source = random.Random(seed)
    items = []
    for _ in range(count):
        true = source.random() < prevalence
        items.append(
            {
                who: source.random() < (sensitivity if true else 1 - specificity)
                for who, (sensitivity, specificity) in rates.items()
            }
        )
    return items


def test_the_posterior_is_bayes_rule():
    model = DawidSkene(0.25, {"ann": Reliability(0.9, 0.8), "bo": Reliability(0.6, 0.7)}, 1, True)
    # true: 0.25 x 0.9 x 0.4 = 0.09; false: 0.75 x 0.2 x 0.7 = 0.105
    assert model.posterior({"ann": True, "bo": False}) == pytest.approx(0.09 / 0.195)
    assert model.posterior({"bo": False, "ann": True}) == model.posterior({"ann": True, "bo": False})
    assert model.posterior({}) == pytest.approx(0.25)
    assert model.posterior({"nobody knows her": True}) == pytest.approx(0.25)


def test_one_round_worked_by_hand():
    items = [*[{"ann": True, "bo": True}] * 2, {"ann": True, "bo": False}, *[{"ann": False, "bo": False}] * 3]
    found = fit(counted(items), most_iterations=0)
    # the majority is 1, 1, 1/2, 0, 0, 0
    assert found.prevalence == pytest.approx((2.5 + 1) / (6 + 2))
    assert found.reliability["ann"].sensitivity == pytest.approx((2.5 + 1) / (2.5 + 2))
    assert found.reliability["ann"].specificity == pytest.approx((3 + 1) / (3.5 + 2))
    assert found.reliability["bo"].sensitivity == pytest.approx((2 + 1) / (2.5 + 2))
    assert found.reliability["bo"].specificity == pytest.approx((3.5 + 1) / (3.5 + 2))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["ann", "bo", "cy"]), st.booleans(), min_size=1), min_size=1, max_size=12),
    st.integers(0, 6),
)
def test_the_counted_form_is_the_plain_one(items: list[Votes], rounds: int):
    prevalence, rates = plain_fit(items, rounds)
    found = fit(counted(items), most_iterations=rounds, tolerance=-1.0)
    assert found.prevalence == pytest.approx(prevalence, abs=1e-9)
    for who, (sensitivity, specificity) in rates.items():
        assert found.reliability[who].sensitivity == pytest.approx(sensitivity, abs=1e-9)
        assert found.reliability[who].specificity == pytest.approx(specificity, abs=1e-9)


def test_planted_error_rates_are_recovered_although_nobody_says_what_is_true():
    planted = {"careful": (0.97, 0.99), "hasty": (0.8, 0.95), "guessing": (0.6, 0.7), "contrary": (0.3, 0.4)}
    found = fit(counted(answered(planted, 20_000, 0.3, seed=4)))
    assert found.converged
    assert found.prevalence == pytest.approx(0.3, abs=0.01)
    for who, (sensitivity, specificity) in planted.items():
        assert found.reliability[who].sensitivity == pytest.approx(sensitivity, abs=0.02), who
        assert found.reliability[who].specificity == pytest.approx(specificity, abs=0.02), who


def test_weighing_beats_the_majority_where_most_people_guess():
    planted = {"careful": (0.97, 0.97), "hasty": (0.9, 0.9), **{f"guess {n}": (0.55, 0.55) for n in range(3)}}
    source = random.Random(1)
    truth = [source.random() < 0.5 for _ in range(4000)]
    items = [
        {who: source.random() < (rates[0] if true else 1 - rates[1]) for who, rates in planted.items()}
        for true in truth
    ]
    model = fit(counted(items))
    weighed = sum((model.posterior(item) > 0.5) == true for item, true in zip(items, truth, strict=True))
    majority = sum((sum(item.values()) > 2) == true for item, true in zip(items, truth, strict=True))
    assert majority / 4000 < 0.9
    assert weighed / 4000 > 0.95


def test_people_who_never_err_do_not_blow_up():
    items = [*[{"ann": True, "bo": True, "cy": True}] * 50, *[{"ann": False, "bo": False, "cy": False}] * 50]
    found = fit(counted(items))
    for rates in found.reliability.values():
        assert 0.5 < rates.sensitivity < 1
        assert 0.5 < rates.specificity < 1
    assert math.isfinite(found.posterior({"ann": True, "bo": False, "cy": False}))
    assert 0 < found.posterior({"ann": True, "bo": True, "cy": True}) <= 1


def test_without_any_answer_nothing_is_known():
    found = fit({})
    assert (found.prevalence, found.reliability, found.converged) == (0.5, {}, True)


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(order: random.Random):
    items = answered({"ann": (0.9, 0.9), "bo": (0.7, 0.8), "cy": (0.6, 0.9)}, 40, 0.4, seed=2)
    patterns = counted(items)
    shuffled = dict(order.sample(list(patterns.items()), len(patterns)))
    assert fit(shuffled) == fit(patterns)
