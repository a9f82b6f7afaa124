"""State encoders (section 3.5): the teacher reads gold states, the student predicts them from the context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semantic_model.attention import AttentionStack
from semantic_model.batch import StateBatch
from semantic_model.config import Config
from semantic_model.encoders import Context, WordTable
from semantic_model.text import PAD, TokenArray

__all__ = ["SlotKeys", "StudentEncoder", "TeacherEncoder"]


class SlotKeys(nn.Module):
    """S^K: the slots' names as mean word vectors; shared by teacher and student."""

    keys: Tensor

    def __init__(self, words: WordTable, keys: TokenArray) -> None:
        super().__init__()
        self.words = words
        self.register_buffer("keys", torch.from_numpy(keys))

    def forward(self) -> Tensor:
        """[n, D]."""
        return masked_mean(self.words(self.keys), self.keys != PAD)


class TeacherEncoder(nn.Module):
    """S = SelfAttn(S^K + S^V) with the gold values' word vectors as S^V."""

    def __init__(self, config: Config, words: WordTable, keys: SlotKeys) -> None:
        super().__init__()
        self.words = words
        self.keys = keys
        self.use_values = config.state.use_values
        self.sum = config.state.value_pool == "sum"
        self.attention = AttentionStack(config.model)

    def forward(self, states: StateBatch) -> Tensor:
        """[B, n, V] word pieces of values -> S [B, n, D]."""
        S = self.keys().expand(len(states.values), -1, -1)
        if self.use_values:
            mask = states.values != PAD
            vectors = self.words(states.values)
            S = S + (vectors.sum(dim=2) if self.sum else masked_mean(vectors, mask))
        return self.attention(S, torch.ones(S.shape[:2], dtype=torch.bool, device=S.device))  # type: ignore[no-any-return]


class StudentEncoder(nn.Module):
    """Value predictor S^V = CrossAttn(S^K, C, C) with C = C^T + C^I; student learner S = SelfAttn(S^K + S^V)."""

    def __init__(self, config: Config, keys: SlotKeys) -> None:
        super().__init__()
        self.keys = keys
        self.last_turn_only = config.student.context == "last"
        self.value_predictor = AttentionStack(config.model)
        self.learner = AttentionStack(config.model)

    def forward(self, context: Context) -> Tensor:
        """Predicted state embeddings [B, n, D]; gold labels play no part."""
        C, mask = context.C_T + context.C_I, context.turn_mask
        if self.last_turn_only:
            C, mask = C[:, -1:], mask[:, -1:]
        S_K = self.keys().expand(len(C), -1, -1)
        every = torch.ones(S_K.shape[:2], dtype=torch.bool, device=C.device)
        S_V = self.value_predictor(S_K, every, C, mask)
        return self.learner(S_K + S_V, every)  # type: ignore[no-any-return]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis but one, of what ``mask`` keeps; zeros where it keeps nothing."""
    return (x * mask[..., None]).sum(dim=-2) / mask.sum(dim=-1, keepdim=True).clamp(min=1)
