"""Which loss is active for whom (sections 3.4, 3.5 and 4.2).

on D_F   alpha [rank + JS + co_sim] of the teacher + (1 - alpha) [rank + MSE] of the student
on D_P   [rank + JS + co_sim] of the student
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from semantic_model.layers.losses import (
    attention_gap,
    co_sim_loss,
    js_loss,
    rank_loss_of_all,
    softmax_rank_loss,
    state_mse,
)
from semantic_model.ranking.candidates import Choices, Scored
from semantic_model.ranking.model_spec import Objective, StepBatch
from semantic_model.semantic.encoders import Context, ProductVectors
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.scoring import match_all
from semantic_model.semantic.settings import JointLossConfig, SemanticLossConfig


def joint_objective(model: Semantic, step: StepBatch) -> Objective:
    """What is minimised on a batch of D_F, or, without states, of D_P.

    JS and co_sim on D_F are the teacher's alone (section 4.2), unless the settings have the student's, too (as section
    3.5 prints).
    """
    config = model.config.loss
    context = model.encode_contexts(step.contexts)
    if step.states is None:
        student = _all_losses(model, context, step, model.student_state(context))
        return Objective(weighted(config, student), {f"student_{name}": value for name, value in student.items()})
    S = model.teacher_state(step.states)
    terms: dict[str, Tensor] = {}
    total = step.products.rho_T.new_zeros(())
    if config.alpha > 0 or step.teacher_only:
        teacher = _all_losses(model, context, step, S)
        terms.update({f"teacher_{name}": value for name, value in teacher.items()})
        total = total + (1.0 if step.teacher_only else config.alpha) * weighted(config, teacher)
    if config.alpha < 1 and not step.teacher_only:
        S_hat = model.student_state(context)
        student = {}
        if config.student_on_labelled == "all":
            student.update(_all_losses(model, context, step, S_hat))
        elif config.rank_weight:
            student["rank"] = _rank(model, context, step, S_hat)
        if config.mse_weight:
            student["mse"] = state_mse(S_hat, S.detach() if config.detach_teacher else S, step.states.labelled)
        terms.update({f"student_{name}": value for name, value in student.items()})
        total = total + (1 - config.alpha) * weighted(config, student)
    return Objective(total, terms)


_WEIGHTS = {
    "rank": "rank_weight",
    "js": "js_weight",
    "co_sim": "co_sim_weight",
    "mse": "mse_weight",
    "beliefs": "belief_weight",
    "tracker": "tracker_weight",
    "em": "em_weight",
}


def weighted(
    config: JointLossConfig, terms: Mapping[str, Tensor], times: Mapping[str, float] = MappingProxyType({})
) -> Tensor:
    """The sum of a set's terms, each times its weight, and times what ``times`` says of it."""
    found = [getattr(config, _WEIGHTS[name]) * times.get(name, 1.0) * value for name, value in terms.items()]
    return torch.stack(found).sum() if found else torch.zeros(())


def _all_losses(model: Semantic, context: Context, step: StepBatch, S: Tensor) -> dict[str, Tensor]:
    """L_all = L_rank + L_JS + sum L_co_sim with the state S; a term of weight 0 is not computed."""
    terms = {"rank": _rank(model, context, step, S)} if model.config.loss.rank_weight else {}
    return {**terms, **agreement_losses(model, context, step.products, step.choices, S)}


def agreement_losses(
    model: Semantic, context: Context, products: ProductVectors, choices: Choices, S: Tensor
) -> dict[str, Tensor]:
    """L_JS and sum L_co_sim with the state S; a term of weight 0 is not computed."""
    config = model.config.loss
    terms: dict[str, Tensor] = {}
    if config.js_weight or config.co_sim_weight:
        rows = torch.cat([choices.positives, choices.negatives], dim=1)  # [B, C]
        there = rows >= 0
        P = choices.positives.shape[1]
        found = model.interact(context, products.take(rows.clamp(min=0)), S)
        if config.js_weight:
            g = attention_gap(
                found.context_T.attention,
                found.product_T.attention,
                found.context_I.attention,
                found.product_I.attention,
                config.divergence,
            )  # [B, C]
            terms["js"] = js_loss(g[:, :P], g[:, P:], _pairs(choices))
        if config.co_sim_weight:
            seen = there & found.image_mask
            terms["co_sim"] = co_sim_loss(found.product_T.x, found.product_I.x, seen, config.co_sim_reduce)
    return terms


def _pairs(choices: Choices) -> Tensor:
    return (choices.positives >= 0)[:, :, None] & (choices.negatives >= 0)[:, None, :]


def _rank(model: Semantic, context: Context, step: StepBatch, S: Tensor) -> Tensor:
    """L_rank of f = tanh(match), or the softmax of the match."""
    config = model.config.loss

    def match(some: ProductVectors) -> Tensor:
        return match_all(model, context, some, S)

    if isinstance(config, SemanticLossConfig) and config.rank == "hinge":
        f = Scored.of(step.choices, step.products, lambda some: torch.tanh(match(some)))
        return rank_loss_of_all(*f, margin=config.margin)
    scale = model.log_scale.exp()
    return softmax_rank_loss(*Scored.of(step.choices, step.products, lambda some: scale * match(some)))
