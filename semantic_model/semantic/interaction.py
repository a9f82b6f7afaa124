"""Dialogue state interaction, DSI (section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from semantic_model.layers.losses import EPSILON
from semantic_model.semantic.settings import DsiConfig


class Interaction(NamedTuple):
    """What K hops make of vectors x_0."""

    x: Tensor  # [B, C, D], x_K
    attention: Tensor  # [B, C, n], that of layer K + 1: softmax(cos(x_K, S_K))


def attend_state(x_k: Tensor, S_k: Tensor, inverse_temperature: Tensor) -> Tensor:
    """a_k = softmax_i(cos(x_k, S_k,i) / temperature): [B, C, D], [B, n, D] -> [B, C, n]."""
    x = x_k / x_k.norm(dim=-1, keepdim=True).clamp(min=EPSILON)
    S = S_k / S_k.norm(dim=-1, keepdim=True).clamp(min=EPSILON)
    return torch.softmax(inverse_temperature * (x @ S.transpose(-1, -2)), dim=-1)


class DialogueStateInteraction(nn.Module):
    """K hops in which vectors take up what they attend to in the state, for one modality.

    The same module serves contexts and products, teacher and student (Figure 2).

    Args:
        config: K, bias, temperature.
        width: D.
        start_as_identity: W_k begins as half the identity, so that a hop adds the attended slots themselves.
    """

    log_inverse_temperature: Tensor

    def __init__(self, config: DsiConfig, width: int, *, start_as_identity: bool = False) -> None:
        super().__init__()
        layers = [nn.Linear(width, width, bias=config.bias) for _ in range(config.hops)]
        for layer in layers if start_as_identity else ():
            nn.init.eye_(layer.weight)
            layer.weight.data.mul_(0.5)
            if config.bias:
                nn.init.zeros_(layer.bias)
        self.W = nn.ModuleList(layers)
        start = torch.tensor(1.0 / config.temperature).log()
        if config.learn_temperature:
            self.log_inverse_temperature = nn.Parameter(start)
        else:
            self.register_buffer("log_inverse_temperature", start)

    @property
    def inverse_temperature(self) -> Tensor:
        """1 / temperature of the attention."""
        return self.log_inverse_temperature.exp()

    def states(self, S: Tensor) -> Tensor:
        """S_0 ... S_K with S_{k+1} = W_{k+1} S_k: [B, n, D] -> [B, K + 1, n, D]."""
        stack = [S]
        for W in self.W:
            stack.append(W(stack[-1]))
        return torch.stack(stack, dim=1)

    def forward(self, x_0: Tensor, S: Tensor) -> Interaction:
        """x_{k+1} = x_k + sum_i a_k,i S_{k+1},i, K times.

        Args:
            x_0: vectors of a context or of candidates [B, C, D].
            S: state embeddings [B, n, D] of the dialogue they are for.
        """
        return self.interact(x_0, self.states(S))

    def interact(self, x_0: Tensor, stack: Tensor) -> Interaction:
        """:meth:`forward`, given S_0 ... S_K [B, K + 1, n, D]."""
        x_k, S = x_0, stack.unbind(dim=1)
        for k in range(len(self.W)):
            a_k = attend_state(x_k, S[k], self.inverse_temperature)  # [B, C, n]
            x_k = x_k + a_k @ S[k + 1]
        return Interaction(x_k, attend_state(x_k, S[-1], self.inverse_temperature))
