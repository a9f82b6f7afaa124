"""A network as training begins with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from semantic_model.config.config import Config
from semantic_model.data.batch import Reader
from semantic_model.data.image_features import NO_IMAGE
from semantic_model.data.records import Product
from semantic_model.data.tokenizer import Vocabulary
from semantic_model.data.vision import FineTuned
from semantic_model.layers.word_vectors import FromWords
from semantic_model.ranking.model_spec import ModelSpec, Sizes
from semantic_model.semantic.encoders import ImageEncoder

__all__ = ["fresh_model", "word_width"]


def word_width(config: Config, words: Vocabulary) -> int:
    """Width of the word vectors: of those that came along, else the model's."""
    return config.model.width if words.vectors is None else words.vectors.shape[1]


def fresh_model(spec: ModelSpec, config: Config, words: Vocabulary, reader: Reader, products: Sequence[Product]) -> Any:
    """A network with its pre-trained parts taken over, features of mean zero and spread one.

    Args:
        products: the catalogue, whose images' features are taken as the measure.

    Raises:
        MissingPartError: weights that are not here; lists the ways out.
        ModelError: weights that do not fit.
    """
    model = spec.build(config, Sizes(words.size, word_width(config, words), reader.features.width, reader))
    for part in list(model.modules()):
        if isinstance(part, FromWords):
            part.start_from(words)
        if isinstance(part, FineTuned) and reader.features.rows:  # without any image, no weights are needed
            part.start()
        if isinstance(part, ImageEncoder) and config.image.standardize:
            rows = reader.image_rows(products)
            part.standardize(torch.from_numpy(reader.features.gather(rows[rows != NO_IMAGE])))
    return model
