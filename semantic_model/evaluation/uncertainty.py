"""How sure trained rankers are of contexts nobody labelled, and where these lie among each other.

Rankings become probabilities over the whole catalogue, by the softmax that training used: of a grounded model's
log-odds, else of the scaled cosines. Products with one score share a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from schemas.belief import BeliefState
from schemas.errors import ModelError
from schemas.progress import Progress, SilentProgress
from semantic_model.data.records import FloatArray, Product, Query
from semantic_model.data.rows import moved
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
    tables = [judge.ranker.encode_products(judge.products) for judge in judges]
    found = []
    for part in _parts(judges[0], progress, "asking the runs"):
        encoded = [judge.ranker.encode_contexts(judge.queries[part]) for judge in judges]
        for block in _blocks(judges[0], part):
            found.append(
                jensen_shannon(
                    [
                        log_probabilities(judge.ranker, judge.ranker.score(contexts[block], table))
                        for judge, contexts, table in zip(judges, encoded, tables, strict=True)
                    ]
                )
            )
    return np.concatenate(found)


def has_teacher(ranker: Ranker) -> bool:
    """Whether the model also reads states."""
    return isinstance(network_of(ranker), HasTeacher)


def teacher_disagreement(judge: Judge, states: Sequence[BeliefState], progress: Progress | None = None) -> Numbers:
    """How much the student's ranking differs from the teacher's, who is told these states: [Q].

    Args:
        judge: its ranker has a teacher.
        states: one a query. Nobody labelled them: they are guesses from the words, say.
    """
    ranker, found = judge.ranker, []
    table = ranker.encode_products(judge.products)
    for part in _parts(judge, progress, "asking student and teacher"):
        student = ranker.encode_contexts(judge.queries[part])
        teacher = _taught(ranker, student, states[part])
        for block in _blocks(judge, part):
            both = (student[block], teacher[block])
            found.append(jensen_shannon([log_probabilities(ranker, ranker.score(some, table)) for some in both]))
    return np.concatenate(found)


@torch.inference_mode()
def _taught(ranker: Ranker, student: Any, states: Sequence[BeliefState]) -> Any:
    assert isinstance(ranker, NetworkRanker)
    network = ranker.model
    assert isinstance(network, HasTeacher)
    return network.taught(student, moved(ranker.reader.states(states), ranker.device))


def ranking_margins(judge: Judge, progress: Progress | None = None) -> Numbers:
    """:func:`margin` of each context's ranking [Q]."""
    table = judge.ranker.encode_products(judge.products)
    found = []
    for part in _parts(judge, progress, "asking the run"):
        contexts = judge.ranker.encode_contexts(judge.queries[part])
        for block in _blocks(judge, part):
            found.append(margin(log_probabilities(judge.ranker, judge.ranker.score(contexts[block], table))))
    return np.concatenate(found)


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


def _blocks(judge: Judge, part: slice) -> Iterator[slice]:
    """Cut the contexts of a part so that their tables of scores stay within bounds."""
    step = max(1, _CELLS // max(1, len(judge.products)))
    count = part.stop - part.start
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
