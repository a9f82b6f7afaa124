"""What an epoch is judged by: metrics on the validation split, every product of the catalogue a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from semantic_model.data.batch import ContextArrays, ProductBatch
from semantic_model.data.records import Query
from semantic_model.data.rows import Encoded
from semantic_model.evaluation.metrics import mean_metrics, rank_metrics
from semantic_model.ranking.chunked_scoring import slices
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.training.distributed import Processes


@torch.inference_mode()
def validate(
    model: Any,
    ranker: NetworkRanker,
    queries: Sequence[Query],
    contexts: ContextArrays,
    products: ProductBatch,
    processes: Processes,
) -> dict[str, float]:
    """Mean metrics of all queries, of which each process ranks its share; empty without queries.

    Args:
        model: encodes the products; in evaluation mode afterwards.
        contexts: of the queries.
        products: the whole catalogue.
    """
    if not queries:
        return {}
    model.eval()
    catalogue = Encoded(products)
    parts = slices(len(catalogue), ranker.product_chunk)  # as the ranker itself encodes a catalogue
    table = ranker.collect((model.encode_products(catalogue[part].rows) for part in parts), len(catalogue))
    here = processes.share(len(queries))
    found: list[dict[str, Any]] = []
    for start in range(here.start, here.stop, 256):
        part = slice(start, min(start + 256, here.stop))
        scores = ranker.score(ranker.encode_arrays(contexts.take(part)), table)
        relevant = np.zeros(scores.shape, dtype=np.bool_)
        for row, query in enumerate(queries[part]):
            relevant[row, list(query.positives)] = True
        found.append(rank_metrics(scores, relevant, empty="nan"))
    told = processes.collect([{name: values.tolist() for name, values in metrics.items()} for metrics in found])
    every = [metrics for of_one in told for metrics in of_one]
    means, _ = mean_metrics({name: np.concatenate([metrics[name] for metrics in every]) for name in every[0]})
    return means


def is_better(select: str, metrics: dict[str, float], best: dict[str, float]) -> bool:
    """Whether an epoch replaces the best one so far; the last one does when nothing can tell, or that is asked for."""
    return select == "last" or not metrics or metrics[select] > best.get(select, -1.0)
