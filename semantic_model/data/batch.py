"""Model inputs: what is read of a dialogue, a product and a belief state, as tensors.

A model declares named tuples of the fields that it reads (:class:`Inputs`), and its batches hold just these: a field's
name says how it is read (:class:`Reader`). Contexts are read once, a :class:`Column` a field; a batch is one gather.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.belief import BeliefState
from schemas.errors import ModelError
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress
from semantic_model.config.config import Config
from semantic_model.data.corpus import product_text
from semantic_model.data.image_features import NO_IMAGE, Features
from semantic_model.data.records import Product, Query, Utterance
from semantic_model.data.tokenizer import PAD, TokenArray, Vocabulary

SPEAKERS = ("none", "user", "system")
"""Who says an utterance, by number; 0 where there is none."""

Rows = npt.NDArray[np.int64] | slice


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


class Inputs(NamedTuple):
    """What a model reads: named tuples whose fields its :class:`Reader` knows."""

    contexts: type[Any] = ContextBatch  # of dialogues
    products: type[Any] = ProductBatch  # of products
    states: type[Any] | None = None  # of gold states; None: the model reads none


@dataclass(frozen=True)
class Column:
    """One field of many contexts, a row each, kept small; :meth:`batch` makes the tensor of some of them."""

    values: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, part: slice) -> Self:
        """Some of them."""
        return replace(self, values=self.values[part])

    def batch(self, rows: Rows, device: torch.device) -> Tensor:
        """The contexts ``rows``."""
        return to_device(self.values[rows], device)


class TokenColumn(Column):
    """Word pieces [Q, T, L]; a batch's L is that of its longest utterance."""

    def batch(self, rows: Rows, device: torch.device) -> Tensor:
        tokens = self.values[rows]
        length = max(int((tokens != PAD).any(axis=(0, 1)).sum()), 1)
        return to_device(tokens[:, :, :length], device)


@dataclass(frozen=True)
class ImageColumn(Column):
    """Rows of the features [Q, T, M], which a batch holds the images of."""

    features: Features

    def batch(self, rows: Rows, device: torch.device) -> Tensor:
        return to_device(self.features.gather(self.values[rows]), device)


@dataclass(frozen=True)
class ContextArrays:
    """Many contexts: a column for each field of the batches that are made of them."""

    kind: type[Any]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, part: slice) -> ContextArrays:
        """Some of them."""
        return replace(self, columns={name: column.take(part) for name, column in self.columns.items()})

    def batch(self, rows: Rows, device: torch.device) -> Any:
        """The contexts ``rows``."""
        return self.kind(**{name: column.batch(rows, device) for name, column in self.columns.items()})


def to_device(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor; a GPU fetches it while it computes."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class Histories:
    """What was said before each of some queries; of it, the last T utterances are read, left-padded (section 4.2)."""

    dialogues: Sequence[str]  # the dialogue of each
    histories: Sequence[Sequence[Utterance]]
    config: Config
    features: Features

    @cached_property
    def windows(self) -> Sequence[Sequence[Utterance]]:
        """The last T utterances of each."""
        return [history[-self.config.context.window :] for history in self.histories]

    def array(self, *shape: int, fill: int, dtype: Any = np.int64) -> npt.NDArray[Any]:
        """For all of them, [Q, T, ..]."""
        return np.full((len(self.histories), self.config.context.window, *shape), fill, dtype=dtype)

    @cached_property
    def utterances(self) -> list[tuple[int, int, Utterance]]:
        """Context, turn and utterance of all that is read."""
        T = self.config.context.window
        return [(q, t, said) for q, window in enumerate(self.windows) for t, said in enumerate(window, T - len(window))]

    @cached_property
    def image_rows(self) -> npt.NDArray[np.int64]:
        """The images that turns show, as rows of the features [Q, T, M]."""
        M = self.config.image.max_per_turn
        found = self.array(M, fill=NO_IMAGE)
        for q, t, utterance in self.utterances:
            rows = [row for row in map(self.features.row, utterance.image_ids) if row != NO_IMAGE][:M]
            found[q, t, : len(rows)] = rows
        return found


class Reader:
    """Reads queries, products and states as the settings say; a model with fields of its own has a subclass of it.

    Args:
        config: windows, lengths, what is left out.
        words: the tokenizer.
        features: the images.
        ontology: the state's slots.
        inputs: what is read.
        fitted: what the model learned from the corpus beside its weights, if it does.

    Attributes:
        slots: names of the state's n slots, in order.
        progress: shown what takes long; nobody, unless somebody is named.

    Raises:
        ModelError: a field that nothing is known of.
    """

    def __init__(
        self,
        config: Config,
        words: Vocabulary,
        features: Features,
        ontology: Ontology,
        inputs: Inputs,
        fitted: Any = None,
    ) -> None:
        self.config = config
        self.words = words
        self.features = features
        self.ontology = ontology
        self.inputs = inputs
        self.fitted = fitted
        self.slots = tuple(slot.name for slot in ontology.slots)
        self.progress: Progress = SilentProgress()
        for kind, known in (
            (inputs.contexts, self.context_fields),
            (inputs.products, self.product_fields),
            (inputs.states, self.state_fields),
        ):
            for name in getattr(kind, "_fields", ()):
                if name not in known:
                    fix = f"fields: {', '.join(known)}"
                    raise ModelError(f"a model reads '{name}', which {type(self).__name__} does not know", fix=fix)

    def contexts(self, queries: Sequence[Query]) -> ContextArrays:
        """What was said before queries, with or without the user's last utterance."""
        ends = slice(None) if self.config.context.include_current else slice(-1)
        dialogues = [query.dialogue_id for query in queries]
        histories = Histories(dialogues, [query.history[ends] for query in queries], self.config, self.features)
        kind = self.inputs.contexts
        return ContextArrays(kind, {name: self.context_fields[name](self, histories) for name in kind._fields})

    def products(self, products: Sequence[Product]) -> Any:
        """Products as the model's batch of them."""
        kind = self.inputs.products
        return kind(*(torch.from_numpy(self.product_fields[name](self, products)) for name in kind._fields))

    def states(self, states: Sequence[BeliefState | None]) -> Any:
        """Gold states as the model's batch of them; every slot of None is unlabelled. None if it reads none."""
        kind = self.inputs.states
        if kind is None:
            return None
        return kind(*(torch.from_numpy(self.state_fields[name](self, states)) for name in kind._fields))

    def save(self, folder: Path) -> None:
        """Write the word pieces, and what the model learned beside its weights."""
        self.words.save(folder / "tokenizer.json")
        if self.fitted is not None:
            self.fitted.save(folder)

    def tokens(self, histories: Histories) -> TokenColumn:
        """Word pieces of utterances."""
        L, spoken = self.config.text.max_tokens, histories.utterances
        found = histories.array(L, fill=PAD)
        distinct = sorted({utterance.text for _, _, utterance in spoken})
        pieces = self.words.encode(distinct, L)
        row_of = {text: row for row, text in enumerate(distinct)}
        for q, t, utterance in spoken:
            found[q, t, : pieces.shape[1]] = pieces[row_of[utterance.text]]
        return TokenColumn(found)

    def speakers(self, histories: Histories) -> Column:
        """Who says each utterance [Q, T], as in :data:`SPEAKERS`."""
        found = histories.array(fill=0)
        for q, t, utterance in histories.utterances:
            found[q, t] = SPEAKERS.index("user" if utterance.speaker == "user" else "system")
        return Column(found)

    def product_texts(self, products: Sequence[Product]) -> list[str]:
        """Names with attributes, those that the settings let through."""
        reads = self.config.text.reads
        return [
            product_text(item.name, {key: values for key, values in item.attributes.items() if reads(key)})
            for item in products
        ]

    def product_tokens(self, products: Sequence[Product]) -> TokenArray:
        """Word pieces of names with attributes [N, L]."""
        return self.words.encode(self.product_texts(products), self.config.text.product_max_tokens)

    def image_rows(self, products: Sequence[Product]) -> npt.NDArray[np.int64]:
        """First images of products, as rows of the features [N]."""
        rows = [NO_IMAGE if item.image_id is None else self.features.row(item.image_id) for item in products]
        return np.array(rows, dtype=np.int64)

    context_fields: ClassVar[Mapping[str, Callable[[Any, Histories], Column]]] = {
        "tokens": tokens,
        "speakers": speakers,
        "images": lambda reader, histories: ImageColumn(histories.image_rows, reader.features),
        "image_mask": lambda _, histories: Column(histories.image_rows != NO_IMAGE),
        "turn_mask": lambda reader, histories: Column(reader.speakers(histories).values > 0),
    }
    product_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[Product]], npt.NDArray[Any]]]] = {
        "tokens": product_tokens,
        "image": lambda reader, products: reader.features.gather(reader.image_rows(products)),
        "image_mask": lambda reader, products: reader.image_rows(products) != NO_IMAGE,
        "image_row": image_rows,
    }
    state_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[BeliefState | None]], npt.NDArray[Any]]]] = {}
