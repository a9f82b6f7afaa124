"""Who labels what: whole dialogues assigned to annotators, evenly, reproducibly, and never assigned twice.

A share of the dialogues (``overlap``) goes to several annotators (``redundancy``), every other dialogue to one. What is
assigned stays as it is: a later round assigns only the dialogues that are new, to whoever has the least.

Bounds, held by the tests. Work is counted in user turns.

- Balance: after a round, the annotators it was assigned to differ by at most the longest dialogue of the round, or by
  what they differed before it, where that was more. Proof: a dialogue of ``t`` turns goes to annotators with at most
  ``least + longest - t`` turns, or else to those who have least; neither makes the difference larger than that.
- Overlap: over all rounds, the shared dialogues are the sum of each round's overlap x dialogues, rounded half up.
- Pairs: whom a dialogue is shared with is decided by who shared least so far, within the bound of the balance.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import floor

from schemas.errors import UsageError


@dataclass(frozen=True)
class AssignmentTerms:
    """How dialogues are assigned.

    Raises:
        UsageError: an overlap outside of 0 to 1, a redundancy below 1, or a share of dialogues shared with nobody.
    """

    overlap: float = 0.2  # share of the dialogues that several annotators answer, 0 to 1
    redundancy: int = 2  # how many annotators answer each of these
    seed: int = 0  # of which dialogues are shared, and of who comes first among equals

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 1:
            raise UsageError(f"--overlap {self.overlap} is no share of the dialogues", fix="give 0 to 1, as 0.2")
        if self.redundancy < 1:
            raise UsageError(f"--redundancy {self.redundancy} leaves dialogues to nobody", fix="give 1 or more")
        if self.redundancy == 1 and self.overlap > 0:
            raise UsageError(
                f"--overlap {self.overlap} with --redundancy 1 shares nothing", fix="give --overlap 0, or 2 or more"
            )


@dataclass(frozen=True)
class Round:
    """Dialogues assigned at one time."""

    overlap: float  # of the terms then
    assigned_to: Mapping[str, tuple[str, ...]]  # dialogue -> its annotators, sorted
    turns: Mapping[str, int]  # dialogue -> its user turns


def assign(
    new: Mapping[str, int], annotators: Sequence[str], terms: AssignmentTerms, earlier: Sequence[Round] = ()
) -> Round:
    """Assign new dialogues; what was assigned in earlier rounds is only looked at.

    Args:
        new: dialogue -> its user turns; none of an earlier round.
        annotators: to whom, each once; their order does not matter.
        terms: how.
        earlier: all rounds before this one.

    Raises:
        UsageError: more people are to answer a dialogue than there are.
        ValueError: a dialogue was assigned before.
    """
    if terms.overlap > 0 and terms.redundancy > len(annotators):
        raise UsageError(
            f"--redundancy {terms.redundancy} with {len(annotators)} annotator{'s' * (len(annotators) > 1)}",
            fix=f"name {terms.redundancy} annotators or more, or lower it",
        )
    again = [dialogue for round_ in earlier for dialogue in round_.assigned_to if dialogue in new]
    if again:
        raise ValueError(f"assigned before: {again[0]}")
    shared = _shared_dialogues(new, terms, earlier)
    table = _Table(annotators, earlier, terms.seed, longest=max(new.values(), default=0))
    assigned: dict[str, tuple[str, ...]] = {}
    for dialogue in sorted(new, key=lambda each: (each not in shared, -new[each], _rank(terms.seed, each))):
        count = terms.redundancy if dialogue in shared else 1
        assigned[dialogue] = tuple(sorted(table.give(dialogue, new[dialogue], count)))
    return Round(terms.overlap, {dialogue: assigned[dialogue] for dialogue in new}, dict(new))


def reassign(
    rounds: Sequence[Round], leaving: str, dialogues: Collection[str], annotators: Sequence[str], seed: int = 0
) -> tuple[list[Round], list[str]]:
    """Give dialogues of somebody who leaves to others who do not have them.

    Args:
        rounds: all rounds.
        leaving: who leaves.
        dialogues: what they reassign, of what they were assigned.
        annotators: who may get it, ``leaving`` not among them.
        seed: of who comes first among equals.

    Returns:
        The rounds as they are then, and the dialogues that nobody could take, because everybody has them already:
        these stay with their other annotators, one fewer than was asked for.
    """
    wanted = set(dialogues)
    theirs = {
        dialogue: (number, round_.turns[dialogue])
        for number, round_ in enumerate(rounds)
        for dialogue, who in round_.assigned_to.items()
        if leaving in who and dialogue in wanted
    }
    table = _Table(annotators, rounds, seed, longest=max((turns for _, turns in theirs.values()), default=0))
    changed = [dict(round_.assigned_to) for round_ in rounds]
    nobody: list[str] = []
    for dialogue in sorted(theirs, key=lambda each: (-theirs[each][1], _rank(seed, each))):
        number, turns = theirs[dialogue]
        holders = tuple(each for each in changed[number][dialogue] if each != leaving)
        if any(each not in holders for each in annotators):
            holders += table.give(dialogue, turns, 1, beside=holders)
        else:
            nobody.append(dialogue)
        changed[number][dialogue] = tuple(sorted(holders))
    return [replace(round_, assigned_to=who) for round_, who in zip(rounds, changed, strict=True)], sorted(nobody)


def turns_of(rounds: Sequence[Round]) -> Counter[str]:
    """User turns that each annotator was assigned."""
    totals: Counter[str] = Counter()
    for round_ in rounds:
        for dialogue, who in round_.assigned_to.items():
            for annotator in who:
                totals[annotator] += round_.turns[dialogue]
    return totals


def shares_of(rounds: Sequence[Round]) -> Counter[tuple[str, str]]:
    """Dialogues that each pair of annotators shares; the names of a pair are sorted."""
    return Counter(
        pair for round_ in rounds for who in round_.assigned_to.values() for pair in combinations(sorted(who), 2)
    )


def _shared_dialogues(new: Mapping[str, int], terms: AssignmentTerms, earlier: Sequence[Round]) -> set[str]:
    """As many as the overlaps of all rounds come to, less those shared already; which ones, the seed says."""
    rounds = [(terms.overlap, len(new)), *((round_.overlap, len(round_.assigned_to)) for round_ in earlier)]
    owed = sum(Fraction(repr(overlap)) * dialogues for overlap, dialogues in rounds)  # 0.2 is one fifth
    shared = sum(1 for round_ in earlier for who in round_.assigned_to.values() if len(who) > 1)
    count = min(max(floor(owed + Fraction(1, 2)) - shared, 0), len(new)) if terms.overlap else 0
    return set(sorted(new, key=lambda dialogue: _rank(terms.seed, "shared", dialogue))[:count])


class _Table:
    """Who has how much, and who shares how much with whom, while dialogues are assigned."""

    def __init__(self, annotators: Sequence[str], earlier: Sequence[Round], seed: int, longest: int) -> None:
        assigned = turns_of(earlier)
        self._turns = {annotator: assigned[annotator] for annotator in annotators}
        self._shares = shares_of(earlier)
        self._seed = seed
        self._longest = longest

    def give(self, dialogue: str, turns: int, count: int, beside: Sequence[str] = ()) -> tuple[str, ...]:
        """Give a dialogue to ``count`` annotators other than those it is with already, and say to whom."""
        free = [annotator for annotator in self._turns if annotator not in beside]
        least_first = sorted(free, key=lambda each: (self._turns[each], _rank(self._seed, dialogue, each)))
        room = min(self._turns.values()) + self._longest - turns
        within = [annotator for annotator in least_first if self._turns[annotator] <= room]
        to = [least_first[0]] if count == 1 else self._sharing_least(within, count)
        to = to or least_first[:count]
        for annotator in to:
            self._turns[annotator] += turns
        everybody = (*beside, *to)
        self._shares.update(
            _pair(one, other) for one, other in combinations(everybody, 2) if not {one, other} <= set(beside)
        )
        return tuple(to)

    def _sharing_least(self, candidates: Sequence[str], count: int) -> list[str]:
        """Of the candidates, in order of preference, those who share least with everybody, then with one another."""
        if len(candidates) < count:
            return []
        together = {each: sum(self._shares[_pair(each, other)] for other in self._turns) for each in candidates}
        chosen = [min(candidates, key=lambda each: together[each])]
        while len(chosen) < count:
            rest = [each for each in candidates if each not in chosen]
            chosen.append(
                min(rest, key=lambda each: (sum(self._shares[_pair(each, one)] for one in chosen), together[each]))
            )
        return chosen


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _rank(seed: int, *about: str) -> bytes:
    return hashlib.sha256("\x1f".join((str(seed), *about)).encode()).digest()
