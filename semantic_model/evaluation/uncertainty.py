"""How sure trained rankers are of contexts nobody labelled, and where these lie among each other.

Rankings become probabilities over the whole catalogue, by the softmax that training used: of a grounded model's
log-odds, else of the scaled cosines. Products with one score share a place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.belief import BeliefState
from schemas.errors import ModelError
from schemas.progress import Progress, SilentProgress
from semantic_model.data.records import FloatArray, Product, Query
from semantic_model.ranking.network_ranker import NetworkRanker, network_of
from semantic_model.ranking.ranker import HasLogOdds, HasPlaces, HasTeacher, Ranker

Numbers = npt.NDArray[np.float64]

_CELLS = 1 << 21  # probabilities of one judge held at a time
_CHUNK = 512  # contexts encoded at a time


@dataclass(frozen=True)
class Judge:
    """A trained ranker, and the contexts that it is asked about."""

    ranker: Ranker  # of a run
    products: Sequence[Product]  # the catalogue [N]
    queries: Sequence[Query]  # [Q]; several judges have the same dialogues and turns in the same order


def log_probabilities(ranker: Ranker, scores: FloatArray) -> Numbers:
    """Scores of the whole catalogue as log-probabilities: [B, N] -> [B, N].

    A model says what its scores come to as log-odds (:class:`semantic_model.ranking.ranker.HasLogOdds`).
    """
    network = network_of(ranker)
    logits = scores.astype(np.float64)
    if isinstance(network, HasLogOdds):
        logits = network.log_odds(logits)
    logits = logits - logits.max(axis=1, keepdims=True)
    found: Numbers = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return found


def jensen_shannon(log_p: Sequence[Numbers]) -> Numbers:
    """The generalised Jensen-Shannon divergence of K distributions, as a share of its largest: K x [B, N] -> [B].

        (H(mean of p_k) - mean of H(p_k)) / log K

    0 when all agree, 1 when no two have anything in common. It is what a label is expected to tell about which of the
    K is right (Lin 1991; Houlsby et al. 2011).
    """
    mean = np.logaddexp.reduce(np.stack(log_p)) - np.log(len(log_p))
    divergence = np.mean([(np.exp(each) * (each - mean)).sum(axis=1) for each in log_p], axis=0)
    found: Numbers = np.clip(divergence / np.log(len(log_p)), 0.0, 1.0)
    return found


def margin(log_p: Numbers) -> Numbers:
    """By how much the most probable product is ahead of the next that is not tied with it: [B, N] -> [B], 0 to 1.

    A catalogue whose products all tie has no margin.
    """
    p = np.exp(log_p)
    first = p.max(axis=1)
    second = np.where(p < first[:, None], p, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(second), first - second, 0.0)


def seed_disagreement(judges: Sequence[Judge], progress: Progress | None = None) -> Numbers:
    """How much the rankings of two and more judges differ in each context: :func:`jensen_shannon`, [Q]."""
    return np.concatenate([jensen_shannon(each) for each in _rankings(judges, _student, progress, "asking the runs")])


def has_teacher(ranker: Ranker) -> bool:
    """Whether the model also reads states."""
    return isinstance(network_of(ranker), HasTeacher)


def teacher_disagreement(judge: Judge, states: Sequence[BeliefState], progress: Progress | None = None) -> Numbers:
    """How much the student's ranking differs from the teacher's, who is told these states: [Q].

    Args:
        judge: its ranker has a teacher.
        states: one a query. Nobody labelled them: they are guesses from the words, say.
    """

    def student_and_teacher(judge: Judge, part: slice) -> list[Any]:
        assert isinstance(judge.ranker, NetworkRanker)
        student = judge.ranker.encode_contexts(judge.queries[part])
        return [student, judge.ranker.told(student, states[part])]

    both = _rankings([judge], student_and_teacher, progress, "asking student and teacher")
    return np.concatenate([jensen_shannon(each) for each in both])


def ranking_margins(judge: Judge, progress: Progress | None = None) -> Numbers:
    """:func:`margin` of each context's ranking [Q]."""
    return np.concatenate([margin(log_p) for (log_p,) in _rankings([judge], _student, progress, "asking the run")])


def _student(judge: Judge, part: slice) -> list[Any]:
    return [judge.ranker.encode_contexts(judge.queries[part])]


def _rankings(
    judges: Sequence[Judge], encode: Callable[[Judge, slice], list[Any]], progress: Progress | None, title: str
) -> Iterator[list[Numbers]]:
    """Block by block, the log-probabilities by each judge of all that it encodes of the block's contexts."""
    tables = [judge.ranker.encode_products(judge.products) for judge in judges]
    step = max(1, _CELLS // max(1, len(judges[0].products)))  # so that tables of scores stay within bounds
    for part in _parts(judges[0], progress, title):
        asked = [
            (judge.ranker, table, contexts)
            for judge, table in zip(judges, tables, strict=True)
            for contexts in encode(judge, part)
        ]
        for start in range(0, part.stop - part.start, step):
            block = slice(start, min(start + step, part.stop - part.start))
            yield [log_probabilities(ranker, ranker.score(contexts[block], table)) for ranker, table, contexts in asked]


def context_vectors(judge: Judge, progress: Progress | None = None) -> FloatArray:
    """Where each context lies, in parts of length one [Q, D].

    Raises:
        ModelError: the contexts of this kind of model lie nowhere.
    """
    network = network_of(judge.ranker)
    if not isinstance(network, HasPlaces):
        raise ModelError(
            f"contexts of a {judge.ranker.name} have no vectors", fix="name a run of another kind of model"
        )
    found = []
    for part in _parts(judge, progress, "encoding contexts"):
        encoded = judge.ranker.encode_contexts(judge.queries[part])
        found.append(network.places(encoded).float().cpu().numpy())
    return np.concatenate(found)


def _parts(judge: Judge, progress: Progress | None, title: str) -> Iterator[slice]:
    with (progress or SilentProgress()).task(title, len(judge.queries)) as task:
        for start in range(0, len(judge.queries), _CHUNK):
            stop = min(start + _CHUNK, len(judge.queries))
            yield slice(start, stop)
            task.advance(stop - start)
