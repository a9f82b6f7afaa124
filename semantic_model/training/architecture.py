"""What can be trained: each architecture's network, its objective and its ranker, for one loop and one file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from schemas.errors import ModelError, UsageError
from schemas.ontology import Ontology
from semantic_model.config.config import Config
from semantic_model.data.batch import ContextArrays, ContextBatch, Reader, StateBatch
from semantic_model.data.image_features import Features
from semantic_model.data.ranker import Ranker
from semantic_model.data.tokenizer import Vocabulary
from semantic_model.data.vision import FineTuned
from semantic_model.grounded.model import GroundedSemantic
from semantic_model.grounded.objective import grounded_objective
from semantic_model.grounded.ranker import GroundedRanker
from semantic_model.grounded.reading import GroundedReader
from semantic_model.grounded.values import SlotValues
from semantic_model.layers.word_vectors import FromWords
from semantic_model.models.dual_encoder import DualEncoder, DualEncoderRanker, dual_encoder_objective
from semantic_model.semantic.encoders import ImageEncoder
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.objective import Choices, Objective, labelled_objective, unlabelled_objective
from semantic_model.semantic.scoring import SemanticRanker

__all__ = ["ARCHITECTURES", "Architecture", "ArrayRanker", "Sizes", "find_architecture", "fresh_model", "refuse_idle"]


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


class ArrayRanker(Ranker, Protocol):
    """A ranker that also takes contexts read already, as the validation of every epoch does."""

    def encode_arrays(self, arrays: ContextArrays) -> Any:
        """As :meth:`Ranker.encode_contexts`."""


def _read_words(config: Config, words: Vocabulary, features: Features, ontology: Ontology) -> Reader:
    return Reader(config, words, features, [slot.name for slot in ontology.slots])


def _read_values(config: Config, words: Vocabulary, features: Features, ontology: Ontology) -> GroundedReader:
    return GroundedReader(config, words, features, SlotValues(ontology))


@dataclass(frozen=True)
class Architecture:
    """One kind of model. Its network has ``words``, ``encode_products(ProductBatch)`` and ``log_scale``.

    Attributes:
        name: as in ``semctl train --model`` and ``model/config.json``.
        reads_states: whether D_F is of use to it; else it trains on D_P alone, which holds every training dialogue.
        build: makes the network.
        objective: (network, contexts, gold states or None on D_P, encoded products, candidates, teacher alone).
        ranker: makes its ranker.
        reader: makes what reads its inputs.
        preset: settings to begin with when none are named; None: the workspace's.
        idle: sections and keys of the settings that it does not look at.
    """

    name: str
    reads_states: bool
    build: Callable[[Config, Sizes], Any]
    objective: Callable[[Any, Any, Any, Any, Choices, bool], Objective]
    ranker: Callable[[Any, Any], Any]
    reader: Callable[[Config, Vocabulary, Features, Ontology], Any] = _read_words
    preset: str | None = None
    idle: tuple[str, ...] = ()


def _build_semantic(config: Config, sizes: Sizes) -> Semantic:
    return Semantic(
        config,
        vocabulary=sizes.vocabulary,
        word_width=sizes.word_width,
        feature_width=sizes.feature_width,
        slot_keys=sizes.reader.slot_keys(),
    )


def _build_grounded(config: Config, sizes: Sizes) -> GroundedSemantic:
    reader = sizes.reader
    assert isinstance(reader, GroundedReader)
    return GroundedSemantic(
        config,
        reader.values,
        reader.value_tokens(),
        vocabulary=sizes.vocabulary,
        word_width=sizes.word_width,
        feature_width=sizes.feature_width,
        slot_keys=sizes.reader.slot_keys(),
    )


def _semantic_objective(
    model: Semantic, batch: ContextBatch, states: StateBatch | None, products: Any, choices: Choices, teacher_only: bool
) -> Objective:
    if states is None:
        return unlabelled_objective(model, batch, products, choices)
    return labelled_objective(model, batch, states, products, choices, teacher_only=teacher_only)


def _build_dual_encoder(config: Config, sizes: Sizes) -> DualEncoder:
    return DualEncoder(
        config, vocabulary=sizes.vocabulary, word_width=sizes.word_width, feature_width=sizes.feature_width
    )


def _dual_encoder_objective(
    model: DualEncoder,
    batch: ContextBatch,
    states: StateBatch | None,
    products: Any,
    choices: Choices,
    teacher_only: bool,
) -> Objective:
    del states, teacher_only
    return dual_encoder_objective(model, batch, products, choices)


_OF_BELIEFS = ("loss.belief_weight",)

ARCHITECTURES = {
    found.name: found
    for found in (
        Architecture(
            "semantic", True, _build_semantic, _semantic_objective, SemanticRanker, idle=("grounding", *_OF_BELIEFS)
        ),
        Architecture(
            "grounded",
            True,
            _build_grounded,
            grounded_objective,
            GroundedRanker,
            reader=_read_values,
            idle=("loss.margin",),
        ),
        Architecture(
            "dual-encoder",
            False,
            _build_dual_encoder,
            _dual_encoder_objective,
            DualEncoderRanker,
            preset="dual-encoder",
            idle=(
                *("model.kind", "grounding", *_OF_BELIEFS, "state", "student", "dsi", "score"),
                *("text.share_encoder", "image.share_encoder"),
                *("context.attend_imageless", "loss.alpha", "loss.margin", "loss.rank_weight", "loss.js_weight"),
                *("loss.student_on_labelled", "train.when_all_labelled", "train.warmup_over"),
                *("loss.co_sim_weight", "loss.mse_weight", "loss.divergence", "loss.co_sim_reduce"),
                *("loss.detach_teacher", "loss.student_on_labelled", "train.teacher_warmup_epochs", "train.schedule"),
                *("train.warmup_over", "train.clip_on", "train.when_all_labelled"),
            ),
        ),
    )
}


def find_architecture(name: str, *, where: object | None = None) -> Architecture:
    """The architecture of that name.

    Raises:
        ModelError: there is none.
    """
    if name not in ARCHITECTURES:
        raise ModelError(
            f"an unknown kind of model, '{name}'", where=where, fix=f"this semctl has {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]


def refuse_idle(kind: Architecture, config: Config) -> None:
    """Refuse settings that this architecture would not look at: they would promise what they do not do.

    Raises:
        UsageError: names the first one that is not at its default.
    """
    plain = Config()
    for section, table in config:
        for name, value in table:
            key = f"{section}.{name}"
            if (section in kind.idle or key in kind.idle) and value != getattr(getattr(plain, section), name):
                fix = f"leave it out, and begin with --preset {kind.preset}" if kind.preset else "leave it out"
                raise UsageError(f"the setting '{key}' does nothing in a model of kind {kind.name}", fix=fix)
    if kind.name == "dual-encoder" and config.loss.rank != "softmax":
        raise UsageError(f"loss.rank = '{config.loss.rank}' is not for a dual-encoder", fix="set loss.rank=softmax")


def fresh_model(kind: Architecture, config: Config, words: Vocabulary, reader: Reader, imaged: torch.Tensor) -> Any:
    """A network as training begins with it: pre-trained parts taken over, features of mean zero and spread one.

    Args:
        imaged: features of the catalogue's images [n, F].

    Raises:
        MissingPartError: weights that are not here; lists the ways out.
        ModelError: weights that do not fit.
    """
    width = config.model.width if words.vectors is None else words.vectors.shape[1]
    features: Features = reader.features
    model = kind.build(config, Sizes(words.size, width, features.width, reader))
    for part in list(model.modules()):
        if isinstance(part, FromWords):
            part.start_from(words)
        if isinstance(part, FineTuned) and reader.features.rows:  # without any image, no weights are needed
            part.start()
        if isinstance(part, ImageEncoder) and config.image.standardize:
            part.standardize(imaged)
    return model
