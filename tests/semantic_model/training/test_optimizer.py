from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from semantic_model.training.distributed import Processes
from semantic_model.training.optimizer import ScheduledAdam, learning_rate
from semantic_model.training.sampling import Step

D_F, D_P = Step("D_F", np.arange(1)), Step("D_P", np.arange(1))


def optimisation(config_of, **train) -> ScheduledAdam:
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    return ScheduledAdam(config_of(train={"learning_rate": 1.0, "warmup": 0.0, **train}), model, Processes())


def rates(given: ScheduledAdam, steps: list[Step], epochs: int) -> list[float]:
    found = []
    for epoch in range(epochs):
        for at in range(len(steps)):
            given.set_rate(steps, epoch, at)
            found.append(given.rate)
    return found


def test_the_rate_falls_to_zero_over_all_steps(config_of):
    assert rates(optimisation(config_of, epochs=2), [D_F, D_P], 2) == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_the_releases_rate_moves_on_with_unlabelled_steps_alone(config_of):
    given = optimisation(config_of, epochs=2, warmup_over="unlabelled")
    assert rates(given, [D_F, D_F, D_P, D_P], 2) == pytest.approx([1.0, 1.0, 1.0, 0.75, 0.5, 0.5, 0.5, 0.25])
    assert rates(given, [D_F], 2) == pytest.approx([1.0, 0.5])  # no unlabelled step at all: every one counts


@pytest.mark.parametrize(
    ("clip_on", "step", "clipped"), [("all", D_P, True), ("labelled", D_P, False), ("labelled", D_F, True)]
)
def test_gradients_are_clipped_to_their_norm_where_asked(config_of, clip_on, step, clipped):
    given = optimisation(config_of, clip=1.0, clip_on=clip_on)
    loss = (given.parameters[0] * torch.tensor([[3.0, 4.0]])).sum()
    assert float(given.step(loss, step)) == pytest.approx(5.0)
    expected = [0.6, 0.8] if clipped else [3.0, 4.0]
    assert given.parameters[0].grad.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def test_the_first_step_of_adam_is_the_rate_in_every_direction(config_of):
    given = optimisation(config_of)
    given.set_rate([D_F], 0, 0)
    given.step((given.parameters[0] * torch.tensor([[3.0, -4.0]])).sum(), D_F)
    assert given.parameters[0].flatten().tolist() == pytest.approx([-given.rate, given.rate], rel=1e-5)


def test_a_loss_that_depends_on_nothing_moves_nothing(config_of):
    given = optimisation(config_of)
    assert float(given.step(torch.tensor(3.0), D_F)) == 0.0
    assert given.parameters[0].tolist() == [[0.0, 0.0]]


def test_the_rate_warms_up_linearly_and_decays_to_zero(config_of):
    config = config_of(train={"learning_rate": 1.0, "warmup": 0.1})
    found = [learning_rate(config, step, 100) for step in range(101)]
    assert found[0] == pytest.approx(1 / 11)
    assert max(found) == found[10] == pytest.approx(1.0)
    assert found[55] == pytest.approx(0.5)
    assert found[100] == 0.0
