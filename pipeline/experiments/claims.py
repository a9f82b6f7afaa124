"""Whether what the paper says of its figures holds here, paired by query and by repetition, or cannot be told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from pipeline.experiments.declaration import Claim
from pipeline.experiments.summary import RowSummary, compare, label_heading, percent_interval
from schemas.json_form import json_form
from semantic_model.evaluation.metrics import Interval

Answer = Literal["holds here", "does not hold here", "cannot be told here", "for people to look at", "not measured"]


@dataclass(frozen=True)
class Compared:
    """One row against another, by one measure."""

    row: str
    other: str
    measure: str
    difference: float  # of the means, a fraction of 1
    dialogues: Interval  # 95 %, whole dialogues drawn again
    # 95 % over pairs of runs of the same seed and fold, by Student's t; None of a single pair
    repetitions: Interval | None

    @property
    def low(self) -> float:
        """The lowest that either interval allows."""
        return min(self.dialogues.low, self.dialogues.low if self.repetitions is None else self.repetitions.low)

    @property
    def high(self) -> float:
        """The highest that either interval allows."""
        return max(self.dialogues.high, self.dialogues.high if self.repetitions is None else self.repetitions.high)

    @property
    def text(self) -> str:
        """``SeMANTIC - MHRED: +4.1 NDCG@5 (2.0 to 6.2)``, points."""
        ends = percent_interval(Interval(self.low, self.high))
        once = "" if self.repetitions is not None else ", of a single repetition"
        return f"{self.row} - {self.other}: {100 * self.difference:+.1f} {label_heading(self.measure)} ({ends}{once})"


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    claim: Claim
    answer: Answer
    compared: tuple[Compared, ...]

    def as_json(self) -> dict[str, Any]:
        """The JSON form; figures are fractions of 1."""
        compared = [{**json_form(each), "low": each.low, "high": each.high} for each in self.compared]
        return {**self.claim.model_dump(), "answer": self.answer, "compared": compared}


def verdict(claim: Claim, rows: Mapping[str, RowSummary]) -> Verdict:
    """Compare the rows that a claim names.

    It holds when it does so of every pair, as far as dialogues drawn again and repetitions tell; it does not when it
    certainly fails for one. A single repetition tells nothing.

    Args:
        claim: what is claimed.
        rows: name that the claim uses -> our row; those that were not measured are not there.
    """
    if claim.better is not None:
        pairs = [(claim.better, other) for other in claim.than]
    elif claim.to is not None:
        pairs = [(name, claim.to) for name in claim.close]
    else:
        return Verdict(claim, "for people to look at", ())
    compared = [
        found
        for row, other in pairs
        if row in rows and other in rows
        for measure in claim.metrics
        if (found := compared_rows(row, rows[row], other, rows[other], measure)) is not None
    ]
    if len(compared) < len(pairs) * len(claim.metrics):
        return Verdict(claim, "not measured", tuple(compared))
    if claim.better is not None:
        yes, no = all(each.low > 0 for each in compared), any(each.high < 0 for each in compared)
        if claim.denied:
            yes, no = all(each.high < 0 for each in compared), any(each.low > 0 for each in compared)
    else:
        near = claim.within / 100
        yes = all(-near <= each.low and each.high <= near for each in compared)
        no = any(each.low > near or each.high < -near for each in compared)
    if any(each.repetitions is None for each in compared):
        yes = no = False  # how far another seed would move it is not known
    answer: Answer = "holds here" if yes else "does not hold here" if no else "cannot be told here"
    return Verdict(claim, answer, tuple(compared))


def compared_rows(name: str, row: RowSummary, other_name: str, other: RowSummary, measure: str) -> Compared | None:
    """One row against another; None where they were not measured on the same queries."""
    try:
        difference, dialogues = compare(row, other, measure)
    except ValueError:
        return None
    return Compared(name, other_name, measure, difference, dialogues, _repetitions(row, other, measure))


def _repetitions(row: RowSummary, other: RowSummary, measure: str) -> Interval | None:
    """Of the mean difference over pairs of runs of the same seed and fold; with folds, of each fold's mean."""
    pairs: dict[int, list[float]] = defaultdict(list)
    there = {(part.seed, part.fold): part.evaluation.means[measure] for part in other.parts}
    for number, part in enumerate(row.parts):
        found = there.get((part.seed, part.fold))
        if found is not None:
            pairs[number if part.fold is None else part.fold].append(part.evaluation.means[measure] - found)
    values = np.array([np.mean(each) for each in pairs.values()])
    if len(values) < 2:
        return None
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / len(values) ** 0.5)
    return Interval(float(values.mean()) - half, float(values.mean()) + half)
