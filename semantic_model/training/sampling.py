"""Which contexts a step trains on, and against which products: a function of the seed, the epoch and the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from semantic_model.config.sections import JointTrainConfig, TrainConfig
from semantic_model.data.records import Query
from semantic_model.ranking.candidates import Choices

Rows = npt.NDArray[np.int64]
Part = Literal["D_F", "D_P"]


class Step(NamedTuple):
    """One step of an epoch: the set it is drawn from, and rows into that set's examples."""

    part: Part
    rows: Rows


class Sampled(NamedTuple):
    """The products of a step and the candidates among them."""

    products: Rows | None  # product rows; None: the whole catalogue, in order
    choices: Choices


def epoch_steps(config: JointTrainConfig, sizes: dict[Part, int], *, seed: int, epoch: int) -> list[Step]:
    """The steps of an epoch: a shuffled pass over D_F, then one over D_P (section 4.4), or both in turns."""
    passes: dict[Part, list[Step]] = {}
    for number, (part, size) in enumerate(sizes.items()):
        order = np.random.default_rng([seed, epoch, number]).permutation(size)
        passes[part] = [Step(part, order[at : at + config.batch_size]) for at in range(0, size, config.batch_size)]
    if config.schedule == "sequential":
        return [step for steps in passes.values() for step in steps]
    placed = [
        ((i + 0.5) / len(steps), n, step) for n, steps in enumerate(passes.values()) for i, step in enumerate(steps)
    ]
    return [step for _, _, step in sorted(placed, key=lambda item: item[:2])]


def sample(
    queries: Sequence[Query], config: TrainConfig, products: int, *, seed: int, epoch: int, step: int
) -> Sampled:
    """Draw each context's positives and negatives (1:4 in the paper), without replacement.

    Negatives are the listed ones; where too few are listed, the rest is drawn from the catalogue.
    """
    generator = np.random.default_rng([seed, epoch, step, 7])
    P, N = config.positives, config.negatives
    positives = np.full((len(queries), P), -1, dtype=np.int64)
    negatives = np.full((len(queries), N), -1, dtype=np.int64)
    for b, query in enumerate(queries):
        right = _draw(generator, query.positives, P)
        wrong = _draw(generator, query.negatives, N)
        taken = {*query.positives, *wrong}
        tries = 0
        while len(wrong) < N and len(taken) < products and tries < 100 * N:
            row, tries = int(generator.integers(products)), tries + 1
            if row not in taken:
                taken.add(row)
                wrong.append(row)
        positives[b, : len(right)] = right
        negatives[b, : len(wrong)] = wrong
    if config.rank_candidates == "all":
        return Sampled(None, Choices(_tensor(positives), _tensor(negatives), _relevant(queries, None, products)))
    rows = np.unique(np.concatenate([positives[positives >= 0], negatives[negatives >= 0]]))
    placed = (np.where(part >= 0, np.searchsorted(rows, part), -1) for part in (positives, negatives))
    right_at, wrong_at = placed
    relevant = _relevant(queries, rows, products) if config.rank_candidates == "batch" else None
    return Sampled(rows, Choices(_tensor(right_at), _tensor(wrong_at), relevant))


def _draw(generator: np.random.Generator, rows: Sequence[int], n: int) -> list[int]:
    if len(rows) <= n:
        return list(rows)
    return [rows[i] for i in generator.choice(len(rows), size=n, replace=False).tolist()]


def _relevant(queries: Sequence[Query], rows: Rows | None, products: int) -> torch.Tensor:
    column = np.arange(products) if rows is None else np.full(products, -1)
    if rows is not None:
        column[rows] = np.arange(len(rows))
    found = torch.zeros(len(queries), products if rows is None else len(rows), dtype=torch.bool)
    for b, query in enumerate(queries):
        at = column[list(query.positives)]
        found[b, torch.from_numpy(at[at >= 0])] = True
    return found


def _tensor(rows: Rows) -> torch.Tensor:
    return torch.from_numpy(rows)
