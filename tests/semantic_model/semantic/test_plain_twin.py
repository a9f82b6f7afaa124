"""Every equation of the paper against a twin in plain loops, with the presets' own readings at a small size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from semantic_model.config.config import Config, load_config
from semantic_model.ranking.model_spec import StepBatch
from semantic_model.semantic.objective import joint_objective
from tests.semantic_model.plain_semantic import PlainSemantic, mse

SMALL = (
    *("text.embeddings=corpus", "text.vocabulary=200", "text.max_tokens=6", "text.product_max_tokens=8"),
    *("image.encoder=pixels", "image.max_per_turn=2", "context.window=3"),
    *("model.width=8", "model.heads=2", "model.inner=6", "model.layers=2", "model.dropout=0", "dsi.hops=3"),
)
CLOSE = {"rel": 1e-9, "abs": 1e-9}


class Case(NamedTuple):
    """One preset's network on a batch of four contexts, and its twin's reading of the same inputs."""

    config: Config
    given: NamedTuple
    plain: PlainSemantic
    turns: list  # per context: (tokens, features) of every turn there is
    slots: list
    products: list  # (rho_T, rho_I, has an image)


@pytest.fixture(params=["paper", "release"])
def case(request, inputs_of: Callable) -> Case:
    config = load_config(request.param, SMALL)
    given = inputs_of(config)
    given.model.double().eval()
    with torch.no_grad():  # so that no bias, norm or position is at a value that hides a mistake
        torch.manual_seed(1)
        for parameter in given.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
        given.model.words.table.weight[0] = 0.0
    given = given._replace(
        contexts=given.contexts._replace(images=given.contexts.images.double()),
        products=given.products._replace(image=given.products.image.double()),
    )
    weights = {name: value.tolist() for name, value in given.model.state_dict().items()}
    release = request.param == "release"
    plain = PlainSemantic(weights, heads=2, layers=2, hops=3, release=release)
    batch = given.contexts
    turns = [
        [
            (batch.tokens[b, t].tolist(), batch.images[b, t][batch.image_mask[b, t]].tolist())
            for t in range(3)
            if batch.turn_mask[b, t]
        ]
        for b in range(4)
    ]
    products = [
        (*plain.product(tokens.tolist(), image.tolist() if there else None), bool(there))
        for tokens, image, there in zip(*given.products, strict=True)
    ]
    return Case(config, given, plain, turns, given.model.slot_keys.keys.tolist(), products)


def flat(rows: list) -> list:
    return [number for row in rows for number in row]


def states(case: Case, who: str) -> list:
    if who == "teacher":
        return [case.plain.teacher(case.slots, values.tolist()) for values in case.given.states.values]
    return [case.plain.student(case.slots, *case.plain.context(turns)) for turns in case.turns]


def losses(case: Case, who: str) -> dict[str, float]:
    """L_rank, L_JS and L_co_sim of the batch's candidates with the teacher's or the student's states."""
    scored = []
    for b, S in enumerate(states(case, who)):
        C_T, C_I = case.plain.context(case.turns[b])
        sides = []
        for rows in (case.given.choices.positives[b], case.given.choices.negatives[b]):
            side = []
            for row in rows.tolist():
                rho_T, rho_I, imaged = case.products[row]
                f, g, co_sim = case.plain.pair(C_T[-1], C_I[-1], rho_T, rho_I, S)
                side.append((f, g, co_sim if imaged else None))
            sides.append(side)
        scored.append(tuple(sides))
    return case.plain.losses(scored)


def test_contexts_are_section_3_1(case: Case):
    found = case.given.model.encode_contexts(case.given.contexts)
    for b, turns in enumerate(case.turns):
        C_T, C_I = case.plain.context(turns)
        assert found.C_T[b, -len(turns) :].flatten().tolist() == pytest.approx(flat(C_T), **CLOSE)
        assert found.C_I[b, -len(turns) :].flatten().tolist() == pytest.approx(flat(C_I), **CLOSE)
        assert found.c_T[b].tolist() == pytest.approx(C_T[-1], **CLOSE)
        assert found.c_I[b].tolist() == pytest.approx(C_I[-1], **CLOSE)


def test_products_are_section_3_1(case: Case):
    found = case.given.model.encode_products(case.given.products)
    for row, (rho_T, rho_I, _) in enumerate(case.products):
        assert found.rho_T[row].tolist() == pytest.approx(rho_T, **CLOSE)
        assert found.rho_I[row].tolist() == pytest.approx(rho_I, **CLOSE)


def test_the_teachers_states_are_section_3_5(case: Case):
    found = case.given.model.teacher_state(case.given.states)
    for b, S in enumerate(states(case, "teacher")):
        assert found[b].flatten().tolist() == pytest.approx(flat(S), **CLOSE)


def test_the_students_states_are_section_3_5(case: Case):
    found = case.given.model.student_state(case.given.model.encode_contexts(case.given.contexts))
    for b, S in enumerate(states(case, "student")):
        assert found[b].flatten().tolist() == pytest.approx(flat(S), **CLOSE)


def test_scores_are_sections_3_2_and_3_3(case: Case):
    model = case.given.model
    context, products = model.encode_contexts(case.given.contexts), model.encode_products(case.given.products)
    every = products.take(torch.arange(12).expand(4, -1))
    found = model.score(model.interact(context, every, model.student_state(context)))
    for b, S in enumerate(states(case, "student")):
        C_T, C_I = case.plain.context(case.turns[b])
        expected = [case.plain.pair(C_T[-1], C_I[-1], rho_T, rho_I, S)[0] for rho_T, rho_I, _ in case.products]
        assert found[b].tolist() == pytest.approx(expected, **CLOSE)


def test_the_joint_objective_on_d_f_is_sections_3_4_3_5_and_4_2(case: Case):
    model, given = case.given.model, case.given
    found = joint_objective(
        model, StepBatch(given.contexts, given.states, model.encode_products(given.products), given.choices)
    )
    teacher, student = losses(case, "teacher"), losses(case, "student")
    guided = mse(states(case, "teacher"), states(case, "student"))
    expected = {
        **{f"teacher_{name}": value for name, value in teacher.items()},
        "student_rank": student["rank"],
        "student_mse": guided,
    }
    assert {name: value.item() for name, value in found.terms.items()} == pytest.approx(expected, **CLOSE)
    alpha = case.config.loss.alpha
    total = alpha * sum(teacher.values()) + (1 - alpha) * (student["rank"] + guided)
    assert found.total.item() == pytest.approx(total, **CLOSE)


def test_the_objective_on_d_p_is_section_3_4(case: Case):
    model, given = case.given.model, case.given
    found = joint_objective(
        model, StepBatch(given.contexts, None, model.encode_products(given.products), given.choices)
    )
    expected = {f"student_{name}": value for name, value in losses(case, "student").items()}
    assert {name: value.item() for name, value in found.terms.items()} == pytest.approx(expected, **CLOSE)
    assert found.total.item() == pytest.approx(sum(expected.values()), **CLOSE)
