"""Which term is active for whom, and what each one moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from semantic_model.ranking.model_spec import Objective, StepBatch
from semantic_model.semantic.objective import joint_objective
from semantic_model.semantic.reading import StateBatch

WEIGHTS = ("rank_weight", "js_weight", "co_sim_weight", "mse_weight")
EVERYTHING_BUT_STATES = {"context_encoder", "product_encoder", "words", "dsi_T", "dsi_I"}


def only(term: str, **more: object) -> dict[str, object]:
    return {**{weight: float(weight == f"{term}_weight") for weight in WEIGHTS}, **more}


def moved(given, objective: Objective) -> set[str]:
    """Parts of the network that the objective sends a gradient to."""
    given.model.zero_grad()
    objective.total.backward()
    parts = set()
    for name, parameter in given.model.named_parameters():
        if parameter.grad is not None and float(parameter.grad.abs().sum()) > 0:
            pieces = name.split(".")
            parts.add(".".join(pieces[:2]) if pieces[0] in ("student", "teacher") else pieces[0])
    return parts


def on_d_f(given, **more) -> Objective:
    products = given.model.encode_products(given.products)
    return joint_objective(given.model, StepBatch(given.contexts, given.states, products, given.choices, **more))


def on_d_p(given) -> Objective:
    products = given.model.encode_products(given.products)
    return joint_objective(given.model, StepBatch(given.contexts, None, products, given.choices))


@pytest.fixture
def given_with(config_of, inputs_of) -> Callable:
    return lambda loss=None, **sections: inputs_of(config_of(loss=loss or {}, **sections))


def test_terms_on_d_f_are_the_teachers_three_and_the_students_rank_and_mse(given_with):
    terms = on_d_f(given_with()).terms
    assert list(terms) == ["teacher_rank", "teacher_js", "teacher_co_sim", "student_rank", "student_mse"]


def test_terms_on_d_p_are_the_students_three(given_with):
    assert list(on_d_p(given_with()).terms) == ["student_rank", "student_js", "student_co_sim"]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_weighs_the_teacher_against_the_student(given_with, alpha: float):
    objective = on_d_f(given_with({"alpha": alpha}))
    of = {name: value.item() for name, value in objective.terms.items()}
    teacher = sum(of.get(f"teacher_{name}", 0.0) for name in ("rank", "js", "co_sim"))
    student = of.get("student_rank", 0.0) + of.get("student_mse", 0.0)
    assert objective.total.item() == pytest.approx(alpha * teacher + (1 - alpha) * student, rel=1e-5)
    assert ("teacher_rank" in of) == (alpha > 0)
    assert ("student_rank" in of) == (alpha < 1)


@pytest.mark.parametrize("term", ["rank", "js", "co_sim"])
def test_a_teacher_term_on_d_f_moves_the_teacher_and_never_the_student(given_with, term: str):
    parts = moved(given := given_with(only(term, alpha=1.0)), on_d_f(given))
    assert "teacher.attention" in parts
    assert not any(part.startswith("student") for part in parts)
    expected = EVERYTHING_BUT_STATES - ({"context_encoder"} if term == "co_sim" else set())
    assert expected <= parts


def test_the_students_rank_on_d_f_moves_the_student_and_never_the_teacher(given_with):
    parts = moved(given := given_with(only("rank", alpha=0.0)), on_d_f(given))
    assert parts == EVERYTHING_BUT_STATES | {"student.value_predictor", "student.learner"}


@pytest.mark.parametrize("term", ["js", "co_sim"])
def test_js_and_co_sim_are_inactive_for_the_student_on_d_f(given_with, term: str):
    objective = on_d_f(given_with(only(term, alpha=0.0)))
    assert objective.terms == {}
    assert objective.total.item() == 0.0


def test_the_mse_moves_student_and_teacher_and_neither_products_nor_dsi(given_with):
    parts = moved(given := given_with(only("mse", alpha=0.0)), on_d_f(given))
    assert parts == {"context_encoder", "words", "student.value_predictor", "student.learner", "teacher.attention"}


def test_a_detached_teacher_is_not_moved_by_the_mse(given_with):
    parts = moved(given := given_with(only("mse", alpha=0.0, detach_teacher=True)), on_d_f(given))
    assert "student.learner" in parts
    assert not any(part.startswith("teacher") for part in parts)


@pytest.mark.parametrize("term", ["rank", "js", "co_sim"])
def test_on_d_p_every_term_moves_the_student_and_never_the_teacher(given_with, term: str):
    parts = moved(given := given_with(only(term)), on_d_p(given))
    assert {"student.value_predictor", "student.learner"} <= parts
    assert not any(part.startswith("teacher") for part in parts)


def test_the_first_epochs_may_train_the_teacher_alone(given_with):
    parts = moved(given := given_with(), objective := on_d_f(given, teacher_only=True))
    assert all(name.startswith("teacher_") for name in objective.terms)
    assert not any(part.startswith("student") for part in parts)
    assert objective.total.item() == pytest.approx(sum(value.item() for value in objective.terms.values()), rel=1e-5)


def test_gold_labels_reach_the_student_through_the_mse_only(given_with):
    given = given_with()
    other = given._replace(states=StateBatch(given.states.values.flip(0), given.states.labelled))
    one, two = on_d_f(given).terms, on_d_f(other).terms
    assert one["student_rank"].item() == two["student_rank"].item()
    assert one["student_mse"].item() != two["student_mse"].item()
    assert one["teacher_rank"].item() != two["teacher_rank"].item()


def test_the_students_input_changes_its_losses(given_with):
    given = given_with()
    turned = given.contexts._replace(tokens=given.contexts.tokens.flip(0))
    one, two = on_d_f(given).terms, on_d_f(given._replace(contexts=turned)).terms
    assert one["student_mse"].item() != two["student_mse"].item()
    assert one["student_rank"].item() != two["student_rank"].item()


def test_unlabelled_slots_are_left_out_of_the_mse(given_with):
    given = given_with()
    labelled = torch.zeros_like(given.states.labelled)
    none = on_d_f(given._replace(states=StateBatch(given.states.values, labelled)))
    assert none.terms["student_mse"].item() == 0.0


def test_the_hinge_on_sampled_pairs_agrees_with_the_plain_score(given_with):
    given = given_with(only("rank"))
    model = given.model
    context = model.encode_contexts(given.contexts)
    products = model.encode_products(given.products)
    S = model.student_state(context)
    rows = torch.cat([given.choices.positives, given.choices.negatives], dim=1)
    f = model.score(model.interact(context, products.take(rows), S))
    hinges = [max(0.0, 1 - f[b, 0].item() + f[b, 1 + j].item()) for b in range(4) for j in range(2)]
    assert on_d_p(given).total.item() == pytest.approx(sum(hinges) / len(hinges), rel=1e-4)


def test_ranking_against_every_product_looks_at_every_product(given_with):
    given = given_with(only("rank", rank="softmax"), train={"rank_candidates": "all"})
    relevant = torch.zeros(4, 12, dtype=torch.bool)
    relevant[torch.arange(4), given.choices.positives[:, 0]] = True
    given = given._replace(choices=given.choices._replace(relevant=relevant))
    products = given.model.encode_products(given.products)
    products.rho_T.retain_grad()
    joint_objective(given.model, StepBatch(given.contexts, None, products, given.choices)).total.backward()
    assert products.rho_T.grad is not None
    assert (products.rho_T.grad.abs().sum(dim=1) > 0).all()
