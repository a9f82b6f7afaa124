"""Writes a corpus in MMD's file layout: ``dialogues/<split>/<n>.json``, ``products/``, ``images/``, ``url2img.txt``."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson

from pipeline.generator.catalogue import CatalogueProduct
from pipeline.generator.drawing import draw_product
from pipeline.generator.user_simulator import (
    Corruption,
    Dialogue,
    Recommendation,
    Utterance,
    list_negatives,
    shape_utterances,
)
from schemas.folding import ENTITY

_PLAIN_KEYS = ("brand", "color", "print", "material", "care", "style", "type", "fit", "neck", "length", "sleeves")
_QUESTIONS = frozenset(("greeting", "user-info", "exit-message", "buy", "give-part-criteria", "switch-synset"))


def product_json(product: CatalogueProduct) -> dict[str, Any]:
    """A product in MMD's catalogue keys: one flat dict, "" where something is unknown."""
    record: dict[str, Any] = {
        "id": product.stem,
        "name": product.name,
        "taxonomy": product.taxonomy,
        "site": "semctl",
        "currency": product.currency,
        "price": "" if product.price is None else product.price,
        "gender": _written(product, "gender"),
    }
    record |= {key: _written(product, key) for key in _PLAIN_KEYS}
    record |= {
        key: _written(product, key) for key in product.attributes if key not in record and key != "available_sizes"
    }
    record |= {
        "available_sizes": list(product.attributes.get("available_sizes", ())),
        "size_fit": "",
        "details": list(product.details),
        "review": [],
        "reviewStars": [],
        "avgStars": [],
        "bestSellerRank": "",
        "similar_items": [],
        "model_worn": "no",
        "image_type": "front",
        "image_filename": product.url,
        "image_url": product.url,
        "image_filename_all": {"front": [product.url], "back": [], "left": [], "right": [], "look": []},
    }
    return record


_ENTITY = re.compile(rf"(?={ENTITY})&".encode())


def _encoded(value: Any, option: int) -> bytes:
    """A value as JSON; what its texts spell like HTML entities is escaped, as who reads the corpus resolves these."""
    return _ENTITY.sub(b"&amp;", orjson.dumps(value, option=option))


def _written(product: CatalogueProduct, attribute: str) -> str:
    return "" if attribute in product.unwritten else (product.value(attribute) or "")


def write_product(folder: Path, product: CatalogueProduct, seed: str) -> None:
    """Write a product's JSON file and its image, drawn or copied, each as its fault has it."""
    if product.fault != "missing_json":
        content = _encoded(product_json(product), orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if product.fault == "broken_json":
            content = content[: len(content) // 2]
        (folder / "products" / f"{product.stem}.json").write_bytes(content)
    if product.fault in ("dead_link", "missing_image"):
        return
    target = folder / "images" / product.image
    if product.fault == "broken_image":
        target.write_bytes(b"this is no picture\n")
    elif product.photo is not None:
        shutil.copyfile(product.photo, target)
    else:
        look = {name: values[0] for name, values in product.attributes.items()}
        image = draw_product(look, Random(seed))
        if target.suffix == ".png":
            image.save(target, optimize=False)
        else:
            image.save(target, quality=92, subsampling=0)


class DialogueWriter:
    """Writes dialogue files and counts what is in them."""

    def __init__(self, products: Sequence[CatalogueProduct]) -> None:
        self._products = products
        self._urls = [product.url for product in products]
        self._encoded = [orjson.dumps(url) for url in self._urls]
        self._sound = [not product.fault for product in products]
        self.counts: Counter[str] = Counter()
        self.references: dict[str, Counter[str]] = {}

    def write(self, path: Path, dialogue: Dialogue, corruption: Corruption | None, rng: Random) -> None:
        """Write one dialogue file; ``rng`` chooses how absent values are written (null, [] or no key)."""
        path.write_bytes(self.encode(dialogue, corruption, rng))
        self._count(dialogue)

    def encode(self, dialogue: Dialogue, corruption: Corruption | None, rng: Random) -> bytes:
        """The bytes of one dialogue file."""
        written = []
        pending = corruption
        for utterance in dialogue.utterances:
            here = pending if utterance.recommendation is not None else None
            if here is not None:
                pending = None
            written.append(self._utterance(utterance, here, rng))
        return _encoded(shape_utterances(written, corruption), orjson.OPT_APPEND_NEWLINE)

    def _utterance(self, utterance: Utterance, corruption: Corruption | None, rng: Random) -> dict[str, Any]:
        record: dict[str, Any] = {"type": utterance.act, "speaker": utterance.speaker}
        if utterance.subtype and utterance.act not in _QUESTIONS:
            record["question-type"] = utterance.act
            record["question-subtype"] = utterance.subtype
        said: dict[str, Any] = {"nlg": utterance.text}
        record["utterance"] = said
        recommendation = utterance.recommendation
        if recommendation is not None:
            self._list_candidates(said, recommendation, corruption, rng)
        else:
            _absent(said, "false nlg", rng)
            _absent(said, "false images", rng)
            if utterance.images:
                said["images"] = [self._urls[number] for number in utterance.images]
                self._refer("shown_by_user", utterance.images)
            else:
                _absent(said, "images", rng)
        if utterance.wants is not None:
            record["ds"] = utterance.wants.written()
        return record

    def _list_candidates(
        self, said: dict[str, Any], recommendation: Recommendation, corruption: Corruption | None, rng: Random
    ) -> None:
        positives = recommendation.positives
        negatives = list_negatives(recommendation.negatives.tolist(), positives, self._sound, corruption)
        said["false nlg"] = ""
        if negatives:
            listed = b",".join([self._encoded[number] for number in negatives])
            said["false images"] = orjson.Fragment(b"[" + listed + b"]")
        else:
            _absent(said, "false images", rng)
        said["images"] = [self._urls[number] for number in positives]
        self._refer("positives", positives)
        self._refer("negatives", negatives)
        counts = self.counts
        counts["recommendation_turns"] += bool(negatives)
        counts["recommendation_turns_without_negatives"] += not negatives
        counts["positives"] += len(positives)
        counts["negatives"] += len(negatives)
        counts["repeated_negatives"] += len(negatives) - len(set(negatives))
        counts["negatives_equal_to_a_positive"] += len(set(negatives) & set(positives))

    def _refer(self, role: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            if not self._sound[number]:
                self.references.setdefault(self._products[number].fault, Counter())[role] += 1

    def _count(self, dialogue: Dialogue) -> None:
        before = ""
        for utterance in dialogue.utterances:
            self.counts["utterances"] += 1
            if utterance.speaker != before:
                self.counts["user_turns" if utterance.speaker == "user" else "system_turns"] += 1
            before = utterance.speaker
            self.counts["typographic_quotes"] += (utterance.text or "").startswith("‘")
            self.counts["images_sent_by_user"] += len(utterance.images) if utterance.speaker == "user" else 0


def _absent(said: dict[str, Any], key: str, rng: Random) -> None:
    chance = rng.random()
    if chance < 0.8:
        said[key] = None
    elif chance < 0.9:
        said[key] = []


def write_links(path: Path, products: Sequence[CatalogueProduct]) -> None:
    """Write ``url2img.txt``: a link, a space and a file name on each line; dead links are not in it."""
    lines = [f"{product.url} {product.image}\n" for product in products if product.fault != "dead_link"]
    path.write_text("".join(sorted(lines)))


def only_in_images(products: Sequence[CatalogueProduct]) -> Mapping[str, Mapping[str, list[str]]]:
    """Stem -> attribute -> values, for what a product's JSON file does not say and its image shows."""
    return {
        product.stem: {name: list(product.attributes[name]) for name in sorted(product.unwritten)}
        for product in products
        if product.unwritten
    }
