from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from semantic_model.config.config import Config
from semantic_model.config.sections import ModelConfig
from semantic_model.data.batch import ProductBatch
from semantic_model.layers import attention as precision
from semantic_model.layers.attention import AttentionStack, compile_stacks, precision_of, set_precision
from semantic_model.ranking.model_spec import StepBatch
from semantic_model.semantic.encoders import TextEncoder
from semantic_model.semantic.objective import joint_objective

CPU = torch.device("cpu")


def test_bfloat16_is_near_float32_and_gradients_and_weights_stay_float32(config_of, inputs_of):
    given = inputs_of(config_of(model={"width": 64, "inner": 64, "heads": 4, "layers": 2}))
    found = {}
    for kind in ("float32", "bfloat16"):
        set_precision(given.model, kind)
        products = given.model.encode_products(given.products)
        objective = joint_objective(given.model, StepBatch(given.contexts, given.states, products, given.choices))
        given.model.zero_grad()
        objective.total.backward()
        found[kind] = objective
        assert {value.dtype for value in (products.rho_T, objective.total, *objective.terms.values())} == {
            torch.float32
        }
        assert {p.grad.dtype for p in given.model.parameters() if p.grad is not None} == {torch.float32}
        assert {p.dtype for p in given.model.parameters()} == {torch.float32}
    assert float(found["bfloat16"].total.detach()) == pytest.approx(float(found["float32"].total.detach()), rel=0.02)
    assert not torch.equal(found["bfloat16"].total, found["float32"].total)


def test_norms_and_softmax_see_float32_and_matrix_products_bfloat16(monkeypatch):
    seen: dict[str, set[torch.dtype]] = {"norm": set(), "linear": set()}
    norm, linear = F.layer_norm, F.linear
    monkeypatch.setattr(F, "layer_norm", lambda x, *more: (seen["norm"].add(x.dtype), norm(x, *more))[1])

    def watched(x, *more):
        answer = linear(x, *more)
        seen["linear"].add(answer.dtype)
        return answer

    monkeypatch.setattr(F, "linear", watched)
    stack = AttentionStack(ModelConfig(width=16, heads=2, inner=16, layers=2))
    stack.in_bfloat16 = True
    padded = stack(torch.randn(3, 4, 16), torch.ones(3, 4, dtype=torch.bool))
    packed = stack.packed(torch.randn(12, 16), ((4, 1), (2, 4)))
    assert seen == {"norm": {torch.float32}, "linear": {torch.bfloat16}}
    assert padded.dtype == packed.dtype == torch.float32


@pytest.mark.parametrize(
    ("asked", "width", "has", "expected"),
    [
        ("auto", 768, True, "bfloat16"),
        ("auto", 768, False, "float32"),
        ("auto", 128, True, "float32"),
        ("float32", 768, True, "float32"),
        ("bfloat16", 64, False, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it_and_the_width_pays(monkeypatch, asked, width, has, expected):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: has)
    config = Config.model_validate({"train": {"precision": asked}, "model": {"width": width, "heads": 2}})
    assert precision_of(config, CPU) == expected


def test_nothing_is_compiled_on_a_cpu_and_that_is_said():
    stack = AttentionStack(ModelConfig(width=8, heads=2, inner=8, layers=1))
    assert compile_stacks(stack, CPU) == "train.compile is for GPUs; nothing is compiled on a CPU"


def test_a_text_is_encoded_once_however_often_it_occurs(config_of, inputs_of, monkeypatch):
    given = inputs_of(config_of(model={"width": 8}))
    encoded: list[int] = []
    encode = TextEncoder._encode
    monkeypatch.setattr(
        TextEncoder,
        "_encode",
        lambda self, tokens, *more: (encoded.append(len(tokens)), encode(self, tokens, *more))[1],
    )
    given.model.eval()
    once = given.model.encode_products(given.products)
    n = sum(encoded)
    encoded.clear()
    thrice = given.model.encode_products(ProductBatch(*(torch.cat([leaf] * 3) for leaf in given.products)))
    assert sum(encoded) == n == len(given.products.tokens)
    assert torch.equal(thrice.rho_T, torch.cat([once.rho_T] * 3))
