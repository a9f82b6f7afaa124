"""What labels are worth in belief states: the learning curves of the state tracker on the labels that are there.

The labelled dialogues are cut into folds. Of each, the others teach trackers, none of them first (these are its rules),
then few and more in one order, which read the states of the fold. Value F1 and joint goal accuracy of all folds
together, against how many taught the tracker, get the curve of :mod:`pipeline.selection.stop_signal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from annotate.assignment.selection_strategies import seeded_order
from pipeline.selection.stop_signal import Curve, LearningCurve, fit_curves
from schemas.errors import LabelError
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.state_metrics import Hits, StateFigures
from semantic_model.states.tracker import FEWEST_DIALOGUES, LabelledDialogue, fit_tracker
from semantic_model.states.turn_reading import Choice

Numbers = npt.NDArray[np.float64]

MEASURES = ("value_f1", "jga")

FEWEST = 2 * FEWEST_DIALOGUES
"""Labelled dialogues without which there is no curve: the tracker learns from 20 on, and it takes several sizes."""

_FOLDS = 10
_SIZES = 3  # beside nothing labelled
_MOST_TAUGHT = 400
_MOST_READ = 40
"""Dialogues that a tracker learns from, and that it reads, at most: with more labels the curve takes no longer."""


@dataclass(frozen=True)
class StateCurves:
    """How well states are read, by the number of labelled dialogues."""

    sizes: tuple[int, ...]  # how many dialogues taught the trackers
    figures: Mapping[str, tuple[float, ...]]  # measure -> of all folds together, at each size
    curves: Mapping[str, LearningCurve]  # measure -> its curve
    dialogues: int  # that were read, each by trackers that did not learn from it
    folds: int = _FOLDS

    def as_json(self) -> dict[str, Any]:
        """The JSON form; figures are fractions of 1."""
        return {**json_form(self, "curves"), "curves": {name: json_form(it.curve) for name, it in self.curves.items()}}


def state_curves(
    labelled: Mapping[str, LabelledDialogue],
    ontology: Ontology,
    images: Mapping[str, frozenset[Choice]],
    progress: Progress,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> StateCurves:
    """Teach trackers with parts of these dialogues, and read the others with them.

    Args:
        labelled: dialogues that are labelled wholly.
        ontology: their slots and values.
        images: of each image, the slots and values of the product in it.
        progress: shows a bar.
        samples: of the bootstrap.
        seed: of the folds, and of the order in which dialogues teach.

    Raises:
        LabelError: fewer than :data:`FEWEST` dialogues, or no value in the states of a fold.
    """
    if len(labelled) < FEWEST:
        raise LabelError(
            f"{len(labelled)} wholly labelled dialogues are too few for a learning curve, it takes {FEWEST}"
        )
    order = seeded_order(list(labelled), seed)
    parts = [order[part::_FOLDS] for part in range(_FOLDS)]
    largest = min(len(order) - len(parts[0]), _MOST_TAUGHT)
    taught = np.unique(np.geomspace(FEWEST_DIALOGUES, largest, _SIZES).round().astype(np.int64))
    sizes = np.concatenate([[0], taught])
    right, said = (np.zeros((len(MEASURES), _FOLDS, len(sizes))) for _ in range(2))
    asked = list(product(range(_FOLDS), enumerate(sizes.tolist())))
    for part, (at, size) in progress.track(asked, "teaching the state tracker"):
        held = set(parts[part])
        others = seeded_order([name for name in order if name not in held], seed + 1 + part)
        tracker = fit_tracker([labelled[name] for name in sorted(others[:size])], ontology, images)
        figures = StateFigures()
        for name in parts[part][:_MOST_READ]:
            for read in tracker.track(labelled[name].rows):
                figures.add(read.state, labelled[name].states[read.turn] or ())
        hits = sum(figures.values.values(), Hits())
        right[:, part, at] = 2 * hits.right, figures.exact
        said[:, part, at] = 2 * hits.right + hits.wrong + hits.missing, figures.turns
    if not said.all():
        raise LabelError("the labelled states hold too few values for a curve of states")
    curves = {
        name: fold_curve(
            sizes.astype(np.float64), right[row], said[row], least=FEWEST_DIALOGUES, samples=samples, seed=seed
        )
        for row, name in enumerate(MEASURES)
    }
    together = right.sum(axis=1) / said.sum(axis=1)
    return StateCurves(
        tuple(sizes.tolist()),
        {name: tuple(together[row].tolist()) for row, name in enumerate(MEASURES)},
        curves,
        sum(len(part[:_MOST_READ]) for part in parts),
    )


def fold_curve(
    sizes: Numbers, right: Numbers, said: Numbers, *, least: float | None = None, samples: int = 2000, seed: int = 0
) -> LearningCurve:
    """The curve of a ratio that was measured in folds, one after the other, at several sizes.

    A sample draws folds again, each with all its sizes: what makes a fold easy or hard does so at every size, and is no
    gain. Its deviation is widened twice. F folds spread less about their own mean than about the true one: by
    sqrt(F / chi^2) with F - 1 degrees of freedom, as in :func:`pipeline.selection.stop_signal.learning_curve`. And what
    teaches in one fold teaches in nearly all others, so that they err alike: by sqrt(1 + F / (F - 1)), the correction
    of Nadeau and Bengio (2003) for F-fold cross-validation.

    Args:
        sizes: three different ones at least [S].
        right, said: numerator and denominator of the ratio [F, S]; no denominator is 0.
        least: fewer dialogues do not bring half of what endless ones do; None: a quarter of the smallest size.
        samples: B.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    folds = len(right)
    times = generator.multinomial(folds, np.full(folds, 1.0 / folds), size=samples).astype(np.float64)  # [B, F]
    centre = right.sum(axis=0) / said.sum(axis=0)
    alike = 1 + folds / (folds - 1)
    widened = np.sqrt(alike * folds / generator.chisquare(folds - 1, size=(samples, 1)))
    again = centre + ((times @ right) / (times @ said) - centre) * widened
    counts = np.full(len(sizes), float(folds))
    fitted = fit_curves(sizes, counts, centre[None], least=least)[0]
    return LearningCurve(
        Curve(*fitted.tolist()), fit_curves(sizes, counts, again, least=least), int(sizes[-1]), right.size
    )
