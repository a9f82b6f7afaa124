"""What is known of products beside their images, as rows of a memory: attributes, style tips, what celebrities wear."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from schemas.errors import ModelError
from schemas.files import read_json, write_json
from schemas.folding import fold
from schemas.mentions import MentionFinder
from schemas.ontology import CATEGORY_ATTRIBUTES
from semantic_model.config.sections import KnowledgeConfig, TextConfig
from semantic_model.data.corpus import Corpus
from semantic_model.data.knowledge import (
    CELEBRITY_FILES,
    STYLE_TIP_FILES,
    StyleTip,
    find_file,
    read_celebrities,
    read_style_tips,
)
from semantic_model.data.records import FloatArray, Product

_SAVED = "knowledge.json"


class Form(NamedTuple):
    """A form of knowledge."""

    rows: int  # how many there are, the empty one, which stands first, among them
    places: int  # for rows of it that a product has


def tip_and_celebrity_files(config: KnowledgeConfig) -> dict[str, Path]:
    """The files that knowledge is read from, by name; none where it is derived.

    Raises:
        MissingPartError: one is not there; lists the ways out.
        ModelError: one cannot be read, or holds something else.
    """
    if not config.folder:
        return {}
    tips, celebrities = _tip_file(config), _celebrity_file(config)
    read_style_tips(tips)
    read_celebrities(celebrities)
    return {path.name: path for path in (tips, celebrities)}


def _tip_file(config: KnowledgeConfig) -> Path:
    return find_file(config, STYLE_TIP_FILES, what="the style tips")


def _celebrity_file(config: KnowledgeConfig) -> Path:
    return find_file(config, CELEBRITY_FILES, what="what celebrities wear")


@dataclass(frozen=True)
class ProductKnowledge:
    """The rows, each once, whoever has it."""

    attributes: tuple[tuple[str, str], ...]  # names with values
    tips: tuple[StyleTip, ...]
    celebrities: dict[str, dict[str, float]]  # celebrity -> kind -> score

    @classmethod
    def learn(cls, corpus: Corpus, text: TextConfig, knowledge: KnowledgeConfig, *, min_count: int, tips: int) -> Self:
        """Attributes of the catalogue; the rest from the folder of knowledge, or style tips from the dialogues.

        Args:
            text: which attributes are read.
            min_count: products that have an attribute's value, to be a row.
            tips: of each kind, the commonest.
        """
        counts = Counter(pair for product in corpus.products for pair in set(_pairs(product, text)))
        attributes = tuple(sorted(pair for pair, count in counts.items() if count >= min_count))
        if not knowledge.folder:
            return cls(attributes, _commonest(_shown_together(corpus), tips), {})
        worn = read_celebrities(_celebrity_file(knowledge))
        return cls(attributes, _commonest(read_style_tips(_tip_file(knowledge)), tips), worn)

    def save(self, folder: Path) -> None:
        """Write ``knowledge.json``."""
        plain = {
            "attributes": self.attributes,
            "tips": [tuple(tip) for tip in self.tips],
            "celebrities": self.celebrities,
        }
        write_json(folder / _SAVED, plain)

    @classmethod
    def load(cls, folder: Path, sources: object = None) -> Self:
        """Read :meth:`save` back.

        Raises:
            ModelError: missing or damaged.
        """
        found = read_json(folder / _SAVED, error=ModelError, fix="train again", shape=cls)
        scores = [score for worn in found.celebrities.values() for score in worn.values()]
        twice = len(set(found.attributes)) < len(found.attributes) or len(set(found.tips)) < len(found.tips)
        if twice or not all(math.isfinite(score) and score >= 0 for score in scores):
            raise ModelError(
                "no knowledge of a model: rows twice, or no scores", where=folder / _SAVED, fix="train again"
            )
        return found

    def forms(self, places: Mapping[str, int]) -> dict[str, Form]:
        """The forms of which anything is known, with so many places each; attributes always."""
        rows = {"attributes": len(self.attributes), "tips": len(self.tips), "celebrities": len(self._liked)}
        kept = (name for name in rows if name == "attributes" or (rows[name] and places[name]))
        return {name: Form(rows[name] + 1, places[name]) for name in kept}

    def texts(self) -> dict[str, list[str]]:
        """The rows of attributes and style tips as texts."""
        return {
            "attributes": [f"{name.replace('_', ' ')} {value}" for name, value in self.attributes],
            "tips": [f"{tip.first} {tip.second}" for tip in self.tips],
        }

    def scores(self) -> FloatArray:
        """The rows of celebrities: what each thinks of each kind that any likes [kinds, celebrities], to length one."""
        found = np.zeros((len(self._liked), len(self.celebrities)), dtype=np.float32)
        for column, worn in enumerate(self.celebrities.values()):
            for kind, score in worn.items():
                if kind in self._liked:
                    found[self._liked[kind], column] = score
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    def rows(self, product: Product, text: TextConfig, places: Mapping[str, int]) -> dict[str, list[int]]:
        """Which rows of each form a product has, counted from 0; no more than there are places."""
        kinds = self.kinds_of(product)[: places["celebrities"]]
        pairs = dict.fromkeys(pair for pair in _pairs(product, text) if pair in self._row_of)
        tips = {row for kind in kinds for row in self._tips_of.get(kind, ())}
        return {
            "attributes": [self._row_of[pair] for pair in pairs][: places["attributes"]],
            "tips": sorted(tips, key=lambda row: _commonest_first(self.tips[row]))[: places["tips"]],
            "celebrities": [self._liked[kind] for kind in kinds if kind in self._liked],
        }

    def kinds_of(self, product: Product) -> tuple[str, ...]:
        """The kinds that a product is of: those that the first of ``CATEGORY_ATTRIBUTES`` names, else its name."""
        for name in CATEGORY_ATTRIBUTES:
            found = dict.fromkeys(k for value in product.attributes.get(name, ()) for k in self._kinds.named_by(value))
            if found:
                return tuple(found)
        return self._kinds.named_by(product.name)

    @cached_property
    def _row_of(self) -> dict[tuple[str, str], int]:
        return {pair: row for row, pair in enumerate(self.attributes)}

    @cached_property
    def _tips_of(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, tip in enumerate(self.tips):
            for kind in {tip.first, tip.second}:
                found.setdefault(kind, []).append(row)
        return found

    @cached_property
    def _liked(self) -> dict[str, int]:
        """The kinds that celebrities like, by row."""
        liked = sorted({kind for worn in self.celebrities.values() for kind, score in worn.items() if score})
        return {kind: row for row, kind in enumerate(liked)}

    @cached_property
    def _kinds(self) -> KindNames:
        return KindNames(self._tips_of.keys() | self._liked.keys())


class KindNames:
    """Finds the names of kinds in texts; the longest at a place, whatever its ending."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._all = sorted(kinds)
        self._finder = MentionFinder([kind] for kind in self._all)
        self._known = frozenset(self._all)
        self._remembered = lru_cache(maxsize=4096)(self._find)  # catalogues have few kinds

    def named_by(self, text: str) -> tuple[str, ...]:
        """Those that a text names, each once."""
        return self._remembered(fold(text))

    def _find(self, said: str) -> tuple[str, ...]:
        if said in self._known:
            return (said,)
        return tuple(self._all[mention.column] for mention in self._finder.mentions(said))


def _pairs(product: Product, config: TextConfig) -> list[tuple[str, str]]:
    """Names and values of a product that are read."""
    return [
        (name, fold(value)) for name, values in product.attributes.items() if config.reads(name) for value in values
    ]


def _commonest_first(tip: StyleTip) -> tuple[int, str, str]:
    return -tip.times, tip.first, tip.second


def _commonest(tips: Iterable[StyleTip], most: int) -> tuple[StyleTip, ...]:
    """Tips that are among the ``most`` commonest of one of their kinds, in order."""
    ranked, kept, seen = sorted(tips, key=_commonest_first), [], Counter[str]()
    for tip in ranked:
        if min(seen[tip.first], seen[tip.second]) < most:
            kept.append(tip)
        seen.update({tip.first, tip.second})
    return tuple(sorted(kept))


def _shown_together(corpus: Corpus) -> list[StyleTip]:
    """Pairs of kinds that are recommended or shown in the same training dialogue, and in how many."""
    kinds = [_own_kind(product) for product in corpus.products]
    of_image = {p.image_id: kind for p, kind in zip(corpus.products, kinds, strict=True) if p.image_id is not None}
    shown = {
        dialogue: {of_image.get(image, "") for _, said in corpus.utterances(dialogue) for image in said.image_ids}
        for dialogue in corpus.dialogues("train")
    }
    for query in corpus.queries("train"):
        shown[query.dialogue_id].update(kinds[row] for row in query.positives)
    counts = Counter(pair for found in shown.values() for pair in combinations(sorted(found - {""}), 2))
    return [StyleTip(first, second, times) for (first, second), times in counts.items()]


def _own_kind(product: Product) -> str:
    """The kind that its attributes say; empty if none does."""
    said = (value for name in CATEGORY_ATTRIBUTES for value in product.attributes.get(name, ()))
    return fold(next(said, ""))
