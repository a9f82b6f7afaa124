"""What grounded models read beside words and images: values mentioned, values products have, products shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.belief import BeliefState
from semantic_model.config.config import Config
from semantic_model.data.batch import ContextArrays, ContextBatch, ProductBatch, Reader, StateBatch, to_device
from semantic_model.data.image_features import NO_IMAGE, Features
from semantic_model.data.records import Product, Query, Utterance
from semantic_model.data.tokenizer import Vocabulary
from semantic_model.grounded.values import Mention, SlotValues

__all__ = ["EVIDENCE", "GroundedArrays", "GroundedBatch", "GroundedProducts", "GroundedReader", "GroundedStates"]

EVIDENCE = ("last", "before_last", "ever", "negated_last", "negated_ever", "system_last", "system_ever")
"""How a value was mentioned, one number in 0 ... 1 each: in the user's last turn, the one before, or ever (fading by
0.7 a turn), with a negation or without; and by the system."""

_FADING = 0.7
_SHOWN = 16  # images shown last that are remembered


class GroundedBatch(NamedTuple):
    """:class:`ContextBatch`, and what else is known of the contexts."""

    tokens: Tensor
    images: Tensor
    image_mask: Tensor
    turn_mask: Tensor
    evidence: Tensor  # float [B, V, E]
    shown: Tensor  # int [B, R], rows of images in the dialogue, latest turn first; NO_IMAGE where there is none
    shown_last: Tensor  # bool [B, R], those of the last turn with images

    @property
    def plain(self) -> ContextBatch:
        """What the paper's encoders read."""
        return ContextBatch(*self[:4])


class GroundedProducts(NamedTuple):
    """:class:`ProductBatch`, and what else is known of the products."""

    tokens: Tensor
    image: Tensor
    image_mask: Tensor
    attributes: Tensor  # bool [N, V], the values that a product has
    image_row: Tensor  # int [N], row of its image

    @property
    def plain(self) -> ProductBatch:
        """What the paper's encoders read."""
        return ProductBatch(*self[:3])


class GroundedStates(NamedTuple):
    """:class:`StateBatch`, and the gold values as columns."""

    values: Tensor
    labelled: Tensor
    like: Tensor  # bool [B, V]
    dislike: Tensor  # bool [B, V]
    known: Tensor  # bool [B, n], labelled, and every value is a column

    @property
    def plain(self) -> StateBatch:
        """What the paper's teacher reads."""
        return StateBatch(*self[:2])


@dataclass(frozen=True)
class GroundedArrays(ContextArrays):
    """Many contexts; mentions are kept as a list for each context, as few of the V values are mentioned.

    Attributes:
        starts: where each context's mentions begin [Q + 1].
        columns: of the values mentioned [sum].
        strengths: how, in the order of :data:`EVIDENCE` [sum, E].
        shown: [Q, R].
        shown_last: [Q, R].
        width: V.
    """

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    strengths: npt.NDArray[np.float32]
    shown: npt.NDArray[np.int64]
    shown_last: npt.NDArray[np.bool_]
    width: int

    def take(self, part: slice) -> GroundedArrays:
        """Some of them."""
        rows = range(*part.indices(len(self)))
        starts = self.starts[rows.start : max(rows.stop, rows.start) + 1]
        inside = slice(int(starts[0]), int(starts[-1]))
        return GroundedArrays(
            self.tokens[part],
            self.image_rows[part],
            self.turn_mask[part],
            starts - starts[0],
            self.columns[inside],
            self.strengths[inside],
            self.shown[part],
            self.shown_last[part],
            self.width,
        )

    def batch(self, rows: npt.NDArray[np.int64] | slice, features: Features, device: torch.device) -> GroundedBatch:  # type: ignore[override]
        """The contexts ``rows``."""
        chosen = np.arange(len(self))[rows]
        evidence = np.zeros((len(chosen), self.width, len(EVIDENCE)), dtype=np.float32)
        for b, row in enumerate(chosen):
            inside = slice(int(self.starts[row]), int(self.starts[row + 1]))
            evidence[b, self.columns[inside]] = self.strengths[inside]
        return GroundedBatch(
            *super().batch(rows, features, device),
            to_device(evidence, device),
            to_device(self.shown[rows], device),
            to_device(self.shown_last[rows], device),
        )


class GroundedReader(Reader):
    """Reads mentions, attributes and shown products as well; see :class:`Reader`.

    Args:
        values: the ontology's.
    """

    def __init__(self, config: Config, words: Vocabulary, features: Features, values: SlotValues) -> None:
        super().__init__(config, words, features, [slot.name for slot in values.slots])
        self.values = values

    def contexts(self, queries: Sequence[Query]) -> GroundedArrays:
        """As :meth:`Reader.contexts`; mentions and shown images are those of the whole dialogue before a query.

        With ``context.include_current = false``, of what was before the user's last utterance.
        """
        plain = super().contexts(queries)
        mentioned: dict[str, list[Mention]] = {}
        starts, columns = [0], list[int]()
        strengths: list[list[float]] = []
        shown = np.full((len(queries), _SHOWN), NO_IMAGE, dtype=np.int64)
        shown_last = np.zeros((len(queries), _SHOWN), dtype=np.bool_)
        ends = slice(None) if self.config.context.include_current else slice(-1)
        for q, query in enumerate(queries):
            history = query.history[ends]
            for utterance in history:
                if utterance.text not in mentioned:
                    mentioned[utterance.text] = self.values.mentions(utterance.text)
            evidence = _evidence(history, mentioned)
            columns.extend(evidence)
            strengths.extend(evidence.values())
            starts.append(len(columns))
            rows, last = self._shown(history)
            shown[q, : len(rows)], shown_last[q, : len(rows)] = rows, last
        return GroundedArrays(
            plain.tokens,
            plain.image_rows,
            plain.turn_mask,
            np.array(starts, dtype=np.int64),
            np.array(columns, dtype=np.int64),
            np.array(strengths, dtype=np.float32).reshape(len(columns), len(EVIDENCE)),
            shown,
            shown_last,
            len(self.values),
        )

    def products(self, products: Sequence[Product]) -> GroundedProducts:  # type: ignore[override]
        """As :meth:`Reader.products`."""
        rows = [NO_IMAGE if item.image_id is None else self.features.row(item.image_id) for item in products]
        attributes = np.zeros((len(products), len(self.values)), dtype=np.bool_)
        for row, item in enumerate(products):
            attributes[row] = self.values.of_attributes(item.attributes)
        return GroundedProducts(
            *super().products(products), torch.from_numpy(attributes), torch.tensor(rows, dtype=torch.int64)
        )

    def states(self, states: Sequence[BeliefState | None]) -> GroundedStates:  # type: ignore[override]
        """As :meth:`Reader.states`."""
        plain = super().states(states)
        like, dislike = (np.zeros((len(states), len(self.values)), dtype=np.bool_) for _ in range(2))
        known = np.ones((len(states), len(self.slots)), dtype=np.bool_)
        for row, state in enumerate(states):
            like[row], dislike[row], known[row] = self.values.of_state(state or ())
        return GroundedStates(
            *plain, torch.from_numpy(like), torch.from_numpy(dislike), plain.labelled & torch.from_numpy(known)
        )

    def value_tokens(self) -> Tensor:
        """Word pieces of the values [V, L]."""
        return torch.from_numpy(self.words.encode(list(self.values.texts()), self.config.state.value_tokens))

    def _shown(self, history: Sequence[Utterance]) -> tuple[list[int], list[bool]]:
        """Rows of the distinct images shown, latest turn first, and whether they are of the last turn with any."""
        last: dict[int, bool] = {}
        latest = True
        for utterance in reversed(history):
            rows = [row for row in map(self.features.row, utterance.image_ids) if row != NO_IMAGE]
            for row in rows:
                last.setdefault(row, latest)
            latest = latest and not rows
        return list(last)[:_SHOWN], list(last.values())[:_SHOWN]


def _evidence(history: Sequence[Utterance], mentioned: dict[str, list[Mention]]) -> dict[int, list[float]]:
    """Column -> strengths in the order of :data:`EVIDENCE`."""
    found: dict[int, list[float]] = {}
    age = {"user": 0, "system": 0}
    for utterance in reversed(history):
        speaker = "user" if utterance.speaker == "user" else "system"
        faded = _FADING ** age[speaker]
        for column, negated in mentioned[utterance.text]:
            strengths = found.setdefault(column, [0.0] * len(EVIDENCE))
            for kind, strength in _kinds(speaker, age[speaker], faded, negated=negated):
                at = EVIDENCE.index(kind)
                strengths[at] = max(strengths[at], strength)
        age[speaker] += 1
    return found


def _kinds(speaker: str, age: int, faded: float, *, negated: bool) -> list[tuple[str, float]]:
    if speaker == "system":
        return [("system_ever", faded)] + [("system_last", 1.0)] * (age == 0)
    if negated:
        return [("negated_ever", faded)] + [("negated_last", 1.0)] * (age == 0)
    return [("ever", faded)] + [("last", 1.0)] * (age == 0) + [("before_last", 1.0)] * (age == 1)
