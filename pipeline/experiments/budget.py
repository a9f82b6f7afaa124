"""What more labels are expected to bring: learning curves through the rows of a grid that differ in the ratio alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.experiments.summary import Part, RowSummary, label_heading
from pipeline.selection.state_curve import fold_curve
from pipeline.selection.stop_signal import LearningCurve, Point, learning_curve
from schemas.errors import InputError
from schemas.json_form import json_form
from semantic_model.evaluation.metrics import Interval

Numbers = npt.NDArray[np.float64]

_FAR = 2  # times the most that was measured: beyond, it is a guess


@dataclass(frozen=True)
class Gain:
    """What is expected of one measure, a fraction of 1."""

    gain: float
    interval: Interval  # 95 %

    @property
    def text(self) -> str:
        """``+1.1 ± 0.6``, points."""
        return f"{round(100 * self.gain, 1) + 0.0:+.1f} ± {100 * (self.interval.high - self.interval.low) / 2:.1f}"


@dataclass(frozen=True)
class BudgetAnswer:
    """What more labelled dialogues are expected to bring to one model."""

    model: str  # name of its rows
    # before, after: dialogues labelled
    before: int
    after: int
    gains: Mapping[str, Gain]  # measure -> gain
    missing: Mapping[str, str]  # measure -> why nothing can be said of it

    @property
    def text(self) -> str:
        """The answer in words."""
        more = f"{self.after - self.before:,} more labelled dialogues"
        if not self.gains:
            return (
                f"{self.model}: what {more} would bring is not known: {'; '.join(dict.fromkeys(self.missing.values()))}"
            )
        each = [f"{gain.text} {label_heading(name)}" for name, gain in self.gains.items()]
        listed = " and ".join([", ".join(each[:-1]), each[-1]] if len(each) > 1 else each)
        said = f"{self.model}: {more}, on top of {self.before:,}, are expected to bring {listed} (± is 95 %)"
        nothing = [
            label_heading(name) for name, gain in self.gains.items() if gain.interval.low <= 0 <= gain.interval.high
        ]
        if nothing:
            said += f"; {', '.join(nothing)}: cannot be told from nothing"
        if self.missing:
            said += f"; not known: {'; '.join(dict.fromkeys(self.missing.values()))}"
        if self.after > _FAR * self.before:
            said += f"; {self.after:,} are more than twice the {self.before:,} measured: a guess"
        return said

    def as_json(self) -> dict[str, Any]:
        """The JSON form; figures are fractions of 1."""
        return {**json_form(self), "text": self.text}


def budget_answers(rows: Sequence[RowSummary], more: int, measures: Sequence[str]) -> list[BudgetAnswer]:
    """An answer for each model that was trained at several ratios.

    Args:
        rows: of a grid; those without a ratio do not count.
        more: how many labelled dialogues more than the most that a run here had.
        measures: of :attr:`RowSummary.figures` or :attr:`RowSummary.states`.
    """
    by_model: dict[str, list[RowSummary]] = defaultdict(list)
    for row in rows:
        if row.ratio is not None and not row.floor:
            by_model[row.name].append(row)
    answers = []
    for model, own in by_model.items():
        before = round(max(_labelled(row) for row in own))
        gains, missing = dict[str, Gain](), dict[str, str]()
        for measure in measures:
            if not any(row.measure(measure) for row in own):
                continue  # a model that predicts no states that can be read
            try:
                curve = _curve(own, measure)
            except InputError as problem:
                missing[measure] = problem.what
                continue
            if curve.curve.at(before + more) > 1:
                missing[measure] = f"the curve of {label_heading(measure)} rises past 100 %: the runs are too few"
            else:
                gains[measure] = Gain(*curve.gain(before, before + more))
        answers.append(BudgetAnswer(model, before, before + more, gains, missing))
    return answers


def _labelled(row: RowSummary) -> float:
    return float(np.mean([part.labelled or 0 for part in row.parts]))


def _curve(rows: Sequence[RowSummary], measure: str) -> LearningCurve:
    """The curve of a measure: over seeds on the same queries, or over folds.

    Raises:
        InputError: too few ratios, seeds or folds, or nothing to be counted.
    """
    rows = sorted(rows, key=_labelled)
    if any(row.folds for row in rows):
        return _of_folds(rows, measure)
    points, asked = [], list[list[str]]()
    for row in rows:
        for part in row.parts:
            scores, of, dialogues = _counted(part, measure)
            points.append(Point(part.labelled or 0, scores, of))
            asked.append(dialogues)
    if any(each != asked[0] for each in asked):
        raise InputError("its runs were measured on different queries")
    return learning_curve(points, asked[0])


def _of_folds(rows: Sequence[RowSummary], measure: str) -> LearningCurve:
    complete = [sorted({part.fold for part in row.parts if part.fold is not None}) for row in rows]
    if len(rows) < 3 or len(complete[0]) < 2 or any(folds != complete[0] for folds in complete):
        raise InputError("too few runs for a learning curve: it takes three ratios, each on the same two folds or more")
    right, said = (np.zeros((len(complete[0]), len(rows))) for _ in range(2))
    for at, row in enumerate(rows):
        for part in row.parts:
            scores, of, _ = _counted(part, measure)
            place = complete[0].index(part.fold or 0)
            right[place, at] += scores.sum()
            said[place, at] += of.sum()
    if not said.all():
        raise InputError("there is nothing to be counted in a fold")
    return fold_curve(np.array([_labelled(row) for row in rows]), right, said)


def _counted(part: Part, measure: str) -> tuple[Numbers, Numbers, list[str]]:
    """Numerators and denominators of a run's figure, and the dialogue of each."""
    if measure in part.evaluation.per_query:
        scores = part.evaluation.per_query[measure]
        return scores, np.ones_like(scores), [dialogue for dialogue, _ in part.evaluation.queries]
    if part.states is None:
        raise InputError("a run of it has no states")
    fractions = np.array(part.states.fractions[measure], dtype=np.float64)
    return fractions[:, 0], fractions[:, 1], list(part.states.dialogues)
