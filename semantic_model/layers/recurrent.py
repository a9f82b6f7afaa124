"""Recurrent encoders of padded sequences, in one or both directions; padding changes nothing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["gru", "lstm"]


class RecurrentEncoder(nn.Module):
    """A GRU or LSTM over sequences of which ``mask`` is true from some place to some other, without gaps.

    Every direction runs over the sequence's own places alone, the first of them first: whatever padding stands before
    or behind is skipped, which a packed sequence would do too, yet without asking a GPU for lengths.

    Args:
        cell: ``gru`` or ``lstm``.
        inputs: E, width of what is read.
        width: D of each direction.
        bidirectional: read backwards, too; both directions' states are joined.

    Attributes:
        out: width of its states, D or 2 D.
    """

    def __init__(self, cell: Cell, inputs: int, width: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        kind = nn.GRU if cell == "gru" else nn.LSTM
        self.forwards = kind(inputs, width, batch_first=True)
        self.backwards = kind(inputs, width, batch_first=True) if bidirectional else None
        self.out = 2 * width if bidirectional else width

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Read sequences.

        Args:
            x: [R, L, E].
            mask: bool [R, L].

        Returns:
            States [R, L, out], zeros at padding, and the last state of each direction [R, out]: that of the last place
            forwards, of the first place backwards; zeros for a sequence without any place.
        """
        count = mask.sum(dim=1, keepdim=True)  # [R, 1]
        first = mask.int().argmax(dim=1, keepdim=True)
        place = torch.arange(mask.shape[1], device=mask.device)
        found, last = _run(self.forwards, x, (first + place) % len(place), count)
        if self.backwards is not None:
            other, other_last = _run(self.backwards, x, (first + count - 1 - place) % len(place), count)
            found, last = torch.cat([found, other], dim=2), torch.cat([last, other_last], dim=1)
        return found, last


def _run(cell: nn.Module, x: Tensor, order: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """States of a cell that reads places in an order [R, L], at the places where they were read; and the last one."""
    states, _ = cell(x.gather(1, order[..., None].expand_as(x)))  # [R, L, D], in that order
    wide = (len(states), 1, states.shape[2])
    last = states.gather(1, (count - 1).clamp(min=0)[..., None].expand(wide))[:, 0] * (count > 0)
    real = torch.arange(states.shape[1], device=x.device) < count
    there = torch.where(real[..., None], states, 0.0)
    return torch.zeros_like(there).scatter(1, order[..., None].expand_as(there), there), last
