"""For each loss term alone: exactly which parts of the network it moves, on D_F and on D_P; and what is shared."""

from __future__ import annotations

import pytest
import torch

from semantic_model.config.config import load_config
from semantic_model.ranking.model_spec import Objective, StepBatch
from semantic_model.semantic.objective import joint_objective

SMALL = (
    *("text.embeddings=corpus", "text.vocabulary=200", "text.max_tokens=6", "text.product_max_tokens=8"),
    *("image.encoder=pixels", "image.max_per_turn=2", "context.window=3"),
    *("model.width=8", "model.heads=2", "model.inner=8", "model.layers=1", "model.dropout=0", "dsi.hops=2"),
)
TERMS = ("rank", "js", "co_sim", "mse")

CONTEXT = {f"context_encoder.{part}" for part in ("text", "over_texts", "over_images")}
# one image encoder reads the images of contexts and of products
SHARED = {"words", "context_encoder.image"}
PRODUCT = {"product_encoder.text"}
DSI = {f"dsi_{modality}.W.{hop}" for modality in "TI" for hop in range(2)}
TEACHER = {"teacher.attention"}
STUDENT = {"student.value_predictor", "student.learner"}

MOVES = {
    # (set, who, term): the parts that get a gradient, and no others
    ("D_F", "teacher", "rank"): SHARED | CONTEXT | PRODUCT | DSI | TEACHER,
    ("D_F", "teacher", "js"): SHARED | CONTEXT | PRODUCT | DSI | TEACHER,
    ("D_F", "teacher", "co_sim"): SHARED | PRODUCT | DSI | TEACHER,  # of products and the gold state: no context
    ("D_F", "student", "rank"): SHARED | CONTEXT | PRODUCT | DSI | STUDENT,
    ("D_F", "student", "js"): set(),  # the teacher's alone (section 4.2)
    ("D_F", "student", "co_sim"): set(),
    ("D_F", "student", "mse"): SHARED | CONTEXT | STUDENT | TEACHER,  # the teacher's state is no fixed target
    ("D_P", "student", "rank"): SHARED | CONTEXT | PRODUCT | DSI | STUDENT,
    ("D_P", "student", "js"): SHARED | CONTEXT | PRODUCT | DSI | STUDENT,
    ("D_P", "student", "co_sim"): SHARED | CONTEXT | PRODUCT | DSI | STUDENT,  # the context through its state
    ("D_P", "student", "mse"): set(),  # no state is known
}


def part_of(name: str) -> str:
    pieces = name.split(".")
    depth = {"words": 1, "dsi_T": 3, "dsi_I": 3}.get(pieces[0], 2)
    return ".".join(pieces[:depth])


def objective(given, where: str, **more) -> Objective:
    products = given.model.encode_products(given.products)
    if where == "D_P":
        return joint_objective(given.model, StepBatch(given.contexts, None, products, given.choices))
    return joint_objective(given.model, StepBatch(given.contexts, given.states, products, given.choices, **more))


def moved(given, found: Objective) -> set[str]:
    given.model.zero_grad()
    if found.total.requires_grad:
        found.total.backward()
    return {
        part_of(name)
        for name, parameter in given.model.named_parameters()
        if parameter.grad is not None and float(parameter.grad.abs().sum()) > 0
    }


def only(inputs_of, who: str, term: str, *more: str, preset: str = "paper"):
    weights = [f"loss.{name}_weight={float(name == term)}" for name in TERMS]
    alpha = f"loss.alpha={1.0 if who == 'teacher' else 0.0}"
    return inputs_of(load_config(preset, [*SMALL, *weights, alpha, *more]))


@pytest.mark.parametrize(("where", "who", "term"), MOVES)
def test_a_term_moves_exactly_these_parts(inputs_of, where: str, who: str, term: str):
    given = only(inputs_of, who, term)
    assert moved(given, objective(given, where)) == MOVES[where, who, term]


@pytest.mark.parametrize(("where", "who", "term"), MOVES)
def test_the_releases_readings_move_the_same_parts(inputs_of, where: str, who: str, term: str):
    given = only(inputs_of, who, term, preset="release")
    padding = {"teacher.values"} & moved(given, objective(given, where))
    expected = MOVES[where, who, term]
    assert moved(given, objective(given, where)) == expected | padding
    assert bool(padding) is ("teacher.attention" in expected)  # the padding that its value pooling sums up


def test_a_detached_teacher_is_not_moved_by_the_mse(inputs_of):
    given = only(inputs_of, "student", "mse", "loss.detach_teacher=true")
    assert moved(given, objective(given, "D_F")) == MOVES["D_F", "student", "mse"] - TEACHER


@pytest.mark.parametrize("term", ["js", "co_sim"])
def test_the_students_js_and_co_sim_on_d_f_are_a_switch(inputs_of, term: str):
    given = only(inputs_of, "student", term, "loss.student_on_labelled=all")
    assert moved(given, objective(given, "D_F")) == MOVES["D_P", "student", term]


def test_every_trained_part_is_moved_by_the_whole_objective(inputs_of):
    given = inputs_of(load_config("paper", SMALL))
    trained = {part_of(name) for name, p in given.model.named_parameters() if p.requires_grad}
    assert moved(given, objective(given, "D_F")) == trained
    assert moved(given, objective(given, "D_P")) == trained - TEACHER


def scores(given, who: str) -> torch.Tensor:
    model = given.model.eval()
    with torch.no_grad():
        context, products = model.encode_contexts(given.contexts), model.encode_products(given.products)
        S = model.teacher_state(given.states) if who == "teacher" else model.student_state(context)
        return model.score(model.interact(context, products.take(torch.arange(12).expand(4, -1)), S))


@pytest.mark.parametrize(
    ("part", "teacher", "student"),
    [
        ("words", True, True),
        ("context_encoder.text", True, True),
        ("context_encoder.image", True, True),
        ("product_encoder.text", True, True),
        ("dsi_T", True, True),
        ("dsi_I", True, True),
        ("teacher", True, False),
        ("student.value_predictor", False, True),
        ("student.learner", False, True),
    ],
)
def test_teacher_and_student_share_everything_but_their_state_encoders(
    inputs_of, part: str, teacher: bool, student: bool
):
    given = inputs_of(load_config("paper", SMALL))
    before = {who: scores(given, who) for who in ("teacher", "student")}
    with torch.no_grad():
        torch.manual_seed(3)
        for name, parameter in given.model.named_parameters():
            if name.startswith(f"{part}."):
                parameter += 0.3 * torch.randn_like(parameter)
    changed = {who: not torch.equal(scores(given, who), before[who]) for who in before}
    assert changed == {"teacher": teacher, "student": student}


def test_gold_states_play_no_part_in_what_the_student_scores(inputs_of):
    given = inputs_of(load_config("paper", SMALL))
    before = scores(given, "student")
    other = given._replace(states=given.states._replace(values=given.states.values.flip(0)))
    assert torch.equal(scores(other, "student"), before)
    assert not torch.equal(scores(other, "teacher"), scores(given, "teacher"))
