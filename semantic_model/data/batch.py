"""Model inputs: what is read of a dialogue, a product and a belief state, as tensors.

Everything is turned into word pieces and image rows once; a batch is then one gather.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.belief import BeliefState
from semantic_model.config.config import Config
from semantic_model.data.corpus import product_text
from semantic_model.data.image_features import NO_IMAGE, Features
from semantic_model.data.records import Product, Query
from semantic_model.data.tokenizer import PAD, TokenArray, Vocabulary

__all__ = ["ContextArrays", "ContextBatch", "ProductBatch", "Reader", "StateBatch", "to_device", "value_text"]

NO_VALUE = "none"
"""The value of a slot that the dialogue has not mentioned (section 3.5)."""


class ContextBatch(NamedTuple):
    """Dialogue contexts, turns to the right: the user's last one is at T - 1."""

    tokens: Tensor  # int [B, T, L], PAD where there is none
    images: Tensor  # float [B, T, M, F]
    image_mask: Tensor  # bool [B, T, M]
    turn_mask: Tensor  # bool [B, T]


class ProductBatch(NamedTuple):
    """Products."""

    tokens: Tensor  # int [N, L]
    image: Tensor  # float [N, F]
    image_mask: Tensor  # bool [N]


class StateBatch(NamedTuple):
    """Gold belief states."""

    values: Tensor  # int [B, n, V]
    labelled: Tensor  # bool [B, n]


@dataclass(frozen=True)
class ContextArrays:
    """Many contexts, kept small: word pieces and image rows.

    Attributes:
        tokens: [Q, T, L].
        image_rows: rows of the features [Q, T, M]; -1 without an image.
        turn_mask: [Q, T].
    """

    tokens: TokenArray
    image_rows: npt.NDArray[np.int64]
    turn_mask: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, part: slice) -> ContextArrays:
        """Some of them."""
        return ContextArrays(self.tokens[part], self.image_rows[part], self.turn_mask[part])

    def batch(self, rows: npt.NDArray[np.int64] | slice, features: Features, device: torch.device) -> ContextBatch:
        """The contexts ``rows``, with L cut to the longest utterance among them."""
        tokens, image_rows = self.tokens[rows], self.image_rows[rows]
        length = max(int((tokens != PAD).any(axis=(0, 1)).sum()), 1)
        return ContextBatch(
            to_device(tokens[:, :, :length], device),
            to_device(features.gather(image_rows), device),
            to_device(image_rows != NO_IMAGE, device),
            to_device(self.turn_mask[rows], device),
        )


def to_device(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor; a GPU fetches it while it computes."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Reader:
    """Reads queries, products and states as the settings say.

    Args:
        config: windows, lengths, what is left out.
        words: the tokenizer.
        features: the images.
        slots: names of the state's n slots, in order.
    """

    def __init__(self, config: Config, words: Vocabulary, features: Features, slots: Sequence[str]) -> None:
        self.config = config
        self.words = words
        self.features = features
        self.slots = tuple(slots)

    def contexts(self, queries: Sequence[Query]) -> ContextArrays:
        """The last T utterances of each history, left-padded (section 4.2)."""
        T, L, M = self.config.context.window, self.config.text.max_tokens, self.config.image.max_per_turn
        tokens = np.full((len(queries), T, L), PAD, dtype=np.int64)
        image_rows = np.full((len(queries), T, M), NO_IMAGE, dtype=np.int64)
        turn_mask = np.zeros((len(queries), T), dtype=np.bool_)
        ends = slice(None) if self.config.context.include_current else slice(-1)
        windows = [query.history[ends][-T:] for query in queries]
        distinct = sorted({utterance.text for window in windows for utterance in window})
        pieces = self.words.encode(distinct, L)
        row_of = {text: row for row, text in enumerate(distinct)}
        for q, window in enumerate(windows):
            for t, utterance in enumerate(window, start=T - len(window)):
                turn_mask[q, t] = True
                tokens[q, t, : pieces.shape[1]] = pieces[row_of[utterance.text]]
                rows = [row for row in map(self.features.row, utterance.image_ids) if row != NO_IMAGE][:M]
                image_rows[q, t, : len(rows)] = rows
        return ContextArrays(tokens, image_rows, turn_mask)

    def products(self, products: Sequence[Product]) -> ProductBatch:
        """Names with attributes, and first images, of products."""
        fields, ignored = set(self.config.text.product_fields), set(self.config.text.product_ignore)
        texts = [
            product_text(
                item.name,
                {
                    key: found
                    for key, found in item.attributes.items()
                    if key not in ignored and (not fields or key in fields)
                },
            )
            for item in products
        ]
        rows = np.array(
            [NO_IMAGE if item.image_id is None else self.features.row(item.image_id) for item in products],
            dtype=np.int64,
        )
        return ProductBatch(
            torch.from_numpy(self.words.encode(texts, self.config.text.product_max_tokens)),
            torch.from_numpy(self.features.gather(rows)),
            torch.from_numpy(rows != NO_IMAGE),
        )

    def slot_keys(self) -> TokenArray:
        """Word pieces [n, L] of the slots' names."""
        return self.words.encode([slot_text(slot) for slot in self.slots], 8)

    def states(self, states: Sequence[BeliefState | None]) -> StateBatch:
        """Gold states slot by slot; every slot of None is unlabelled."""
        V = self.config.state.value_tokens
        by_slot = [dict.fromkeys(self.slots, ()) if state is None else _by_slot(state, self.slots) for state in states]
        sentiment = self.config.state.sentiment
        none = NO_VALUE if self.config.state.none == "token" else ""  # a row of padding
        texts = [[value_text(found[slot], sentiment=sentiment, none=none) for slot in self.slots] for found in by_slot]
        distinct = sorted({text for row in texts for text in row})
        pieces = self.words.encode(distinct, V)
        padded = np.full((len(distinct), V), PAD, dtype=np.int64)
        padded[:, : pieces.shape[1]] = pieces
        row_of = {text: row for row, text in enumerate(distinct)}
        rows = np.array([[row_of[text] for text in row] for row in texts], dtype=np.int64)
        rows = rows.reshape(len(states), len(self.slots))
        labelled = np.array([[state is not None] * len(self.slots) for state in states], dtype=np.bool_)
        return StateBatch(
            torch.from_numpy(padded[rows]), torch.from_numpy(labelled.reshape(len(states), len(self.slots)))
        )


def slot_text(slot: str) -> str:
    """A slot's name as words: ``sleeveLength`` and ``sleeve_length`` are both "sleeve length"."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in slot)
    return " ".join(spaced.replace("_", " ").lower().split())


def value_text(wishes: Sequence[tuple[str, str]], *, sentiment: bool, none: str = NO_VALUE) -> str:
    """One slot's value as the teacher reads it, as ``like red blue dislike black``.

    Args:
        wishes: (polarity, value) in order, likes first.
        sentiment: whether the polarity is written.
        none: what is read without any.
    """
    parts: list[str] = []
    for polarity in ("like", "dislike"):
        values = [value for its_polarity, value in wishes if its_polarity == polarity]
        if values:
            parts += [polarity] * sentiment + values
    return " ".join(parts) or none


def _by_slot(state: BeliefState, slots: Sequence[str]) -> Mapping[str, Sequence[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {slot: [] for slot in slots}
    for item in state:
        if item.slot in found:  # a slot that was in no ontology when the model was made
            found[item.slot].append((item.polarity, item.value))
    return found
