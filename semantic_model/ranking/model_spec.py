"""What a model that trains says of itself, and where to find it by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, Self

from torch import Tensor

from schemas.belief import BeliefState
from schemas.errors import ModelError
from schemas.ontology import Ontology
from semantic_model.config.config import Config
from semantic_model.data.batch import Inputs, Reader
from semantic_model.data.corpus import Corpus
from semantic_model.data.image_features import Features
from semantic_model.data.rows import Rows
from semantic_model.data.tokenizer import Vocabulary
from semantic_model.ranking.candidates import Choices
from semantic_model.registry import MODELS

NO_STATES = Inputs()

REIMPLEMENTED = "(re-implemented)"
"""After the name of a model of which no code of its authors is public."""


class Sizes(NamedTuple):
    """What a network's shape depends on beside its settings."""

    vocabulary: int  # how many word pieces there are
    word_width: int  # width of their vectors
    feature_width: int  # F, numbers an image
    reader: Reader  # what reads its inputs; knows the slots, and what the model has fitted
    map_shape: tuple[int, ...] = ()  # (channels, height, width) where an image is a map of features, flattened

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of an image's features."""
        return self.map_shape or (self.feature_width,)


class StepBatch(NamedTuple):
    """What a step trains on."""

    contexts: Any  # B contexts, as the model's inputs name them
    states: Any  # their gold states; None on D_P
    products: Rows  # the encoded products that ``choices`` refers to
    choices: Choices  # the candidates
    teacher_only: bool = False  # leave the student out (the release's first epoch)
    labelled_share: float = 1.0  # how many examples D_F has for one of D_P


class Objective(NamedTuple):
    """A weighted sum and what it is made of."""

    total: Tensor  # what is minimised
    terms: dict[str, Tensor]  # term -> its value before weighting, as ``teacher_rank``


class Sources(NamedTuple):
    """What a model may learn from beside its examples."""

    corpus: Corpus  # the catalogue and the training dialogues
    ontology: Ontology  # the state's slots and their values
    # dialogue -> user turn and state after it, in order, of those whose labels are used
    states: Mapping[str, Sequence[tuple[int, BeliefState]]] = MappingProxyType({})
    # dialogue -> user turn -> the slots that its state tells of, for turns of ``states`` that are labelled in part
    known_slots: Mapping[str, Mapping[int, frozenset[str]]] = MappingProxyType({})


class Fitted(Protocol):
    """What a model learns beside its weights, such as a vocabulary of its own, a taxonomy or a state tracker."""

    @classmethod
    def fit(cls, config: Any, sources: Sources) -> Self:
        """Learn it; the same from the same, as resuming does it again."""

    def save(self, folder: Path) -> None:
        """Write it beside the weights."""

    @classmethod
    def load(cls, folder: Path, sources: Sources) -> Self:
        """Read :meth:`save` back, to be used on this corpus, without labels; raises ModelError for files missing or
        damaged.
        """


def no_files(config: Config) -> Mapping[str, Path]:
    """Of a model that reads nothing beside the corpus."""
    del config
    return {}


def no_remark(config: Config) -> str:
    """Of a model of which nothing is to be remarked."""
    del config
    return ""


@dataclass(frozen=True)
class ModelSpec:
    """One kind of model: all that training, files and tables need to know. Its settings are ``Settings`` beside it."""

    name: str  # as in :data:`semantic_model.registry.MODELS`
    about: str  # what it is, on the page that goes with a trained one
    build: Callable[[Any, Sizes], Any]  # makes its :class:`semantic_model.ranking.ranker.Network`
    objective: Callable[[Any, StepBatch], Objective]  # what is minimised
    # what it reads; without states, D_F is of no use to it, and it trains on D_P alone, which holds every training
    # dialogue
    inputs: Inputs = NO_STATES
    reader: type[Reader] = Reader  # reads that
    fitted: type[Fitted] | None = None  # what it learns beside its weights; the reader has it as ``fitted``
    # files that it is fitted with beside the corpus, by name: a run is another one when they change. Called before a
    # run begins; raises InputError for one that cannot be used (:func:`semantic_model.data.knowledge.find_file`)
    files: Callable[[Any], Mapping[str, Path]] = no_files
    preset: str | None = None  # settings to begin with when none are named; None: the workspace's
    shown_as: str = ""  # its name in tables; empty: ``name``
    # built after what was published of it alone, as no code of its authors is public; every table says so
    reimplemented: bool = False
    # what tables and pages say of a model with such settings beside its name, if anything
    remark: Callable[[Any], str] = no_remark

    @property
    def title(self) -> str:
        """Its name in tables, whatever its settings."""
        return (self.shown_as or self.name) + f" {REIMPLEMENTED}" * self.reimplemented

    def with_remark(self, said: str, config: Config) -> str:
        """What is said of it (``title``, ``about``), and what there is to remark with these settings."""
        remark = self.remark(config)
        return f"{said} ({remark})" if remark else said

    @property
    def reads_states(self) -> bool:
        """Whether gold states are of use to it."""
        return self.inputs.states is not None

    def open_reader(
        self, config: Config, words: Vocabulary, features: Features, ontology: Ontology, fitted: Fitted | None
    ) -> Reader:
        """What reads its inputs."""
        return self.reader(config, words, features, ontology, self.inputs, fitted)


def find_model(name: str, *, where: object | None = None) -> ModelSpec:
    """What the model of that name says of itself.

    Raises:
        ModelError: there is none.
    """
    if name not in MODELS:
        raise ModelError(f"an unknown kind of model, '{name}'", where=where, fix=f"this semctl has {', '.join(MODELS)}")
    found: ModelSpec = import_module(MODELS[name]).MODEL
    return found
