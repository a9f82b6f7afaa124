"""Ranking 1,000 candidates for each of many contexts with every model of the registry, once all is encoded.

Networks have random weights; products, images and dialogues are drawn at random, the same for all models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from schemas.ontology import Ontology, Slot, Value
from semantic_model.config.config import Config, load_config, preset_names
from semantic_model.config.sections import MapImageConfig, TowerTextConfig
from semantic_model.data.corpus import Corpus, product_text
from semantic_model.data.image_features import Features
from semantic_model.data.records import FloatArray, Product, Query, Utterance
from semantic_model.data.tokenizer import find_words
from semantic_model.evaluation.metrics import rank_metrics
from semantic_model.ranking.model_spec import Sources, find_model
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.ranking.ranker import LateProducts
from semantic_model.training.trainer import fresh_model

POSITIVES = 5
_ATTRIBUTES, _VALUES, _SENTENCES = 12, 8, 200
_PIXELS, _CELLS = 288, (12, 16, 16)  # numbers an image, and its map, as of `pixels`


class MadeUpShop:
    """N products with 12 attributes and an image each, and Q contexts of five turns with C candidates each.

    Args:
        queries: Q.
        candidates: C.
        products: N.
    """

    def __init__(self, queries: int, candidates: int, products: int) -> None:
        draw = np.random.default_rng(0)
        ends = "lan mer nor tis".split()
        words = [f"{first}{last}" for first in "ba ke li mo nu ra se ti vo zu".split() for last in ends]
        names = words[:_ATTRIBUTES]

        def some(count: int) -> str:
            return " ".join(words[row] for row in draw.integers(len(words), size=count))

        values = {name: [some(2) for _ in range(_VALUES)] for name in names}
        self.products = tuple(
            _product(f"p{row:06}", some(4), {name: (str(draw.choice(values[name])),) for name in names}, some(20))
            for row in range(products)
        )
        slots = (Slot(name=name, attribute=name, values=_known(values[name])) for name in names)
        self.ontology = Ontology(slots=tuple(slots))
        sentences = [some(20) for _ in range(_SENTENCES)]
        self.queries = []
        for number in range(queries):
            shown = draw.integers(products, size=(5, 3))
            told = tuple(
                Utterance(
                    "system" if turn % 2 else "user",
                    sentences[draw.integers(_SENTENCES)],
                    tuple(f"p{row:06}.png" for row in shown[turn]) if turn % 2 else (),
                )
                for turn in range(5)
            )
            self.queries.append(Query(f"d{number}", 5, "valid", told, (), ()))
        self.candidates = np.stack([np.sort(draw.permutation(products)[:candidates]) for _ in range(queries)])
        self.relevant = np.zeros(self.candidates.shape, dtype=np.bool_)
        self.relevant[:, :POSITIVES] = True
        self.corpus = Corpus(self.products, {}, {}, {}, False, {}, ())
        self.sentences = [*sentences, *(product.text for product in self.products)]

    def features(self, config: Config) -> Features:
        """Of the images, as a model reads them."""
        cells = _CELLS if isinstance(config.image, MapImageConfig) else ()
        width = int(np.prod(cells)) if cells else _PIXELS
        values = np.random.default_rng(1).standard_normal((len(self.products), width), dtype=np.float32)
        rows = {f"{product.product_id}.png": row for row, product in enumerate(self.products)}
        return Features(values, rows, "random numbers", map_shape=cells)


def _known(values: list[str]) -> tuple[Value, ...]:
    return tuple(Value(value=value, count=1) for value in dict.fromkeys(values))


def _product(name: str, title: str, attributes: dict[str, tuple[str, ...]], description: str) -> Product:
    text = product_text(title, attributes)
    return Product(name, title, text, attributes, f"{name}.png", Path(f"{name}.png"), description)


class SystemCase:
    """A model that has encoded a shop.

    Args:
        name: of the registry.
        width: D.

    Attributes:
        late: whether its products depend on the query.

    Raises:
        MissingPartError: its text tower is not here.
    """

    def __init__(self, name: str, shop: MadeUpShop, width: int) -> None:
        spec = find_model(name)
        uniform = f"{name}/uniform"
        sizes = [f"model.width={width}", f"model.inner={width}", f"model.kind={name}"]
        preset = uniform if uniform in preset_names() else spec.preset or "default"
        config = load_config(preset, sizes)
        if not isinstance(config.text, TowerTextConfig):  # words make no difference to scoring
            config = load_config(preset, [*sizes, "text.embeddings=corpus"])
        words = find_words(config.text, shop.sentences)
        fitted = None if spec.fitted is None else spec.fitted.fit(config, Sources(shop.corpus, shop.ontology))
        reader = spec.open_reader(config, words, shop.features(config), shop.ontology, fitted)
        torch.manual_seed(0)
        model = fresh_model(spec, config, words, reader, shop.products)
        self.shop = shop
        self.late = isinstance(model, LateProducts)
        self.ranker = NetworkRanker(
            model, reader, replace(spec, shown_as="").title
        )  # two models share a name in tables
        self.contexts = self.ranker.encode_contexts(shop.queries)
        self.table = self.ranker.encode_products(shop.products)

    def rank(self, queries: int | None = None) -> FloatArray:
        """Scores of the candidates of all queries, or of the first ones, and their metrics."""
        part = slice(queries)
        scores = self.ranker.score(self.contexts[part], self.table, self.shop.candidates[part])
        rank_metrics(scores, self.shop.relevant[part])
        return scores


class ProductCase:
    """The same by a plain matrix product of a vector a context and a vector a product."""

    def __init__(self, shop: MadeUpShop, width: int) -> None:
        torch.manual_seed(0)
        self.shop = shop
        self.contexts, self.products = (
            F.normalize(torch.randn(count, width), dim=1) for count in (len(shop.queries), len(shop.products))
        )

    def rank(self) -> FloatArray:
        """Scores of every query's candidates, and their metrics."""
        scores = np.take_along_axis((self.contexts @ self.products.T).numpy(), self.shop.candidates, axis=1)
        rank_metrics(scores, self.shop.relevant)
        return scores
