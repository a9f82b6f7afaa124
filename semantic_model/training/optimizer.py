"""Adam with a linear schedule and clipped gradients (section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semantic_model.config.config import Config
from semantic_model.training.distributed import Processes
from semantic_model.training.sampling import Step


def learning_rate(config: Config, step: int, total: int) -> float:
    """Linear warm-up over a share of all steps, then linear decay to zero."""
    warm = config.train.warmup * total
    rate = config.train.learning_rate
    if step + 1 <= warm:
        return rate * (step + 1) / (warm + 1)
    return rate * (total - step) / max(total - warm, 1)


class ScheduledAdam:
    """One optimiser over all trained parameters.

    Args:
        config: rate, schedule, clipping, weight decay.
        model: its parameters on the device where they are trained.
        processes: whose gradients are averaged.
    """

    def __init__(self, config: Config, model: Any, processes: Processes) -> None:
        self.config = config
        self.processes = processes
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        kind = torch.optim.AdamW if config.train.weight_decay else torch.optim.Adam
        self.adam: torch.optim.Optimizer = kind(
            self.parameters, lr=config.train.learning_rate, weight_decay=config.train.weight_decay, fused=True
        )

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        rate: float = self.adam.param_groups[0]["lr"]
        return rate

    def set_rate(self, steps: Sequence[Step], epoch: int, step: int) -> None:
        """The rate of the step that comes next.

        Args:
            steps: those of an epoch, as many of each set in every epoch.
            epoch: epochs done.
            step: steps done of this one.
        """
        only = [s.part == "D_P" for s in steps] if self.config.joint.warmup_over == "unlabelled" else []
        counts = only if any(only) else [True] * len(steps)
        done = epoch * sum(counts) + sum(counts[:step])
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.config, done, self.config.train.epochs * sum(counts))

    def step(self, loss: Tensor, step: Step) -> Tensor:
        """Move the parameters down the loss; returns the norm of the gradient before clipping."""
        self.adam.zero_grad(set_to_none=True)
        if not loss.requires_grad:  # every weight of this set's losses is zero
            return torch.zeros((), device=loss.device)
        loss.backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(self.parameters)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.joint.clip_on == "all" or step.part == "D_F":
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.config.train.clip, norm)
        self.adam.step()
        return norm
