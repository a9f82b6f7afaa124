"""How long the metrics of a large evaluation take, and whether they are those of scikit-learn and of ir_measures."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.benchmarks.measure import Goal, Options, compared, interleaved, row
from schemas.errors import MissingPartError
from semantic_model.evaluation.metrics import KS, rank_metrics, release_rank_metrics

QUERIES, CANDIDATES, POSITIVES = 7000, 1005, 5
SECONDS = 0.5
CHECKED = 60  # queries that are compared one by one

Table = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def benchmark(options: Options) -> list[dict[str, Any]]:
    """Precision, recall and NDCG @5, 10, 20 of 7,000 queries with 1,005 candidates each.

    Raises:
        MissingPartError: scikit-learn or ir_measures is not installed.
    """
    rounds = options.rounds or 7
    found: list[dict[str, Any]] = []
    for queries in options.sizes or (QUERIES,):
        scores, relevant = a_table(queries, CANDIDATES, levels=0)
        tied, tied_relevant = a_table(queries, CANDIDATES, levels=50)
        some = slice(0, max(1, queries // 100))
        works = {
            "ours": lambda s=scores, r=relevant: rank_metrics(s, r),
            "with ties": lambda s=tied, r=tied_relevant: rank_metrics(s, r),
            "release": lambda s=scores, r=relevant: release_rank_metrics(s, r),
            "scikit-learn": lambda s=scores[some], r=relevant[some]: sklearn_ndcg(s, r),
        }
        seconds = interleaved(works, rounds, progress=options.progress, title=f"metrics, {queries:,} queries")
        scale = queries / (some.stop - some.start)
        sklearn = [value * scale for value in seconds["scikit-learn"]]
        shape = f"{queries:,} x {CANDIDATES:,}"
        budget = SECONDS * queries / QUERIES
        for name, which in (("", "ours"), (", scores full of ties", "with ties"), (", --metrics release", "release")):
            best = seconds[which]
            found.append(
                row(
                    f"metrics, {shape}{name}",
                    float(np.median(best)) / budget,
                    f"of {budget:g} s",
                    Goal("at most", 1.0),
                    seconds=float(np.median(best)),
                    ratios=[min(best) / budget, max(best) / budget],
                    rounds=rounds,
                )
            )
        found.append(
            compared(
                f"metrics, {shape}",
                f"scikit-learn's ndcg_score at 5, 10 and 20 ({some.stop} queries timed, extrapolated)",
                seconds["ours"],
                sklearn,
            )
        )
    start = time.perf_counter()
    for name, difference in largest_difference().items():
        found.append(
            row(
                f"largest difference to {name}, {CHECKED} queries",
                difference,
                "0 is equal",
                Goal("at most", 1e-9),
                seconds=time.perf_counter() - start,
            )
        )
    return found


def a_table(queries: int, candidates: int, *, levels: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], Flags]:
    """Scores drawn at random, from so many ``levels`` (0: all different), and five positives each."""
    generator = np.random.default_rng(seed)
    if levels:
        scores = generator.integers(0, levels, (queries, candidates)).astype(np.float32)
    else:
        scores = generator.permuted(np.tile(np.arange(candidates, dtype=np.float32), (queries, 1)), axis=1)
    relevant = np.zeros((queries, candidates), dtype=np.bool_)
    relevant[:, :POSITIVES] = True
    return scores, relevant


def largest_difference(queries: int = CHECKED, candidates: int = 200) -> dict[str, float]:
    """Between :func:`rank_metrics` and others' figures; with ties where the other has an answer for them.

    scikit-learn's NDCG is the mean over the orders of tied candidates, too. ir_measures breaks ties by id, so it
    is asked without any.
    """
    tied, tied_relevant = a_table(queries, candidates, levels=9, seed=1)
    ours = rank_metrics(tied, tied_relevant)
    theirs = sklearn_ndcg(tied, tied_relevant)
    found = {"scikit-learn's NDCG, with ties": _largest(ours, theirs)}
    scores, relevant = a_table(queries, candidates, levels=0, seed=2)
    found["ir_measures' P, R and nDCG"] = _largest(rank_metrics(scores, relevant), ir_measures_of(scores, relevant))
    return found


def _largest(ours: dict[str, Table], theirs: dict[str, Table]) -> float:
    return max(float(np.abs(ours[name] - values).max()) for name, values in theirs.items())


def sklearn_ndcg(scores: npt.NDArray[np.float32], relevant: Flags) -> dict[str, Table]:
    """``ndcg@k`` of each query."""
    ndcg = _imported("sklearn.metrics", "scikit-learn").ndcg_score
    return {
        f"ndcg@{k}": np.array([ndcg([hit], [row], k=k) for hit, row in zip(relevant, scores, strict=True)]) for k in KS
    }


def ir_measures_of(scores: npt.NDArray[np.float32], relevant: Flags) -> dict[str, Table]:
    """Every figure of each query."""
    ir_measures = _imported("ir_measures", "ir_measures")
    queries, candidates = scores.shape
    truth = [ir_measures.Qrel(str(q), str(c), 1) for q in range(queries) for c in np.flatnonzero(relevant[q])]
    ranked = [
        ir_measures.ScoredDoc(str(q), str(c), float(scores[q, c])) for q in range(queries) for c in range(candidates)
    ]
    measures = {
        f"{name}@{k}": measure @ k
        for k in KS
        for name, measure in (("precision", ir_measures.P), ("recall", ir_measures.R), ("ndcg", ir_measures.nDCG))
    }
    found: dict[str, Table] = {name: np.zeros(queries) for name in measures}
    name_of = {str(measure): name for name, measure in measures.items()}
    for answer in ir_measures.iter_calc(list(measures.values()), truth, ranked):
        found[name_of[str(answer.measure)]][int(answer.query_id)] = answer.value
    return found


def _imported(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        what = f"the package {package} is not installed, and metrics are compared with it"
        raise MissingPartError(what, fix="pip install 'semctl[test]'") from None
