"""What a model that trains says of itself, and where to find it by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from schemas.errors import ModelError, UsageError
from schemas.ontology import Ontology
from semantic_model.config.config import Config, flat_settings
from semantic_model.data.batch import Reader
from semantic_model.data.image_features import Features
from semantic_model.data.rows import Rows
from semantic_model.data.tokenizer import Vocabulary
from semantic_model.registry import MODELS

__all__ = ["Choices", "ModelSpec", "Objective", "Sizes", "StepBatch", "find_model", "no_rules", "read_slots"]

_OF_STATES = (
    *("train.when_all_labelled", "train.teacher_warmup_epochs", "train.schedule", "train.warmup_over"),
    "train.clip_on",
)
"""Settings of the training loop that tell D_F from D_P."""


class Sizes(NamedTuple):
    """What a network's shape depends on beside its settings.

    Attributes:
        vocabulary: how many word pieces there are.
        word_width: width of their vectors.
        feature_width: F, numbers an image.
        reader: what reads its inputs; knows the slots, and the values where they count.
    """

    vocabulary: int
    word_width: int
    feature_width: int
    reader: Reader


class Choices(NamedTuple):
    """The candidates of a batch, as rows of its encoded products.

    Attributes:
        positives: [B, P], -1 for padding.
        negatives: [B, N], -1 for padding.
        relevant: bool [B, products], every positive of a context; None unless the ranking loss looks at all of them.
    """

    positives: Tensor
    negatives: Tensor
    relevant: Tensor | None = None

    def to(self, device: torch.device) -> Choices:
        """The same, where ``device`` can compute with it."""
        relevant = None if self.relevant is None else self.relevant.to(device)
        return Choices(self.positives.to(device), self.negatives.to(device), relevant)


class StepBatch(NamedTuple):
    """What a step trains on.

    Attributes:
        contexts: B contexts, as the model's reader makes them.
        states: their gold states; None on D_P.
        products: the encoded products that ``choices`` refers to.
        choices: the candidates.
        teacher_only: leave the student out (the release's first epoch).
    """

    contexts: Any
    states: Any
    products: Rows
    choices: Choices
    teacher_only: bool = False


class Objective(NamedTuple):
    """A weighted sum and what it is made of.

    Attributes:
        total: what is minimised.
        terms: term -> its value before weighting, as ``teacher_rank``.
    """

    total: Tensor
    terms: dict[str, Tensor]


def read_slots(config: Config, words: Vocabulary, features: Features, ontology: Ontology) -> Reader:
    """What reads the inputs of a model that knows of slots, and not of their values."""
    return Reader(config, words, features, [slot.name for slot in ontology.slots])


def no_rules(config: Config) -> None:
    """Settings that are good each for itself are good together."""
    del config


@dataclass(frozen=True)
class ModelSpec:
    """One kind of model: all that training, files and tables need to know.

    Attributes:
        name: as in :data:`semantic_model.registry.MODELS`.
        about: what it is, on the page that goes with a trained one.
        build: makes its :class:`semantic_model.ranking.network.Network`.
        objective: what is minimised.
        reads: sections of the settings that it looks at, and single keys of others; ``train`` is the loop's.
        but_for: keys of these sections that it does not look at.
        reads_states: whether D_F is of use to it; else it trains on D_P alone, which holds every training dialogue.
        rules: refuses settings that do not fit together.
        reader: makes what reads its inputs.
        preset: settings to begin with when none are named; None: the workspace's.
        shown_as: its name in tables; empty: ``name``.
    """

    name: str
    about: str
    build: Callable[[Config, Sizes], Any]
    objective: Callable[[Any, StepBatch], Objective]
    reads: tuple[str, ...]
    but_for: tuple[str, ...] = ()
    reads_states: bool = True
    rules: Callable[[Config], None] = no_rules
    reader: Callable[[Config, Vocabulary, Features, Ontology], Reader] = read_slots
    preset: str | None = None
    shown_as: str = ""

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.shown_as or self.name

    def check(self, config: Config) -> None:
        """Refuse settings that contradict each other, or that do nothing here: they would promise what they do not do.

        Raises:
            UsageError: says which.
        """
        reads = {"train", "model.kind", *self.reads}
        idle = {*self.but_for, *(() if self.reads_states else _OF_STATES)}
        plain = flat_settings(Config())
        for key, value in flat_settings(config).items():
            read = key not in idle and (key in reads or key.partition(".")[0] in reads)
            if not read and value != plain[key]:
                fix = f"leave it out, and begin with --preset {self.preset}" if self.preset else "leave it out"
                raise UsageError(f"the setting '{key}' does nothing in a model of kind {self.name}", fix=fix)
        self.rules(config)


def find_model(name: str, *, where: object | None = None) -> ModelSpec:
    """What the model of that name says of itself.

    Raises:
        ModelError: there is none.
    """
    if name not in MODELS:
        raise ModelError(f"an unknown kind of model, '{name}'", where=where, fix=f"this semctl has {', '.join(MODELS)}")
    found: ModelSpec = import_module(MODELS[name]).MODEL
    return found
