"""How several people's answers become one: by majority, by a reviewer alone, or weighted by how reliable people are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from annotate.resolution.dawid_skene import DawidSkene

__all__ = ["POLICIES", "Adjudicated", "Majority", "Policy", "PolicyName", "Weighted"]

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
