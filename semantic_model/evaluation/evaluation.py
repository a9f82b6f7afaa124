"""How well a ranker finds what was recommended: among listed candidates, 5:1000, or the whole catalogue (section 4.1).

Products are encoded once, contexts once, in chunks whose score tables stay small. Candidates depend on the query and
the seed alone, so every ranker is measured on the same ones.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from schemas.errors import UsageError
from schemas.progress import Progress, SilentProgress
from semantic_model.data.corpus import Corpus, as_listed
from semantic_model.data.records import Query
from semantic_model.evaluation.metrics import (
    KS,
    Formula,
    Interval,
    bootstrap_intervals,
    mean_metrics,
    rank_metrics,
    release_rank_metrics,
)
from semantic_model.ranking.ranker import Ranker

CandidateKind = Literal["listed", "1000", "all", "release"]
"""What a query's positives are ranked against.

``listed``: the wrong candidates that the corpus lists for the turn. ``1000``: the paper's 5:1000, at most five
positives and 1,000 negatives, the listed ones first and the rest drawn from the catalogue (fewer when it is smaller).
``all``: every other product of the catalogue. ``release``: the references as the corpus lists them, the first 5 right
and the first 1,000 wrong ones; one listed twice counts twice, and a wrong one may be right, too.
"""

CANDIDATE_KINDS: tuple[CandidateKind, ...] = get_args(CandidateKind)

_POSITIVES = 5
_NEGATIVES = 1000
_CELLS = 1 << 22  # scores held at a time
_CHUNK = 512  # queries encoded at a time


class CandidateSet(NamedTuple):
    """Candidates of B queries."""

    # [B, C] product rows, ascending (the same one twice in ``release`` only), then -1 for padding; None stands for the
    # whole catalogue in order. Where the positives stand tells nothing, so that rounding that differs by position
    # favours nobody.
    rows: npt.NDArray[np.int64] | None
    relevant: npt.NDArray[np.bool_]  # [B, C] bool, the positives
    valid: npt.NDArray[np.bool_] | None  # [B, C] bool, False for padding; None when there is none


@dataclass(frozen=True)
class Evaluation:
    """The figures of one ranker on one split."""

    name: str  # the ranker's name
    queries: tuple[tuple[str, int], ...]  # dialogue and turn of each query measured, in order
    per_query: dict[str, npt.NDArray[np.float64]]  # metric -> [Q] float64
    # reason -> how many queries could not be measured: ``no_positives``, ``no_negatives`` (nothing to be ranked
    # against, so every order is perfect), or ``too_few_negatives``
    skipped: dict[str, int]

    @cached_property
    def means(self) -> dict[str, float]:
        """Metric -> macro mean over queries, a fraction of 1."""
        return mean_metrics(self.per_query)[0]

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Metric -> 95 % bootstrap interval of the mean, drawing whole dialogues."""
        return bootstrap_intervals(self.per_query, [dialogue for dialogue, _ in self.queries])


def evaluate_ranker(
    ranker: Ranker,
    corpus: Corpus,
    split: str,
    candidates: CandidateKind,
    *,
    ks: Sequence[int] = KS,
    formula: Formula = "standard",
    min_negatives: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Rank the candidates of every recommendation turn of a split.

    Args:
        ranker: what to measure.
        corpus: the catalogue and the dialogues.
        split: train, valid or test.
        candidates: what the positives are ranked against; see :data:`CandidateKind`.
        ks: cut-offs.
        formula: of the metrics; see :data:`semantic_model.evaluation.metrics.FORMULAS`.
        min_negatives: queries with fewer wrong candidates are left out.
        seed: draws the negatives of ``1000``.
        progress: shows a bar over queries.

    Raises:
        UsageError: the split has no recommendation turns (names those that have), or none that can be measured.
        CorpusError: ``release``, and the corpus does not say what was listed.
        ModelError: the ranker gave a score that is not a number.
    """
    shown = progress or SilentProgress()
    measure = rank_metrics if formula == "standard" else release_rank_metrics
    queries, skipped = _measurable(corpus, split, candidates, min_negatives)
    table = ranker.encode_products(corpus.products)
    parts: list[dict[str, npt.NDArray[np.float64]]] = []
    with shown.task(f"ranking with {ranker.name}", total=len(queries)) as task:
        for start in range(0, len(queries), _CHUNK):
            chunk = queries[start : start + _CHUNK]
            contexts = ranker.encode_contexts(chunk)
            for low, high in _blocks(chunk, len(corpus.products), candidates):
                chosen = candidate_set(chunk[low:high], len(corpus.products), candidates, seed=seed)
                scores = ranker.score(contexts[low:high], table, chosen.rows)
                parts.append(measure(scores, chosen.relevant, chosen.valid, ks))
                task.advance(high - low)
    per_query = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Evaluation(ranker.name, tuple((q.dialogue_id, q.turn) for q in queries), per_query, skipped)


def _measurable(
    corpus: Corpus, split: str, kind: CandidateKind, min_negatives: int
) -> tuple[list[Query], dict[str, int]]:
    queries = corpus.queries(split)
    if not queries:
        there = {name: len(corpus.queries(name)) for name in sorted(set(corpus.splits.values()))}
        names = ", ".join(f"{name} ({count})" for name, count in there.items() if count)
        fix = f"splits with recommendation turns: {names}" if names else "import dialogues that recommend products"
        raise UsageError(f"the split '{split}' has no recommendation turns", fix=fix)
    if kind == "release":
        queries = as_listed(queries, corpus.listed, corpus.product_rows, positives=_POSITIVES, negatives=_NEGATIVES)
    kept: list[Query] = []
    skipped: Counter[str] = Counter()
    for query in queries:
        listed = kind in ("listed", "release")
        against = len(query.negatives) if listed else len(corpus.products) - len(set(query.positives))
        reason = "no_positives" if not query.positives else "no_negatives" if not against else None
        if reason is None and against < min_negatives:
            reason = "too_few_negatives"
        if reason is None:
            kept.append(query)
        else:
            skipped[reason] += 1
    if not kept:
        raise UsageError(
            f"no recommendation turn of the split '{split}' can be ranked among '{kind}' candidates: "
            + ", ".join(f"{count} have {reason.replace('_', ' ')}" for reason, count in sorted(skipped.items())),
            fix="use --candidates all" if kind == "listed" else "import a larger catalogue",
        )
    return kept, dict(skipped)


def _blocks(queries: Sequence[Query], products: int, kind: CandidateKind) -> Iterator[tuple[int, int]]:
    """Cut queries into runs whose score tables stay within bounds."""
    if kind in ("listed", "release"):
        width = max(len(query.positives) + len(query.negatives) for query in queries)
    else:
        width = products if kind == "all" else min(products, _POSITIVES + _NEGATIVES)
    step = max(1, _CELLS // max(1, width))
    for low in range(0, len(queries), step):
        yield low, min(low + step, len(queries))


def candidate_set(queries: Sequence[Query], products: int, kind: CandidateKind, *, seed: int = 0) -> CandidateSet:
    """The candidates of some queries.

    Args:
        queries: B queries.
        products: how many products the catalogue has.
        kind: see :data:`CandidateKind`.
        seed: draws the negatives of ``1000``, for each query by its dialogue and turn.
    """
    if kind == "all":
        relevant = np.zeros((len(queries), products), dtype=bool)
        for row, query in enumerate(queries):
            relevant[row, list(query.positives)] = True
        return CandidateSet(None, relevant, None)
    are_listed = kind in ("listed", "release")
    chosen = [
        (query.positives, query.negatives) if are_listed else _five_to_a_thousand(query, products, seed)
        for query in queries
    ]
    width = max((len(right) + len(wrong) for right, wrong in chosen), default=0)
    rows = np.full((len(queries), width), -1, dtype=np.int64)
    relevant = np.zeros((len(queries), width), dtype=bool)
    for row, (right, wrong) in enumerate(chosen):
        candidates = np.array([*right, *wrong], dtype=np.int64)
        order = np.argsort(candidates)
        rows[row, : len(order)] = candidates[order]
        relevant[row, : len(order)] = order < len(right)
    return CandidateSet(rows, relevant, rows >= 0)


def _five_to_a_thousand(query: Query, products: int, seed: int) -> tuple[Sequence[int], Sequence[int]]:
    right = query.positives[:_POSITIVES]
    wrong = list(query.negatives[:_NEGATIVES])
    taken = {*query.positives, *wrong}  # a sixth positive is no negative
    missing = min(_NEGATIVES - len(wrong), products - len(taken))
    if missing > 0:
        generator = np.random.default_rng([seed, zlib.crc32(query.dialogue_id.encode()), query.turn])
        drawn = generator.choice(products, size=min(products, missing + len(taken)), replace=False)
        wrong += [row for row in drawn.tolist() if row not in taken][:missing]
    return right, wrong
