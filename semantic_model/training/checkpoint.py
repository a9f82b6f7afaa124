"""Training states and trained models on disk: safetensors and JSON only, each file written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from schemas.errors import ModelError
from schemas.files import atomic_path, read_json, taken_apart, write_json
from schemas.ontology import Ontology
from semantic_model.config.config import Config, config_from
from semantic_model.data.batch import Reader
from semantic_model.data.corpus import Corpus
from semantic_model.data.image_features import Features
from semantic_model.data.tokenizer import read_words
from semantic_model.ranking.model_spec import Sizes, Sources, find_model

MODEL_FORMAT = 3
"""Version of ``model/config.json``; format 2 is read, too: its settings are those of all models at once."""

_ADAM = ("exp_avg", "exp_avg_sq", "step")


def save_weights(path: Path, module: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's parameters and buffers; tensors shared under several names are written once."""
    _save(path, _state(module), metadata or {})


def load_weights(path: Path, module: nn.Module) -> None:
    """Read :func:`save_weights` back.

    Raises:
        ModelError: missing, cut off, or of another model.
    """
    _load_into(module, _read(path)[0], path)


def save_checkpoint(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, progress: Mapping[str, Any]
) -> None:
    """Write all that training needs to resume: weights, optimiser, random states, and ``progress`` (plain JSON)."""
    tensors = {f"model.{name}": value for name, value in _state(module).items()}
    for name, parameter in module.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = value
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    _save(path, tensors, {"progress": json.dumps(progress)})  # figures keep their order


def load_checkpoint(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Read :func:`save_checkpoint` back into a module, its optimiser and the random states; returns ``progress``.

    Raises:
        ModelError: missing, cut off, or of another model.
    """
    tensors, metadata = _read(path)
    _load_into(module, {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}, path)
    for name, parameter in module.named_parameters():
        found = {key: tensors[f"optimiser.{key}.{name}"] for key in _ADAM if f"optimiser.{key}.{name}" in tensors}
        if found:
            moved = {key: value if key == "step" else value.to(parameter.device) for key, value in found.items()}
            optimiser.state[parameter] = moved
    with taken_apart(path, error=ModelError, what="not a checkpoint", fix="train again"):
        try:
            torch.set_rng_state(tensors["random.torch"])
            if "random.cuda" in tensors and torch.cuda.is_available():
                torch.cuda.set_rng_state(tensors["random.cuda"])
        except RuntimeError as problem:
            raise ValueError(str(problem)) from None
        progress: dict[str, Any] = json.loads(metadata["progress"])
    return progress


def steps_done(path: Path) -> int:
    """The steps of the run that a checkpoint holds; 0 where it cannot be read, as :func:`load_checkpoint` will say."""
    try:
        with safe_open(path, framework="numpy") as file:
            return int(json.loads(json.loads(file.metadata()[_ABOUT])["progress"])["global_step"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return 0


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Tensors by name, each stored once: safetensors refuses two names for one memory."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            found[name] = value.detach().contiguous()
    return found


def _load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    expected = _state(module)
    missing, strange = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    wrong = [name for name in expected if name in tensors and expected[name].shape != tensors[name].shape]
    if missing or strange or wrong:
        first = (missing or strange or wrong)[0]
        raise ModelError(f"weights of another model: '{first}' does not fit", where=path)
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(tensors[name])


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    here = {name: value.cpu() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        # under one key: safetensors writes several in an order of chance
        about = {**metadata, _CHECKSUM: _checksum(here, metadata)}
        save_file(here, temporary, {_ABOUT: json.dumps(about, sort_keys=True)})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata; files from before there was a checksum are taken as they are."""
    if not path.is_file():
        raise ModelError("no such file of weights", where=path, fix="train again")
    try:
        tensors: dict[str, Tensor] = load_file(path)
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
        if _ABOUT in metadata:
            metadata = dict(json.loads(metadata[_ABOUT]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError) as problem:
        raise ModelError(f"not a readable safetensors file: {problem}", where=path, fix="train again") from None
    expected = metadata.pop(_CHECKSUM, None)
    if expected is not None and expected != _checksum(tensors, metadata):
        raise ModelError("damaged: its content is not what its checksum says", where=path, fix="train again")
    return tensors, metadata


_ABOUT, _CHECKSUM = "semctl", "sha256"


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class ModelCard:
    """What a trained model was made from; ``model/config.json`` beside the weights."""

    config: Config  # all settings; ``model.kind`` says what it is
    ontology: Ontology  # the state's slots with their values, in order
    word_width: int  # width of the word vectors
    feature_width: int  # F, numbers an image
    words: str  # where the word pieces are from, for people
    features: str  # where the image features are from, for people
    map_shape: tuple[int, ...] = ()  # (channels, height, width) where an image is a map of features


def save_model(folder: Path, model: nn.Module, reader: Reader, card: ModelCard) -> None:
    """Write ``model.safetensors``, what the model was fitted with (``tokenizer.json``) and, last, ``config.json``."""
    save_weights(folder / "model.safetensors", model)
    reader.save(folder)
    write_json(
        folder / "config.json",
        {
            "format": MODEL_FORMAT,
            "architecture": card.config.model.kind,
            "config": card.config.model_dump(mode="json"),
            "ontology": card.ontology.model_dump(mode="json"),
            "word_width": card.word_width,
            "feature_width": card.feature_width,
            "words": card.words,
            "features": card.features,
            **({"map_shape": card.map_shape} if card.map_shape else {}),
        },
    )


def read_card(folder: Path) -> ModelCard:
    """Read ``config.json`` of a trained model.

    Raises:
        ModelError: missing, of another format, or not a model of this kind.
    """
    path = folder / "config.json"
    value = read_json(path, error=ModelError, fix="train again")
    found = value.get("format") if isinstance(value, dict) else None
    if found not in (2, MODEL_FORMAT):
        is_newer = isinstance(found, int) and found > MODEL_FORMAT
        raise ModelError(
            f"a model of format {found}, this semctl reads 2 and {MODEL_FORMAT}",
            where=path,
            fix="a newer semctl wrote it: update this one, or train again" if is_newer else "train again",
        )
    with taken_apart(path, error=ModelError, what="not the config.json of a model", fix="train again"):
        return ModelCard(
            config_from(
                value["config"], where=path, kind=find_model(value["architecture"], where=path).name, stored=True
            ),
            Ontology.model_validate(value["ontology"]),
            int(value["word_width"]),
            int(value["feature_width"]),
            str(value["words"]),
            str(value["features"]),
            tuple(map(int, value.get("map_shape", ()))),
        )


def load_model(folder: Path, features: Features, corpus: Corpus, card: ModelCard | None = None) -> tuple[Any, Reader]:
    """A trained model with what reads its inputs.

    Args:
        folder: ``model`` of a run.
        features: the images of the corpus it is used on.
        corpus: that corpus.
        card: :func:`read_card` of the folder, when read already.

    Raises:
        ModelError: files missing, cut off or that do not fit together, or features of another width.
    """
    card = card or read_card(folder)
    if (features.width, features.map_shape) != (card.feature_width, card.map_shape):
        raise ModelError(
            f"the model reads {card.feature_width} numbers an image, these features have {features.width}",
            where=folder,
            fix=f"it was trained on: {card.features}",
        )
    words = read_words(folder / "tokenizer.json")
    spec = find_model(card.config.model.kind)
    fitted = None if spec.fitted is None else spec.fitted.load(folder, Sources(corpus, card.ontology))
    reader = spec.open_reader(card.config, words, features, card.ontology, fitted)
    try:
        model = spec.build(card.config, Sizes(words.size, card.word_width, card.feature_width, reader, card.map_shape))
    except (RuntimeError, MemoryError, ValueError, TypeError, AssertionError) as problem:
        raise ModelError(f"no model can be made: {problem}", where=folder / "config.json", fix="train again") from None
    load_weights(folder / "model.safetensors", model)
    return model.eval(), reader
