"""What grounded models read beside words and images: values mentioned, values products have, products shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.belief import BeliefState
from semantic_model.data.batch import Column, ContextBatch, Histories, Inputs, ProductBatch, Rows, to_device
from semantic_model.data.image_features import NO_IMAGE
from semantic_model.data.records import Product, Utterance
from semantic_model.grounded.settings import Settings
from semantic_model.grounded.tracking import CrossFittedTracker, Read
from semantic_model.grounded.values import Mention, SlotValues, Wishes
from semantic_model.semantic.reading import SlotReader, StateBatch

EVIDENCE = ("last", "before_last", "ever", "negated_last", "negated_ever", "system_last", "system_ever")
"""How a value was mentioned, one number in 0 ... 1 each: in the user's last turn, the one before, or ever (fading by
0.7 a turn), with a negation or without; and by the system."""

TRACKED = ("tracked", "tracked_against")
"""What the state tracker believes of a value, in 0 ... 1: that it is wanted, that it is to be avoided."""

_FADING = 0.7
_SHOWN = 16  # images shown last that are remembered
_KNOWN = Wishes._fields.index("known")


class GroundedBatch(NamedTuple):
    """:class:`ContextBatch`, and what else is known of the contexts."""

    tokens: Tensor
    images: Tensor
    image_mask: Tensor
    turn_mask: Tensor
    evidence: Tensor  # float [B, V, E]
    held: Tensor  # int [B, V], the tracker's states: 1 wanted, -1 to be avoided
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


INPUTS = Inputs(GroundedBatch, GroundedProducts, GroundedStates)


@dataclass(frozen=True)
class EvidenceColumn(Column):
    """Mentions of contexts, kept as a list for each of them, as few of the V values are mentioned.

    Attributes:
        values: where each context's mentions begin, and where they end [Q, 2].
        columns: of the ontology's values mentioned [sum].
        strengths: how, in the order of :data:`EVIDENCE`, then of :data:`TRACKED` where that is read [sum, E].
        width: V.
    """

    columns: npt.NDArray[np.int64]
    strengths: npt.NDArray[np.float32]
    width: int

    def batch(self, rows: Rows, device: torch.device) -> Tensor:
        """Evidence [B, V, E]."""
        chosen = self.values[rows]
        found = np.zeros((len(chosen), self.width, self.strengths.shape[1]), dtype=np.float32)
        for b, (start, end) in enumerate(chosen.tolist()):
            found[b, self.columns[start:end]] = self.strengths[start:end]
        return to_device(found, device)


class GroundedReader(SlotReader):
    """Reads mentions, attributes and shown products as well; see :class:`Reader`.

    Mentions and shown images are those of the whole dialogue before a query.

    Attributes:
        values: the ontology's.
    """

    config: Settings
    fitted: CrossFittedTracker

    @cached_property
    def values(self) -> SlotValues:
        return SlotValues(self.ontology)

    def evidence(self, histories: Histories) -> EvidenceColumn:
        """Which values are mentioned, and how; and what the tracker believes."""
        mentioned: dict[str, list[Mention]] = {}
        ends, columns, strengths = [0], list[int](), list[list[float]]()
        kinds = len(EVIDENCE) + len(TRACKED) * self.config.grounding.tracker
        for history, (_, beliefs) in zip(histories.histories, self._tracked(histories), strict=True):
            for utterance in history:
                if utterance.text not in mentioned:
                    mentioned[utterance.text] = self.values.mentions(utterance.text)
            found = _evidence(history, mentioned, kinds)
            for (slot, value, polarity), probability in beliefs.items():
                column = self.values.column(slot, value)
                if column is not None:
                    at = len(EVIDENCE) + (polarity == "dislike")
                    told = found.setdefault(column, [0.0] * kinds)
                    told[at] = max(told[at], probability)
            columns.extend(found)
            strengths.extend(found.values())
            ends.append(len(columns))
        return EvidenceColumn(
            np.array([ends[:-1], ends[1:]], dtype=np.int64).T,
            np.array(columns, dtype=np.int64),
            np.array(strengths, dtype=np.float32).reshape(len(columns), kinds),
            len(self.values),
        )

    def held(self, histories: Histories) -> Column:
        """The states that the tracker reads [Q, V]: 1 for a value that is wanted, -1 for one to be avoided."""
        found = np.zeros((len(histories.histories), len(self.values)), dtype=np.int8)
        for row, (state, _) in zip(found, self._tracked(histories), strict=True):
            like, dislike, _ = self.values.of_state(state)
            row[dislike], row[like] = -1, 1
        return Column(found)

    def _tracked(self, histories: Histories) -> Sequence[Read]:
        """What the tracker makes of them, if there is one; kept, as two fields are made of it."""
        if not self.config.grounding.tracks:
            return [Read()] * len(histories.histories)
        if self._last is None or self._last[0] is not histories:
            self._last = histories, self.fitted.read(histories.dialogues, histories.histories, self.progress)
        return self._last[1]

    _last: tuple[Histories, Sequence[Read]] | None = None

    def shown(self, histories: Histories, *, last: bool = False) -> Column:
        """Rows of the images shown [Q, R], latest turn first; or whether they are of the last turn with any."""
        found = np.full((len(histories.histories), _SHOWN), False if last else NO_IMAGE)
        for q, history in enumerate(histories.histories):
            of_last = self._shown(history)
            kept = list(of_last.values() if last else of_last)[:_SHOWN]
            found[q, : len(kept)] = kept
        return Column(found)

    def attributes(self, products: Sequence[Product]) -> npt.NDArray[Any]:
        """Which values products have [N, V]."""
        found = np.zeros((len(products), len(self.values)), dtype=np.bool_)
        for row, item in enumerate(products):
            found[row] = self.values.of_attributes(item.attributes)
        return found

    def wishes(self, states: Sequence[BeliefState | None], part: int) -> npt.NDArray[Any]:
        """A part of :class:`Wishes`, of each state [B, V] or [B, n]."""
        width = len(self.slots) if part == _KNOWN else len(self.values)
        found = [self.values.of_state(state or ())[part] for state in states]
        return np.array(found, dtype=np.bool_).reshape(len(states), width)

    def value_tokens(self) -> Tensor:
        """Word pieces of the values [V, L]."""
        return torch.from_numpy(self.words.encode(list(self.values.texts()), self.config.state.value_tokens))

    def _shown(self, history: Sequence[Utterance]) -> dict[int, bool]:
        """Rows of the distinct images shown, latest turn first -> whether they are of the last turn with any."""
        last: dict[int, bool] = {}
        latest = True
        for utterance in reversed(history):
            rows = [row for row in map(self.features.row, utterance.image_ids) if row != NO_IMAGE]
            for row in rows:
                last.setdefault(row, latest)
            latest = latest and not rows
        return last

    context_fields: ClassVar[Mapping[str, Callable[[Any, Histories], Column]]] = {
        **SlotReader.context_fields,
        "evidence": evidence,
        "held": held,
        "shown": shown,
        "shown_last": lambda reader, histories: reader.shown(histories, last=True),
    }
    product_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[Product]], npt.NDArray[Any]]]] = {
        **SlotReader.product_fields,
        "attributes": attributes,
    }
    state_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[BeliefState | None]], npt.NDArray[Any]]]] = {
        **SlotReader.state_fields,
        "like": lambda reader, states: reader.wishes(states, 0),
        "dislike": lambda reader, states: reader.wishes(states, 1),
        "known": lambda reader, states: reader.labelled(states) & reader.wishes(states, _KNOWN),
    }


def _evidence(history: Sequence[Utterance], mentioned: dict[str, list[Mention]], kinds: int) -> dict[int, list[float]]:
    """Column -> strengths in the order of :data:`EVIDENCE`, then zeros up to so many kinds."""
    found: dict[int, list[float]] = {}
    age = {"user": 0, "system": 0}
    for utterance in reversed(history):
        speaker = "user" if utterance.speaker == "user" else "system"
        faded = _FADING ** age[speaker]
        for column, negated in mentioned[utterance.text]:
            strengths = found.setdefault(column, [0.0] * kinds)
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
