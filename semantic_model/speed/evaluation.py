"""Ranking 1,000 candidates for each of many contexts, with products encoded once or again for every context.

The network has the paper's size and random weights; texts and images are drawn at random, so no two are the same.
"""

from __future__ import annotations

import numpy as np
import torch

from semantic_model.config.config import Config
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.rows import Encoded, map_rows
from semantic_model.evaluation.metrics import rank_metrics
from semantic_model.ranking.chunked_scoring import score_candidates, slices
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.scoring import MatchQuery
from semantic_model.semantic.settings import TeacherStudentConfig

VOCABULARY, FEATURES, SLOTS = 30_522, 512, 15
POSITIVES = 5
_TOGETHER = 16  # contexts encoded at a time


class EvaluationCase:
    """Q contexts with C candidates each, out of a catalogue of N products.

    Args:
        queries: Q.
        candidates: C.
        products: N.
        config: the network's settings; images come as features.
    """

    def __init__(self, queries: int, candidates: int, products: int, config: Config) -> None:
        assert isinstance(config, TeacherStudentConfig)
        torch.manual_seed(0)
        generator = np.random.default_rng(0)
        self.config, self.queries = config, queries
        slot_keys = generator.integers(1, VOCABULARY, (SLOTS, 2))
        self.model = Semantic(
            config, vocabulary=VOCABULARY, word_width=config.model.width, feature_width=FEATURES, slot_keys=slot_keys
        ).eval()
        self.rows = np.stack([np.sort(generator.permutation(products)[:candidates]) for _ in range(queries)])
        tokens = torch.from_numpy(generator.integers(1, VOCABULARY, (products, config.text.product_max_tokens)))
        self.products = ProductBatch(tokens, torch.randn(products, FEATURES), torch.ones(products, dtype=torch.bool))
        self.relevant = np.zeros(self.rows.shape, dtype=np.bool_)
        self.relevant[:, :POSITIVES] = True
        self.scores = torch.empty(self.rows.shape)

    @torch.inference_mode()
    def encode_contexts(self) -> None:
        """Contexts and predicted states of all queries; both ways need them."""
        T, L, M = self.config.context.window, self.config.text.max_tokens, self.config.image.max_per_turn
        parts = []
        for start in range(0, self.queries, _TOGETHER):
            B = min(_TOGETHER, self.queries - start)
            batch = ContextBatch(
                torch.randint(1, VOCABULARY, (B, T, L)),
                torch.randn(B, T, M, FEATURES),
                torch.ones(B, T, M, dtype=torch.bool),
                torch.ones(B, T, dtype=torch.bool),
            )
            parts.append(self.model.encode_queries(batch))
        self.parts = parts

    @torch.inference_mode()
    def encode_products(self) -> None:
        """The product table, once for all queries."""
        products = Encoded(self.products)
        encoded = (self.model.encode_products(products[part].rows) for part in slices(len(products), 256))
        self.table = self.model.table(encoded, len(products), "float32")

    @torch.inference_mode()
    def rank_from_table(self) -> None:
        """Scores of every query's candidates out of the table, and their metrics."""

        def query_of(part: slice) -> MatchQuery:
            at = slice(part.start % _TOGETHER, part.stop - part.start + part.start % _TOGETHER)
            return self.model.query(self.parts[part.start // _TOGETHER][at], self.table)

        score_candidates(query_of, self.table, self.rows, self.scores)
        self.metrics = rank_metrics(self.scores.numpy(), self.relevant)

    @torch.inference_mode()
    def rank_by_encoding(self, query: int) -> float:
        """Encode one query's candidates, send them through the plain DSI, score; the largest difference of scores."""
        asked = self.parts[query // _TOGETHER][query % _TOGETHER : query % _TOGETHER + 1]
        rows = torch.from_numpy(self.rows[query])
        candidates = self.model.encode_products(ProductBatch(*(field[rows] for field in self.products)))
        own = map_rows(lambda field: field[None], candidates)
        scores = self.model.score(self.model.interact(asked.context, own, asked.S))
        rank_metrics(scores.numpy(), self.relevant[query : query + 1])
        return float((scores[0] - self.scores[query]).abs().max())
