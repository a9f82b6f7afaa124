"""Self-attention over the tokens of padded texts: what nothing of depends on what the texts say, not even a shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semantic_model.config.config import Config
from semantic_model.data.tokenizer import Vocabulary
from semantic_model.layers.attention import AttentionStack
from semantic_model.layers.word_vectors import FromWords, NoPositions, Positions, WholeBert, WordTable


class TokenStates(FromWords):
    """SelfAttn(w + PE): vectors of tokens [R, L, D], bool [R, L] -> the same shape, zeros at padding.

    Args:
        config: depths and widths, and where PE begins.
        words: what made the vectors of tokens.
        max_tokens: places of PE; tokens beyond share the last one.
    """

    def __init__(self, config: Config, words: WordTable | WholeBert, max_tokens: int) -> None:
        super().__init__()
        self.words = words
        self.places = max_tokens
        self.positions: nn.Module = (
            NoPositions() if config.text.full_bert else Positions(max_tokens, config.model.width)
        )
        self.brought = config.text.positions == "brought"
        self.attention = AttentionStack(config.model, config.text_layers)

    def start_from(self, words: Vocabulary) -> None:
        """Begin with the position embeddings that came along, if there are any and they are asked for."""
        if self.brought and words.positions is not None and isinstance(self.positions, Positions):
            self.positions.start_from(self.words.project(torch.from_numpy(words.positions)))

    def forward(self, w: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(w.shape[1], device=w.device).clamp(max=self.places - 1)
        found: Tensor = self.attention(self.positions(w, places), mask)
        return found
