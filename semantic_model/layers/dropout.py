"""Dropout whose random bits cost a CPU little: 16 a number, where torch's generator spends a whole draw on each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Dropout"]

_STEPS = 1 << 16


class Dropout(nn.Module):
    """Zeros a share of the numbers in training, and scales the others so that the mean stays.

    Args:
        p: the share; on a CPU it is rounded to 1 / 65,536.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and type."""
        dropped = round(self.p * _STEPS)
        if not self.training or not dropped:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)  # 4 x 16 each
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _STEPS // 2
        return x * kept * (_STEPS / (_STEPS - dropped))
