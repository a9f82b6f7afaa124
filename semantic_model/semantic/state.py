"""State encoders (section 3.5): the teacher reads gold states, the student predicts them from the context."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from semantic_model.data.tokenizer import PAD, TokenArray
from semantic_model.layers.attention import AttentionStack
from semantic_model.layers.slot_values import (
    AttendedValue,
    MeanValue,
    NoValues,
    OwnVectorForNone,
    ReleaseValue,
    SumValue,
    masked_mean,
)
from semantic_model.layers.word_vectors import WholeBert, WordTable
from semantic_model.semantic.encoders import Context
from semantic_model.semantic.reading import StateBatch
from semantic_model.semantic.settings import TeacherStudentConfig


class SlotKeys(nn.Module):
    """S^K: the slots' names as mean word vectors; shared by teacher and student."""

    keys: Tensor

    def __init__(self, words: WordTable | WholeBert, keys: TokenArray) -> None:
        super().__init__()
        self.words = words
        self.register_buffer("keys", torch.from_numpy(keys))

    def forward(self) -> Tensor:
        """[n, D]."""
        return masked_mean(self.words(self.keys), self.keys != PAD)


def value_encoder(config: TeacherStudentConfig, words: WordTable | WholeBert) -> nn.Module:
    """S^V [B, n, D] of word pieces [B, n, V], as the settings of ``state`` say."""
    width = config.model.width
    if not config.state.use_values:
        return NoValues(width)
    pools: dict[str, Callable[[], nn.Module]] = {
        "mean": lambda: MeanValue(words),
        "sum": lambda: SumValue(words),
        "attn": lambda: AttendedValue(words, width),
        "release": lambda: ReleaseValue(words),
    }
    pooled = pools[config.state.value_pool]()
    return OwnVectorForNone(pooled, width) if config.state.none == "learned" else pooled


class EverySlot(nn.Module):
    """All slots are attended to, those without a value as well."""

    def forward(self, values: Tensor) -> Tensor:
        """[B, n, V] -> bool [B, n]."""
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)


class MentionedSlots(nn.Module):
    """Slots without a value are not attended to, and come out as zeros."""

    def forward(self, values: Tensor) -> Tensor:
        """[B, n, V] -> bool [B, n]."""
        return (values != PAD).any(dim=2)


class TeacherEncoder(nn.Module):
    """S = SelfAttn(S^K + S^V) with the gold values' word vectors as S^V."""

    def __init__(self, config: TeacherStudentConfig, words: WordTable | WholeBert, keys: SlotKeys) -> None:
        super().__init__()
        self.words = words
        self.keys = keys
        self.values = value_encoder(config, words)
        masked = config.state.none == "mask" and config.state.use_values
        self.attended: nn.Module = MentionedSlots() if masked else EverySlot()
        self.attention = AttentionStack(config.model)

    def forward(self, states: StateBatch) -> Tensor:
        """[B, n, V] word pieces of values -> S [B, n, D]."""
        S_K = self.keys().expand(len(states.values), -1, -1)
        return self.attention(S_K + self.values(states.values), self.attended(states.values))  # type: ignore[no-any-return]


def all_turns(context: Context) -> tuple[Tensor, Tensor]:
    """C = C^T + C^I of every turn [B, T, D], and which turns there are."""
    return context.C_T + context.C_I, context.turn_mask


def last_turn(context: Context) -> tuple[Tensor, Tensor]:
    """C = C^T + C^I of the last turn [B, 1, D]."""
    C, mask = all_turns(context)
    return C[:, -1:], mask[:, -1:]


class StudentEncoder(nn.Module):
    """Value predictor S^V = CrossAttn(S^K, C, C) with C = C^T + C^I; student learner S = SelfAttn(S^K + S^V)."""

    def __init__(self, config: TeacherStudentConfig, keys: SlotKeys) -> None:
        super().__init__()
        self.keys = keys
        self.read = last_turn if config.student.context == "last" else all_turns
        self.value_predictor = AttentionStack(config.model)
        self.learner = AttentionStack(config.model)

    def attention(self, context: Context) -> Tensor:
        """What the value predictor attends to of the turns that it reads, for each slot [B, n, T]."""
        C, mask = self.read(context)
        return self.value_predictor.last_weights(self.keys().expand(len(C), -1, -1), C, mask)

    def forward(self, context: Context) -> Tensor:
        """Predicted state embeddings [B, n, D]; gold labels play no part."""
        C, mask = self.read(context)
        S_K = self.keys().expand(len(C), -1, -1)
        every = torch.ones(S_K.shape[:2], dtype=torch.bool, device=C.device)
        S_V = self.value_predictor(S_K, every, C, mask)
        return self.learner(S_K + S_V, every)  # type: ignore[no-any-return]
