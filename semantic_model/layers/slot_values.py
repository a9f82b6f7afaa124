"""S^V of gold states: a slot's value as one vector (section 3.5), and the ways to pool its word pieces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semantic_model.data.tokenizer import PAD, Vocabulary
from semantic_model.layers.word_vectors import FromWords, WholeBert, WordTable


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis but one, of what ``mask`` keeps; zeros where it keeps nothing."""
    return (x * mask[..., None]).sum(dim=-2) / mask.sum(dim=-1, keepdim=True).clamp(min=1)


class NoValues(nn.Module):
    """The paper's "w/o ds": slots have no values, keys are all that is read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, values: Tensor) -> Tensor:
        """[B, n, V] -> zeros [B, n, D]."""
        return torch.zeros(*values.shape[:2], self.width, device=values.device)


class MeanValue(nn.Module):
    """The mean over a value's word pieces."""

    def __init__(self, words: WordTable | WholeBert) -> None:
        super().__init__()
        self.words = words

    def forward(self, values: Tensor) -> Tensor:
        """[B, n, V] -> [B, n, D]; zeros for a value without any piece."""
        return masked_mean(self.words(values), values != PAD)


class SumValue(MeanValue):
    """The sum over a value's word pieces."""

    def forward(self, values: Tensor) -> Tensor:
        """[B, n, V] -> [B, n, D]."""
        found: Tensor = (self.words(values) * (values != PAD)[..., None]).sum(dim=2)
        return found


class AttendedValue(MeanValue):
    """Word pieces weighed by a softmax over a learned score of each."""

    def __init__(self, words: WordTable | WholeBert, width: int) -> None:
        super().__init__(words)
        self.score = nn.Linear(width, 1)

    def forward(self, values: Tensor) -> Tensor:
        """[B, n, V] -> [B, n, D]; zeros for a value without any piece."""
        vectors, mask = self.words(values), values != PAD
        scores = self.score(vectors).squeeze(-1).masked_fill(~mask, -1e9)
        found: Tensor = (torch.softmax(scores, dim=-1) * mask)[..., None].mul(vectors).sum(dim=2)
        return found


class ReleaseValue(FromWords):
    """The release's: the sum of all V places, padding with its vector included, by the number of real pieces.

    A value without any real piece, where the release divides by zero, is divided by 1. The padding vector trains along;
    it begins as the one that came with the words.
    """

    def __init__(self, words: WordTable | WholeBert) -> None:
        super().__init__()
        self.words = words
        width = words.table.embedding_dim
        self.padding = nn.Parameter(torch.randn(width) * width**-0.5)

    @torch.no_grad()
    def start_from(self, words: Vocabulary) -> None:
        """Take over the padding vector that came along."""
        if words.vectors is not None:
            self.padding.copy_(torch.from_numpy(words.vectors[PAD]))

    def forward(self, values: Tensor) -> Tensor:
        """[B, n, V] -> [B, n, D]."""
        real = values != PAD
        places = torch.where(real[..., None], self.words(values), self.words.project(self.padding))
        return places.sum(dim=2) / real.sum(dim=2, keepdim=True).clamp(min=1)


class OwnVectorForNone(nn.Module):
    """A learned vector for slots without a value, instead of the word "none"."""

    def __init__(self, mentioned: nn.Module, width: int) -> None:
        super().__init__()
        self.mentioned = mentioned
        self.none = nn.Parameter(torch.randn(width) * width**-0.5)

    def forward(self, values: Tensor) -> Tensor:
        """[B, n, V] -> [B, n, D]; a slot without a value is all padding."""
        return torch.where((values != PAD).any(dim=2, keepdim=True), self.mentioned(values), self.none)
