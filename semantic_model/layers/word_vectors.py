"""Words as vectors, and what else a network takes over from a pre-trained text model before training (section 3.1)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from schemas.errors import ModelError
from semantic_model.config.config import Config
from semantic_model.data.tokenizer import PAD, Vocabulary, words_folder
from semantic_model.layers.packing import group_ends

_START = 64  # what one more group of texts costs, in word pieces: gradients of all weights are summed over groups


class FromWords(nn.Module, ABC):
    """A part that may begin with something that came along with the words."""

    @abstractmethod
    def start_from(self, words: Vocabulary) -> None:
        """Take it over; called once, before training."""


class WordTable(FromWords):
    """W_emb: one vector a word piece, zeros for padding; projected to ``out``, else D, where widths differ."""

    def __init__(self, config: Config, vocabulary: int, width: int, out: int | None = None) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width, padding_idx=PAD)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        with torch.no_grad():
            self.table.weight[PAD] = 0.0
        self.table.weight.requires_grad_(not config.text.freeze)
        out = out or config.model.width
        self.project: nn.Module = nn.Identity() if width == out else nn.Linear(width, out, bias=False)
        self.rare_words_first = config.text.rare_words_first

    @torch.no_grad()
    def start_from(self, words: Vocabulary) -> None:
        """Begin as the vectors that came along; else, where asked for, longer the rarer a word is."""
        if words.vectors is not None:
            self.table.weight.copy_(torch.from_numpy(words.vectors[: words.size]))
            self.table.weight[PAD] = 0.0
        elif self.rare_words_first and words.rarity is not None:
            self.table.weight *= torch.from_numpy(words.rarity)[:, None]

    def forward(self, tokens: Tensor) -> Tensor:
        """[..] word pieces -> [.., D]."""
        found: Tensor = self.project(self.table(tokens))
        return found

    def packed(self, tokens: Tensor) -> Tensor:
        """Texts [r, L], shortest first -> their pieces one after the other [P, D]."""
        return self(tokens[tokens != PAD])  # type: ignore[no-any-return]


class WholeBert(FromWords):
    """The last layer of a whole BERT instead of its word table; projected to ``out``, else D, where widths differ.

    Raises:
        MissingPartError: it is not here; lists the ways out.
    """

    def __init__(self, config: Config, out: int | None = None) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.folder = words_folder(config.text.embeddings)
        settings = AutoConfig.from_pretrained(self.folder, local_files_only=True)
        self.bert: nn.Module = AutoModel.from_config(settings, add_pooling_layer=False)  # type: ignore[no-untyped-call]
        self.bert.requires_grad_(not config.text.freeze)
        width, out = int(settings.hidden_size), out or config.model.width
        self.project: nn.Module = nn.Identity() if width == out else nn.Linear(width, out, bias=False)

    @property
    def table(self) -> nn.Embedding:
        """Its word table."""
        found: nn.Embedding = self.bert.get_input_embeddings()  # type: ignore[operator]
        return found

    def start_from(self, words: Vocabulary) -> None:
        """Take over its weights.

        Raises:
            ModelError: weights that cannot be read.
        """
        del words
        from transformers import AutoModel

        try:
            found = AutoModel.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, add_pooling_layer=False
            )
        except (OSError, ValueError) as problem:
            raise ModelError(f"not a BERT: {str(problem).splitlines()[0]}", where=self.folder) from None
        self.bert.load_state_dict(found.state_dict())

    def forward(self, tokens: Tensor) -> Tensor:
        """[.., L] word pieces -> [.., L, D]; each row of L is read as one text."""
        rows = tokens.reshape(-1, tokens.shape[-1])
        mask = rows != PAD
        # a row of padding looks at its first place: the softmax needs something, and nobody reads the row
        mask = mask | (~mask.any(dim=1, keepdim=True) & (torch.arange(rows.shape[1], device=rows.device) == 0))
        found: Tensor = self.project(self.bert(input_ids=rows, attention_mask=mask.long()).last_hidden_state)
        return found.reshape(*tokens.shape, -1)

    def packed(self, tokens: Tensor) -> Tensor:
        """Texts [r, L], shortest first -> their pieces one after the other [P, D]; groups of like length are padded."""
        there = tokens != PAD
        counts = there.sum(dim=1).bincount().tolist()
        found, at, begin = [], 0, 0
        for end in group_ends(counts, _START):
            rows = slice(at, at + sum(counts[begin : end + 1]))
            found.append(self(tokens[rows, :end])[there[rows, :end]])
            at, begin = rows.stop, end + 1
        return torch.cat(found)


def word_vectors(config: Config, vocabulary: int, width: int, out: int | None = None) -> WordTable | WholeBert:
    """What turns word pieces into vectors [.., out]: a table, or a whole BERT; ``out`` is D when left out."""
    return WholeBert(config, out) if config.text.full_bert else WordTable(config, vocabulary, width, out)


class Positions(nn.Embedding):
    """PE: a learned vector a place, added."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__(places, width)
        nn.init.normal_(self.weight, std=0.02)

    @torch.no_grad()
    def start_from(self, vectors: Tensor) -> None:
        """Begin as the vectors [.., D] that came along, as far as they go."""
        places = min(len(vectors), len(self.weight))
        self.weight[:places] = vectors[:places]

    def forward(self, x: Tensor, places: Tensor) -> Tensor:  # type: ignore[override]
        """Vectors [.., D] at places int [..] -> [.., D]."""
        return x + super().forward(places)


class NoPositions(nn.Module):
    """A whole BERT has added its own."""

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """[.., D], as it is."""
        del places
        return x
