"""Win, tie and lose of run A against run B, how sure they are, and how far judges agree.

Everything is a function of the dialogues' weights: all ones for the figures, resamples for the 95 % intervals, as turns
of a dialogue are judged alike. A share of 0 or 1 is the same in every resample; its interval is Wilson's (1927) for as
many trials as there are dialogues.

Turns for which both runs give the same list were not shown to anybody: they are ties. Figures that count them take the
answered turns to stand for those not answered yet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np

from annotate.agreement.coefficients import Floats, expected_disagreement, interval, one_minus_ratio, ratio, resamples
from annotate.agreement.report import Estimate
from annotate.judging.answers import Vote
from annotate.judging.key import Key, Outcome

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
RESAMPLES = 2000

_Z2 = 1.959963984540054**2


class Share(NamedTuple):
    """A share of the votes or turns, of 1, with its 95 % interval; None where there is nothing to take a share of."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A against B by some votes."""

    of: str  # a judge, ``all votes`` or ``majority``
    counts: Mapping[Outcome, int]  # votes, or turns of the majority
    shares: Mapping[Outcome, Share]  # of the turns that were judged
    with_same: Mapping[Outcome, Share]  # of all turns drawn: those with the same list twice are ties
    # of the sign test (two-sided, exact) that A wins as often as it loses, ties left out; None where votes depend on
    # each other, or all are ties
    p_value: float | None


@dataclass(frozen=True)
class JudgingFigures:
    """What the judges say."""

    rows: tuple[Comparison, ...]  # each judge, then all votes, then the majority
    judged: int  # turns with an answer
    unanswered: int  # tasks without
    same: int  # turns with the same list twice
    dialogues: int  # of all turns drawn
    shared: int  # turns that several judges answered
    alpha: Estimate  # Krippendorff's, nominal, over those
    unanimous: int  # of them, how many all judges answered alike
    left: int  # votes for the left side
    right: int


def majority(votes: Sequence[Outcome]) -> Outcome:
    """The outcome that most votes are for; a tie where no single one has most."""
    counts = Counter(votes).most_common()
    return counts[0][0] if len(counts) == 1 or counts[0][1] > counts[1][1] else "tie"


def judging_figures(key: Key, votes: Sequence[Vote], *, resample: int = RESAMPLES, seed: int = 0) -> JudgingFigures:
    """All figures of a human evaluation.

    Args:
        key: what was asked.
        votes: one of each judge and task.
        resample: how many resamples of the dialogues.
        seed: of the resamples.
    """
    names = dict.fromkeys([task.dialogue_id for task in key.tasks] + [turn.dialogue_id for turn in key.same])
    place = {name: number for number, name in enumerate(names)}
    same = _added([(place[each.dialogue_id], 0) for each in key.same], len(place), 1)[:, 0]
    asked = _added([(place[each.dialogue_id], 0) for each in key.tasks], len(place), 1)[:, 0]
    weights = np.concatenate([np.ones((1, len(place))), *resamples(len(place), resample, seed)]) if place else None
    by_turn: defaultdict[tuple[str, int], list[Vote]] = defaultdict(list)
    for vote in votes:
        by_turn[vote.task.dialogue_id, vote.task.turn].append(vote)
    of_turns = {turn: [vote.task.outcome(vote.choice) for vote in given] for turn, given in by_turn.items()}

    def row(of: str, outcomes: Sequence[tuple[str, Outcome]], *, independent: bool = True) -> Comparison:
        given = [(place[dialogue], OUTCOMES.index(outcome)) for dialogue, outcome in outcomes]
        counts = _added(given, len(place), len(OUTCOMES))
        shares = _shares(counts, np.zeros(len(place)), asked, weights)
        with_same = _shares(counts, same, asked, weights)
        total: Counter[Outcome] = Counter(outcome for _, outcome in outcomes)
        p = _sign_test(total["win"], total["lose"]) if independent else None
        return Comparison(of, {name: total[name] for name in OUTCOMES}, shares, with_same, p)

    judges = sorted({vote.judge for vote in votes})
    rows = [
        row(judge, [(vote.task.dialogue_id, vote.task.outcome(vote.choice)) for vote in votes if vote.judge == judge])
        for judge in judges
    ]
    every = [(dialogue, outcome) for (dialogue, _), given in of_turns.items() for outcome in given]
    rows.append(row("all votes", every, independent=len(judges) < 2))
    rows.append(row("majority", [(dialogue, majority(given)) for (dialogue, _), given in of_turns.items()]))
    several = {turn: given for turn, given in of_turns.items() if len(given) > 1}
    units = [
        (place[dialogue], [OUTCOMES.index(outcome) for outcome in given]) for (dialogue, _), given in several.items()
    ]
    return JudgingFigures(
        rows=tuple(rows),
        judged=len(by_turn),
        unanswered=len(key.tasks) - len(by_turn),
        same=len(key.same),
        dialogues=len(place),
        shared=len(several),
        alpha=_alpha(units, weights),
        unanimous=sum(len(set(given)) == 1 for given in several.values()),
        left=sum(vote.choice == "left" for vote in votes),
        right=sum(vote.choice == "right" for vote in votes),
    )


def _added(places: Sequence[tuple[int, int]], rows: int, columns: int) -> Floats:
    """How often each pair of places occurs, [rows, columns]."""
    found = np.zeros((rows, columns))
    for row, column in places:
        found[row, column] += 1
    return found


def _shares(counts: Floats, same: Floats, asked: Floats, weights: Floats | None) -> dict[Outcome, Share]:
    """Shares of the outcomes, with ``same`` [dialogues] turns as ties on top.

    Args:
        counts: votes by dialogue and outcome, [dialogues, 3].
        same, asked: turns by dialogue that are ties unasked, and that judges were asked about.
        weights: of the dialogues: ones, then resamples, [1 + B, dialogues].
    """
    if weights is None or not counts.any():
        return {name: Share(None) for name in OUTCOMES}
    votes = weights @ counts  # [1 + B, 3]
    unasked = ratio(weights @ same, weights @ (same + asked))[:, None]
    shares = ratio(votes, votes.sum(axis=1, keepdims=True)) * (1 - unasked)
    shares[:, [OUTCOMES.index("tie")]] += unasked
    low, high = interval(shares[1:])
    trials = int(np.count_nonzero(counts.sum(axis=1) + same))
    found: dict[Outcome, Share] = {}
    for column, name in enumerate(OUTCOMES):
        value = float(shares[0, column])
        ends = (float(low[column]), float(high[column]))
        if value < 1e-12:
            ends = (0.0, _Z2 / (trials + _Z2))
        elif value > 1 - 1e-12:
            ends = (trials / (trials + _Z2), 1.0)
        found[name] = Share(value, *ends)
    return found


def _sign_test(wins: int, losses: int) -> float | None:
    """Two-sided p of the exact binomial test that one half of what is no tie are wins."""
    if not wins + losses:
        return None
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses, 0.5).pvalue)


def _alpha(units: Sequence[tuple[int, Sequence[int]]], weights: Floats | None) -> Estimate:
    """Krippendorff's alpha for nominal data of units with two values and more, with its interval.

    Args:
        units: the dialogue of each unit, and the values given.
        weights: as for :func:`_shares`.
    """
    if weights is None or not units:
        return Estimate(None, None, None)
    observed = np.zeros(weights.shape[1])
    values = np.zeros((weights.shape[1], len(OUTCOMES)))
    for dialogue, given in units:
        counts = np.bincount(given, minlength=len(OUTCOMES))
        values[dialogue] += counts
        observed[dialogue] += (len(given) ** 2 - (counts**2).sum()) / (len(given) - 1)
    said = weights @ values
    expected = expected_disagreement(said.sum(axis=1), (said**2).sum(axis=1))
    alphas = one_minus_ratio(weights @ observed, expected)
    low, high = interval(alphas[1:])
    return Estimate(*(None if np.isnan(each) else float(each) for each in (alphas[0], low, high)))
