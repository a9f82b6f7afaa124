"""A trained model that travels: one folder with all that it needs to rank, without the workspace it comes from.

Beside what a run saves (weights, settings, word pieces, what the model was fitted with) there are

- ``products.parquet``, the catalogue, because a ranker has nothing to say without products, and because what some
  models know of dialogues hangs on it: which values the product in an image shown has, which product that is;
- ``features/``, the numbers that stand for the catalogue's images, so that neither photos nor an image encoder have to
  come along; of a frozen text tower also the vectors of texts, as they were made;
- ``parts/``, files of pre-trained networks that are still asked when the model is used: of a text tower its weights,
  of a network that trained along its shape alone.

Settings name nothing outside of the folder. Nothing in it is a pickle.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from schemas.belief import BeliefState, SlotValue, belief_state
from schemas.errors import ModelError, UsageError
from schemas.files import read_json, write_json
from schemas.ontology import Ontology
from semantic_model.config.config import Config
from semantic_model.config.sections import TowerTextConfig
from semantic_model.data.corpus import Corpus, product_text, read_products
from semantic_model.data.feature_store import FeatureStore, read_array
from semantic_model.data.image_features import NO_IMAGE, Features, load_features
from semantic_model.data.records import FloatArray, Product, Query, Utterance
from semantic_model.data.text_tower import store_name, tower_files, tower_folder
from semantic_model.data.tokenizer import words_folder
from semantic_model.data.told_states import with_states
from semantic_model.data.vision import is_torchvision, preparation_files
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.ranking.ranker import HasVectors, LateProducts
from semantic_model.ranking.top_products import top_rows
from semantic_model.training.checkpoint import ModelCard, read_card
from semantic_model.training.trainer import saved_ranker

CATALOGUE = "products.parquet"
FEATURES = "features"
PARTS = "parts"
_IMAGES = "images"
_TOLD = "told_states"  # in config.json: dialogues have to come with their states
_FIX = "write the folder again with `semctl export-model`"

Said = Utterance | Sequence[Any]
"""What somebody says: ``(speaker, text)``, or with ids of the images shown, ``(speaker, text, image_ids)``."""


def write_model(
    folder: Path,
    saved: Path,
    ranker: NetworkRanker,
    corpus: Corpus,
    *,
    ontology: Ontology,
    products: Path | None,
    told_states: bool,
) -> None:
    """Write what :func:`open_exported` reads.

    Args:
        folder: an empty one.
        saved: ``model`` of a run.
        ranker: that model, opened on ``corpus``.
        corpus: whose images are known.
        ontology: the model's; its hints may be others.
        products: the catalogue's table; None leaves it and its images out.
        told_states: the model reads gold states as text.

    Raises:
        MissingPartError: a pre-trained part that it needs is not here.
    """
    for path in sorted(saved.iterdir()):
        if path.is_file() and path.name not in ("README.md", "config.json") and not path.name.startswith("."):
            shutil.copyfile(path, folder / path.name)
    config, features = ranker.reader.config, ranker.reader.features
    if products is not None:
        shutil.copyfile(products, folder / CATALOGUE)
    _write_features(folder / FEATURES, features, corpus.image_files if products is not None else ())
    _write_texts(folder / FEATURES, config, features.kept)
    stored = read_json(saved / "config.json", error=ModelError, fix="train again")
    stored |= {name: without_paths(str(stored[name]), config) for name in ("words", "features")}
    for section, names in _travelling_names(config, folder).items():
        stored["config"].setdefault(section, {}).update(names)
    slots = ontology.model_dump(mode="json")
    ontology.write(folder / "ontology.json")
    write_json(folder / "config.json", {**stored, "ontology": slots, _TOLD: told_states})


def _write_features(folder: Path, features: Features, images: Collection[str]) -> None:
    """The features of images, each row once."""
    row_of = {name: features.row(name) for name in sorted(images)}
    known = sorted({row for row in row_of.values() if row != NO_IMAGE})
    at = {NO_IMAGE: NO_IMAGE, **{row: number for number, row in enumerate(known)}}
    stored = FeatureStore(folder, _IMAGES, features.width, features.values.dtype.type)
    values = np.asarray(features.values[known]) if known else np.zeros((0, features.width), features.values.dtype)
    stored.add({name: at[row] for name, row in row_of.items()}, [values])


def _write_texts(folder: Path, config: Config, kept: Path | None) -> None:
    """The vectors of texts that a frozen tower has made: made again, they may differ in their last bits."""
    if kept is not None and isinstance(config.text, TowerTextConfig) and not config.text.finetune:
        for path in sorted(kept.glob(f"{store_name(config.text)}.*")):
            shutil.copyfile(path, folder / path.name)


def _travelling_names(config: Config, folder: Path) -> dict[str, dict[str, str]]:
    """The settings that name files, as the folder has them; copies what is still asked when the model is used."""
    text, image = config.text, config.image
    parts: dict[str, str] = {}

    def carried(name: str, source: Path, files: Sequence[str]) -> str:
        if name not in parts:
            last = Path(name).name
            taken = [part for part in parts.values() if part.startswith(f"{PARTS}/{last}")]
            parts[name] = f"{PARTS}/{last}" + (f"-{len(taken) + 1}" if taken else "")
        place = folder / parts[name]
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(source / file, place / file)
        return parts[name]

    found: dict[str, dict[str, str]] = {"text": {"embeddings": _name(text.embeddings)}, "image": {}}
    if isinstance(text, TowerTextConfig):
        source = tower_folder(text)
        found["text"]["embeddings"] = carried(text.embeddings, source, tower_files(text, source))
    elif text.full_bert:
        found["text"]["embeddings"] = carried(text.embeddings, words_folder(text.embeddings), ["config.json"])
    if image.features:
        arrays = sorted(Path(image.features).glob("*.npy"))
        found["image"]["features"] = arrays[0].stem if arrays else _name(image.features)
    if image.encoder in parts:  # one CLIP in two roles stays one
        found["image"]["encoder"] = parts[image.encoder]
    if image.fine_tuned and not is_torchvision(image.encoder):
        source, files = preparation_files(image)
        found["image"]["encoder"] = carried(image.encoder, source, files)
    found["image"].setdefault("encoder", _name(image.encoder))
    found["image"]["weights"] = _name(image.weights)
    knowledge = getattr(config, "knowledge", None)
    if knowledge is not None:
        found["knowledge"] = {"folder": _name(knowledge.folder)}
    return found


def without_paths(text: str, config: Config) -> str:
    """What is said of words or images, with names instead of paths of this machine."""
    text_named, image = config.text.embeddings, config.image
    named = {text_named, image.encoder, image.weights, image.features}
    for setting in sorted(named, key=len, reverse=True):
        if setting and _name(setting) != setting:
            text = text.replace(setting, _name(setting))
    return text


def _name(setting: str) -> str:
    """An id as it is; of a path on this machine, its last part."""
    path = Path(setting)
    return path.name if path.is_absolute() or path.exists() or setting.startswith(("~", ".")) else setting


class Ranked(NamedTuple):
    """A product for a dialogue."""

    rank: int  # from 1
    product_id: str
    name: str
    score: float  # higher is better; comparable within one dialogue


@dataclass(frozen=True)
class ExportedModel:
    """A trained model with the products that it ranks; made by :func:`semantic_model.load`."""

    ranker: NetworkRanker  # encodes and scores; for many dialogues at once
    products: tuple[Product, ...]  # sorted by ``product_id``
    told_states: bool = False  # dialogues have to come with their states

    @cached_property
    def table(self) -> Any:
        """The encoded products; made at the first question."""
        return self.ranker.encode_products(self.products)

    def rank(
        self,
        dialogue: Sequence[Said],
        top: int = 10,
        *,
        state: Sequence[Sequence[str]] | None = None,
        candidates: Sequence[str] | None = None,
    ) -> list[Ranked]:
        """The best products for what was said so far, best first; equal scores in the order of ``products``.

        Args:
            dialogue: all that was said, oldest first: ``[("user", "a red coat, please"), ...]``. An image is named by
                its id in the catalogue; one that is not known there counts as missing.
            top: how many.
            candidates: rank only the products with these ids, as of a vector store; else all.
            state: of a model with ``told_states`` only: what the user wants by now, ``(slot, value)`` or
                ``(slot, value, "dislike")`` each.

        Raises:
            UsageError: nothing was said, or something else than the above was given.
        """
        if top < 1:
            raise UsageError(f"top must be at least 1, got {top}")
        contexts = self.encode([dialogue], states=None if state is None else [state])
        rows = np.arange(len(self.products)) if candidates is None else self._rows(candidates)
        only = None if candidates is None else rows[None]
        scores = self.ranker.score(contexts, self.table, only)[0]
        best = [(self.products[rows[at]], float(scores[at])) for at in top_rows(scores, top)]
        return [Ranked(rank, item.product_id, item.name, score) for rank, (item, score) in enumerate(best, start=1)]

    def _rows(self, candidates: Sequence[str]) -> npt.NDArray[np.int64]:
        missing = next((name for name in candidates if name not in self._row_of), None)
        if missing is not None:
            raise UsageError(f"there is no product '{missing}'", fix="ids are those of `products`")
        return np.array(sorted({self._row_of[name] for name in candidates}), dtype=np.int64)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {product.product_id: row for row, product in enumerate(self.products)}

    def scores(
        self, dialogues: Sequence[Sequence[Said]], *, states: Sequence[Sequence[Sequence[str]]] | None = None
    ) -> FloatArray:
        """Scores of all products for each dialogue: float32 [B, N]; as :meth:`rank`, with its errors."""
        return self.ranker.score(self.encode(dialogues, states=states), self.table)

    def encode(
        self, dialogues: Sequence[Sequence[Said]], *, states: Sequence[Sequence[Sequence[str]]] | None = None
    ) -> Any:
        """B encoded dialogues, as the ranker takes them; as :meth:`rank`, with its errors."""
        histories = [history_of(dialogue) for dialogue in dialogues]
        if self.told_states != (states is not None):
            raise UsageError(
                "this model has to be told the state of each dialogue"
                if self.told_states
                else "this model reads states itself",
                fix="give state=[(slot, value), ...]" if self.told_states else "leave the state out",
            )
        queries = [Query(str(at), len(said), "", said, (), ()) for at, said in enumerate(histories)]
        if states is not None:
            queries = with_states(queries, [_state(state) for state in states], self.ranker.reader.words).queries
        return self.ranker.encode_contexts(queries)

    @property
    def exact_vectors(self) -> bool | None:
        """Whether the best by :meth:`query_vectors` and :meth:`product_vectors` are the best; None without any."""
        model = self.ranker.model
        return (
            model.vectors_are_exact if isinstance(model, HasVectors) and not isinstance(model, LateProducts) else None
        )

    def product_vectors(self) -> FloatArray:
        """Vectors of the products, in their order: float32 [N, W], for a vector store that looks for inner products.

        Raises:
            ModelError: of this kind of model, a product is another one in each dialogue.
        """
        return self._vectors("product_vectors", self.table)

    def query_vectors(
        self, dialogues: Sequence[Sequence[Said]], *, states: Sequence[Sequence[Sequence[str]]] | None = None
    ) -> FloatArray:
        """Vectors of dialogues to ask such a store with: float32 [B, W]; errors as :meth:`rank` and above."""
        return self._vectors("query_vectors", self.encode(dialogues, states=states))

    def _vectors(self, of: str, encoded: Any) -> FloatArray:
        if self.exact_vectors is None:
            raise ModelError(
                f"a {self.ranker.name} has no vectors of products: each is another one in every dialogue",
                fix="rank all products, which holds to millions",
            )
        with torch.inference_mode():
            found: FloatArray = getattr(self.ranker.model, of)(encoded).float().cpu().numpy()
        return found


def history_of(dialogue: Sequence[Said]) -> tuple[Utterance, ...]:
    """What was said, one after the other by different speakers, as an import merges it.

    Raises:
        UsageError: nothing, or something that nobody can have said.
    """
    found: list[Utterance] = []
    for number, each in enumerate(dialogue, start=1):
        if isinstance(each, str) or len(each) not in (2, 3):
            raise UsageError(f"utterance {number} is no (speaker, text) or (speaker, text, image_ids)")
        speaker, text, images = (*each, ())[:3]
        if speaker not in ("user", "system") or not isinstance(text, str) or isinstance(images, str):
            raise UsageError(f"utterance {number} is not of a user or system, a text and image ids")
        if found and found[-1].speaker == speaker:
            before = found.pop()
            text, images = f"{before.text} {text}".strip() if text else before.text, (*before.image_ids, *images)
        found.append(Utterance(speaker, text, tuple(images)))
    if not found:
        raise UsageError("nothing was said", fix='give a dialogue as [("user", "a red coat, please")]')
    return tuple(found)


def _state(state: Sequence[Sequence[str]]) -> BeliefState:
    values = []
    for each in state:
        if isinstance(each, str) or len(each) not in (2, 3) or (len(each) == 3 and each[2] not in ("like", "dislike")):
            raise UsageError(f"not a (slot, value) or (slot, value, 'dislike'): {each!r}")
        values.append(SlotValue(each[0], each[1], "dislike" if each[2:] == ("dislike",) else "like"))
    return belief_state(values)


def product_of(record: Mapping[str, Any]) -> Product:
    """A product of ``{"product_id": .., "name": .., "attributes": {name: [value, ..]}}``.

    ``description`` and ``image``, the path of a photo, may be added; a single value need not be a list.

    Raises:
        UsageError: it is something else.
    """
    strange = sorted(record.keys() - {"product_id", "name", "attributes", "description", "image"})
    if strange or not isinstance(record.get("product_id"), str) or not isinstance(record.get("name"), str):
        what = f"a product with the unknown key '{strange[0]}'" if strange else "a product without product_id and name"
        raise UsageError(what, where=str(record)[:100], fix=f"see {product_of.__module__}.product_of")
    attributes = {
        str(name): (values,) if isinstance(values, str) else tuple(map(str, values))
        for name, values in sorted(dict(record.get("attributes") or {}).items())
    }
    image = record.get("image")
    path = None if image is None else Path(image)
    if path is not None and not path.is_file():
        raise UsageError("there is no such image", where=path, fix="name a file, or leave the image out")
    text = product_text(record["name"], attributes)
    shown = None if path is None else str(path)
    return Product(record["product_id"], record["name"], text, attributes, shown, path, record.get("description") or "")


def open_exported(folder: str | Path, products: Sequence[Mapping[str, Any]] | None = None) -> ExportedModel:
    """As :func:`semantic_model.load`."""
    folder = Path(folder).expanduser().resolve()
    if not folder.is_dir():
        raise ModelError("there is no such folder", where=folder, fix="write one with `semctl export-model`")
    stored = read_json(folder / "config.json", error=ModelError, fix=_FIX)
    if not isinstance(stored, dict) or not isinstance(stored.get(_TOLD), bool):
        raise ModelError("not a model that was exported", where=folder, fix=_FIX)
    card = _placed(read_card(folder), folder)
    features, images = _features(folder, card)
    if products is None:
        if not (folder / CATALOGUE).is_file():
            raise UsageError(
                "the folder has no catalogue",
                where=folder,
                fix="give the products to rank: load(FOLDER, products=[..])",
            )
        catalogue, images_of = read_products(folder / CATALOGUE, dict.fromkeys(images, Path()))
        catalogue = tuple(product._replace(image_file=None) for product in catalogue)
    else:
        catalogue, images_of = _given(products)
        features = _with_images(features, card, catalogue)
    row_of = {product.product_id: row for row, product in enumerate(catalogue)}
    shown = {image: row_of[name] for name, images in reversed(images_of.items()) for image in images}
    corpus = Corpus(catalogue, {}, {}, {}, False, {}, (), image_products=shown)
    return ExportedModel(saved_ranker(folder, features, corpus, card), catalogue, stored[_TOLD])


def _placed(card: ModelCard, folder: Path) -> ModelCard:
    """The card with the parts of the folder by their full paths."""
    config = card.config

    def full(name: str) -> str:
        return str(folder / name) if name.startswith(f"{PARTS}/") else name

    text = config.text.model_copy(update={"embeddings": full(config.text.embeddings)})
    image = config.image.model_copy(update={"encoder": full(config.image.encoder)})
    return replace(card, config=config.model_copy(update={"text": text, "image": image}))


def _features(folder: Path, card: ModelCard) -> tuple[Features, Collection[str]]:
    """The features of images, and which images there were, decodable or not."""
    place = folder / FEATURES
    rows = read_json(place / f"{_IMAGES}.json", error=ModelError, fix=_FIX, shape=dict[str, int])
    values = read_array(place / f"{_IMAGES}.npy", fix=_FIX)
    if values.shape != (1 + max(rows.values(), default=-1), card.feature_width):
        raise ModelError(f"features of another shape, {list(values.shape)}", where=place / f"{_IMAGES}.npy", fix=_FIX)
    known = {name: row for name, row in rows.items() if row >= 0}
    lost = len(rows) - len(known)
    return Features(values, known, card.features, lost, card.map_shape, kept=place, keeps=False), rows


def _given(records: Sequence[Mapping[str, Any]]) -> tuple[tuple[Product, ...], dict[str, Sequence[str]]]:
    found = sorted(map(product_of, records), key=lambda product: product.product_id)
    if not found:
        raise UsageError("no products to rank")
    for one, other in pairwise(found):
        if one.product_id == other.product_id:
            raise UsageError("a product twice", where=one.product_id)
    return tuple(found), {item.product_id: () if item.image_id is None else (item.image_id,) for item in found}


def _with_images(features: Features, card: ModelCard, products: Sequence[Product]) -> Features:
    """The features, and those of the products' own images."""
    files = {item.image_id: item.image_file for item in products if item.image_id and item.image_file}
    if not files:
        return features
    if card.config.image.features:
        raise UsageError(
            "the model was trained on features of images that came along; it has no encoder for others",
            fix="leave the products' images out",
        )
    more = load_features(card.config.image, files)
    at = len(features.values)
    rows = {**features.rows, **{name: at + row for name, row in more.rows.items()}}
    return replace(features, values=np.concatenate([features.values, more.values]), rows=rows)
