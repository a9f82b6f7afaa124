"""How several people's answers become one: by majority, by a reviewer alone, or weighted by how reliable people are.

How far each annotator can be trusted is estimated from nothing but their answers. Every item is true or not; an
annotator says yes to a true one with a probability of their own (sensitivity) and no to a false one with another
(specificity). Both, and how often items are true, are fitted by expectation maximisation: A. P. Dawid and A. M. Skene,
"Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm", Applied Statistics 28(1), 1979,
equations 2.3 to 2.5 for two classes.

Items are given as counts of answer patterns, so that memory goes with how many groups of people answered together and
not with how much they answered. With fewer than three people on an item the model is not identified: the fit then
stays where the majority put it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pattern = tuple[tuple[str, bool], ...]
"""Who said yes or no to an item, sorted by annotator."""


@dataclass(frozen=True)
class Reliability:
    """How one annotator answers."""

    sensitivity: float  # probability of a yes to what is true
    specificity: float  # probability of a no to what is not


@dataclass(frozen=True)
class DawidSkene:
    """A fitted model."""

    prevalence: float  # probability that an item is true
    reliability: Mapping[str, Reliability]  # annotator -> how they answer
    iterations: int  # rounds of expectation maximisation
    converged: bool  # whether the last one changed nothing worth mentioning

    def posterior(self, votes: Mapping[str, bool]) -> float:
        """Probability that an item is true, given who said yes (True) and who said no; equation 2.5."""
        log_odds = math.log(self.prevalence) - math.log1p(-self.prevalence)
        for annotator in sorted(votes):
            known = self.reliability.get(annotator)
            if known is None:
                continue
            if votes[annotator]:
                log_odds += math.log(known.sensitivity) - math.log1p(-known.specificity)
            else:
                log_odds += math.log1p(-known.sensitivity) - math.log(known.specificity)
        return 1 / (1 + math.exp(-log_odds)) if log_odds > 0 else math.exp(log_odds) / (1 + math.exp(log_odds))


def fit(
    patterns: Mapping[Pattern, float], *, smoothing: float = 1.0, tolerance: float = 1e-6, most_iterations: int = 500
) -> DawidSkene:
    """Fit the model; the same counts give the same model, in whatever order they come.

    Args:
        patterns: answer pattern -> number of items answered so. An item that nobody said yes to counts too.
        smoothing: imaginary items of each kind added to every rate: keeps rates off 0 and 1, where a single answer of
            a so far perfect annotator would outweigh everybody.
        tolerance: it has converged when no posterior moves by more.
        most_iterations: it stops there, converged or not.
    """
    import numpy as np

    order = sorted(patterns)
    names = sorted({annotator for pattern in order for annotator, _ in pattern})
    number = {name: position for position, name in enumerate(names)}
    weight = np.array([patterns[pattern] for pattern in order], dtype=np.float64)
    item = np.array([row for row, pattern in enumerate(order) for _ in pattern], dtype=np.int64)
    who = np.array([number[annotator] for pattern in order for annotator, _ in pattern], dtype=np.int64)
    said = np.array([vote for pattern in order for _, vote in pattern], dtype=np.float64)

    def per_annotator(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(who, weights=values, minlength=len(names)), dtype=np.float64)

    def per_item(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(item, weights=values, minlength=len(order)), dtype=np.float64)

    # the majority is where it starts; halves are as open as they look
    share = per_item(said) / np.maximum(per_item(np.ones_like(said)), 1)
    posterior = np.where(share > 0.5, 1.0, np.where(share < 0.5, 0.0, 0.5))
    iterations, converged = 0, False
    while True:
        true, false = weight * posterior, weight * (1 - posterior)
        prevalence = (true.sum() + smoothing) / (weight.sum() + 2 * smoothing)
        sensitivity = (per_annotator(true[item] * said) + smoothing) / (per_annotator(true[item]) + 2 * smoothing)
        specificity = (per_annotator(false[item] * (1 - said)) + smoothing) / (
            per_annotator(false[item]) + 2 * smoothing
        )
        if converged or iterations == most_iterations:
            break
        yes = np.log(sensitivity) - np.log1p(-specificity)
        no = np.log1p(-sensitivity) - np.log(specificity)
        log_odds = np.log(prevalence) - np.log1p(-prevalence) + per_item(np.where(said > 0, yes[who], no[who]))
        moved = 0.5 * (1 + np.tanh(log_odds / 2))
        converged = bool(np.abs(moved - posterior).max(initial=0.0) <= tolerance)
        posterior = moved
        iterations += 1
    rates = zip(names, sensitivity.tolist(), specificity.tolist(), strict=True)
    reliability = {name: Reliability(sens, spec) for name, sens, spec in rates}
    return DawidSkene(float(prevalence), reliability, iterations, converged)


PolicyName = Literal["majority", "adjudicated", "dawid-skene"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)

_UNDECIDED = 1e-9


class Policy(Protocol):
    """Decides yes-or-no questions that several people answered."""

    @property
    def name(self) -> PolicyName: ...

    def decide(self, votes: Mapping[str, bool]) -> bool | None:
        """Yes, no, or None for open, given whether each annotator (at least one) said yes."""
        ...


@dataclass(frozen=True)
class Majority:
    """More than half decide; halves leave it open."""

    name: PolicyName = "majority"

    def decide(self, votes: Mapping[str, bool]) -> bool | None:
        yes = sum(votes.values())
        return None if 2 * yes == len(votes) else 2 * yes > len(votes)


@dataclass(frozen=True)
class Adjudicated:
    """What not all say alike is open until a reviewer decides."""

    name: PolicyName = "adjudicated"

    def decide(self, votes: Mapping[str, bool]) -> bool | None:
        said = set(votes.values())
        return said.pop() if len(said) == 1 else None


@dataclass(frozen=True)
class Weighted:
    """The likelier answer decides, given how each annotator answers; what all say alike is never questioned."""

    model: DawidSkene  # fitted to all answers of the workspace
    name: PolicyName = "dawid-skene"

    def decide(self, votes: Mapping[str, bool]) -> bool | None:
        said = set(votes.values())
        if len(said) == 1:
            return said.pop()
        posterior = self.model.posterior(votes)
        return None if abs(posterior - 0.5) <= _UNDECIDED else posterior > 0.5
