"""Which loss is active for whom (sections 3.4, 3.5 and 4.2).

on D_F   alpha [rank + JS + co_sim] of the teacher + (1 - alpha) [rank + MSE] of the student
on D_P   [rank + JS + co_sim] of the student
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from semantic_model.config.config import LossConfig
from semantic_model.data.batch import ContextBatch, StateBatch
from semantic_model.layers.losses import (
    attention_gap,
    co_sim_loss,
    js_loss,
    rank_loss,
    rank_loss_of_all,
    softmax_rank_loss,
    state_mse,
)
from semantic_model.ranking.model_spec import Choices, Objective
from semantic_model.semantic.encoders import Context, ProductVectors
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.scoring import match_all

__all__ = ["agreement_losses", "labelled_objective", "rank_term", "unlabelled_objective", "weighted"]


class _Rows(Protocol):
    def take(self, rows: Tensor, /) -> Self: ...


Vectors = TypeVar("Vectors", bound=_Rows)


def labelled_objective(
    model: Semantic,
    batch: ContextBatch,
    states: StateBatch,
    products: ProductVectors,
    choices: Choices,
    *,
    teacher_only: bool = False,
) -> Objective:
    """The joint objective on D_F. JS and co_sim are the teacher's alone there (section 4.2), unless the settings have
    the student's, too (as section 3.5 prints).

    Args:
        products: the encoded products that ``choices`` refers to.
        teacher_only: leave the student's part out (the release's first epoch).
    """
    config = model.config.loss
    context = model.encode_contexts(batch)
    S = model.teacher_state(states)
    terms: dict[str, Tensor] = {}
    total = products.rho_T.new_zeros(())
    if config.alpha > 0 or teacher_only:
        teacher = _all_losses(model, context, products, choices, S)
        terms.update({f"teacher_{name}": value for name, value in teacher.items()})
        total = total + (1.0 if teacher_only else config.alpha) * weighted(config, teacher)
    if config.alpha < 1 and not teacher_only:
        S_hat = model.student_state(context)
        student: dict[str, Tensor] = {}
        if config.student_on_labelled == "all":
            student.update(_all_losses(model, context, products, choices, S_hat))
        elif config.rank_weight:
            student["rank"] = _rank(model, context, products, choices, S_hat)
        if config.mse_weight:
            student["mse"] = state_mse(S_hat, S.detach() if config.detach_teacher else S, states.labelled)
        terms.update({f"student_{name}": value for name, value in student.items()})
        total = total + (1 - config.alpha) * weighted(config, student)
    return Objective(total, terms)


def unlabelled_objective(model: Semantic, batch: ContextBatch, products: ProductVectors, choices: Choices) -> Objective:
    """The student's objective on D_P, where no state is known."""
    context = model.encode_contexts(batch)
    student = _all_losses(model, context, products, choices, model.student_state(context))
    terms = {f"student_{name}": value for name, value in student.items()}
    return Objective(weighted(model.config.loss, student), terms)


def weighted(config: LossConfig, terms: dict[str, Tensor]) -> Tensor:
    """The sum of a set's terms, each times its weight."""
    weights = {
        "rank": config.rank_weight,
        "js": config.js_weight,
        "co_sim": config.co_sim_weight,
        "mse": config.mse_weight,
        "beliefs": config.belief_weight,
    }
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum() if terms else torch.zeros(())


def _all_losses(
    model: Semantic, context: Context, products: ProductVectors, choices: Choices, S: Tensor
) -> dict[str, Tensor]:
    """L_all = L_rank + L_JS + sum L_co_sim with the state S; a term of weight 0 is not computed."""
    terms: dict[str, Tensor] = {}
    if model.config.loss.rank_weight:
        terms["rank"] = _rank(model, context, products, choices, S)
    return {**terms, **agreement_losses(model, context, products, choices, S)}


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


def _rank(model: Semantic, context: Context, products: ProductVectors, choices: Choices, S: Tensor) -> Tensor:
    def match(some: ProductVectors) -> Tensor:
        return match_all(model, context, some, S)

    return rank_term(model.config.loss, choices, products, match, scale=model.log_scale.exp())


def rank_term(
    config: LossConfig, choices: Choices, products: Vectors, match: Callable[[Vectors], Tensor], *, scale: Tensor
) -> Tensor:
    """L_rank over the candidates that the settings ask for.

    Args:
        match: of products [N, ..] with every context, [B, N], or of candidates [B, C, ..] with their own, [B, C].
        scale: inverse temperature of the softmax.
    """
    if choices.relevant is not None:
        found = match(products)  # [B, products]
        if config.rank == "hinge":
            return rank_loss_of_all(torch.tanh(found), choices.relevant, config.margin)
        return softmax_rank_loss(scale * found, choices.relevant, torch.ones_like(choices.relevant))
    rows = torch.cat([choices.positives, choices.negatives], dim=1)
    P = choices.positives.shape[1]
    found = match(products.take(rows.clamp(min=0)))  # [B, C]
    if config.rank == "softmax":
        columns = torch.arange(rows.shape[1], device=rows.device)
        return softmax_rank_loss(scale * found, (rows >= 0) & (columns < P), rows >= 0)
    f = torch.tanh(found)
    return rank_loss(f[:, :P], f[:, P:], _pairs(choices), config.margin)
