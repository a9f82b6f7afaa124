"""What SeMANTIC reads beside words and images: names of slots, and gold states slot by slot (section 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from schemas.belief import BeliefState
from semantic_model.data.batch import ContextBatch, Inputs, ProductBatch, Reader
from semantic_model.data.tokenizer import PAD, TokenArray
from semantic_model.data.told_states import slot_text
from semantic_model.semantic.settings import TeacherStudentConfig

NO_VALUE = "none"
"""The value of a slot that the dialogue has not mentioned (section 3.5)."""


class StateBatch(NamedTuple):
    """Gold belief states."""

    values: Tensor  # int [B, n, V]
    labelled: Tensor  # bool [B, n]


INPUTS = Inputs(ContextBatch, ProductBatch, StateBatch)


class SlotReader(Reader):
    """Reads states as the settings of ``state`` say; see :class:`Reader`."""

    config: TeacherStudentConfig

    def slot_keys(self) -> TokenArray:
        """Word pieces [n, L] of the slots' names."""
        return self.words.encode([slot_text(slot) for slot in self.slots], 8)

    def value_pieces(self, states: Sequence[BeliefState | None]) -> npt.NDArray[Any]:
        """Word pieces of each slot's value [B, n, V]."""
        V, sentiment = self.config.state.value_tokens, self.config.state.sentiment
        none = NO_VALUE if self.config.state.none == "token" else ""  # a row of padding
        by_slot = [_by_slot(state or (), self.slots) for state in states]
        texts = [[value_text(found[slot], sentiment=sentiment, none=none) for slot in self.slots] for found in by_slot]
        distinct = sorted({text for row in texts for text in row})
        pieces = self.words.encode(distinct, V)
        padded = np.full((len(distinct), V), PAD, dtype=np.int64)
        padded[:, : pieces.shape[1]] = pieces
        row_of = {text: row for row, text in enumerate(distinct)}
        rows = np.array([[row_of[text] for text in row] for row in texts], dtype=np.int64)
        return padded[rows.reshape(len(states), len(self.slots))]

    def labelled(self, states: Sequence[BeliefState | None]) -> npt.NDArray[Any]:
        """Which slots are labelled [B, n]: all of a state's."""
        found = np.array([state is not None for state in states], dtype=np.bool_)
        return np.repeat(found[:, None], len(self.slots), axis=1)

    state_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[BeliefState | None]], npt.NDArray[Any]]]] = {
        "values": value_pieces,
        "labelled": labelled,
    }


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
