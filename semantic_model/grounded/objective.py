"""The joint objective of grounded models: the paper's, with the beliefs in the ranking and a loss of their own.

on D_F   alpha [rank + JS + co_sim] of the teacher + (1 - alpha) [rank + MSE + beliefs] of the student
on D_P   [rank + JS + co_sim] of the student, and, where asked for, its beliefs' cross-entropy with their posterior

The loss of beliefs weighs as much against the ranking of D_P whatever share of it is labelled: it counts 1 / share
times. Else it would be ten times as strong with all dialogues labelled as with a fifth of them, and what was asked for
would drown out what was recommended.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semantic_model.grounded.beliefs import belief_loss, posterior, tracked_beliefs
from semantic_model.grounded.model import GroundedContext, GroundedSemantic, GroundedVectors, State
from semantic_model.layers.losses import softmax_rank_loss, state_mse
from semantic_model.ranking.candidates import Choices, Scored
from semantic_model.ranking.model_spec import Objective, StepBatch
from semantic_model.semantic.objective import agreement_losses, weighted


def grounded_objective(model: GroundedSemantic, step: StepBatch) -> Objective:
    """What is minimised on a batch of D_F, or, without states, of D_P."""
    batch, states, products, choices, teacher_only, labelled_share = step
    config = model.config.loss
    context = model.encode_contexts(batch)
    predicted = model.student_state(context)
    if states is None:
        found = _ranking(model, context, products, choices, predicted.state, agreement=True)
        every = torch.ones_like(predicted.none).bool()
        if config.tracker_weight:
            told = tracked_beliefs(context.evidence, model.sums)
            found["tracker"] = belief_loss(predicted.log_beliefs, told, every, model.sums)
        if config.em_weight:
            assert choices.relevant is not None  # as the settings make sure
            with torch.no_grad():
                affinity = model.value_match.affinity(products.attributes)
                meant = posterior(predicted.state.beliefs, affinity, choices.relevant, model.sums)
            found["em"] = belief_loss(predicted.log_beliefs, meant, every, model.sums)
        return Objective(weighted(config, found), {f"student_{name}": value for name, value in found.items()})
    teacher_state = model.teacher_state(states)
    terms: dict[str, Tensor] = {}
    total = products.rho_T.new_zeros(())
    if config.alpha > 0 or teacher_only:
        teacher = _ranking(model, context, products, choices, teacher_state, agreement=True)
        terms.update({f"teacher_{name}": value for name, value in teacher.items()})
        total = total + (1.0 if teacher_only else config.alpha) * weighted(config, teacher)
    if config.alpha < 1 and not teacher_only:
        student = _ranking(
            model, context, products, choices, predicted.state, agreement=config.student_on_labelled == "all"
        )
        if config.mse_weight:
            S = teacher_state.S.detach() if config.detach_teacher else teacher_state.S
            student["mse"] = state_mse(predicted.S, S, states.labelled)
        if config.belief_weight:
            student["beliefs"] = belief_loss(predicted.log_beliefs, teacher_state.beliefs, states.known, model.sums)
        terms.update({f"student_{name}": value for name, value in student.items()})
        total = total + (1 - config.alpha) * weighted(config, student, {"beliefs": 1 / labelled_share})
    return Objective(total, terms)


def _ranking(
    model: GroundedSemantic,
    context: GroundedContext,
    products: GroundedVectors,
    choices: Choices,
    state: State,
    *,
    agreement: bool,
) -> dict[str, Tensor]:
    config = model.config.loss
    terms: dict[str, Tensor] = {}
    if config.rank_weight:
        found = Scored.of(choices, products, lambda some: model.logits(context, some, state))
        terms["rank"] = softmax_rank_loss(*found)
    if agreement:
        terms.update(agreement_losses(model.semantic, context.plain, products.plain, choices, state.S))
    return terms
