"""Win, tie and lose, held against figures worked by hand and other implementations."""

from __future__ import annotations

import math

import krippendorff
import pytest
from scipy.stats import binomtest

from annotate.judging.figures import OUTCOMES, judging_figures, majority
from tests.annotate.judging.judged import key, vote

JUDGES = ("ann", "bo", "cleo")
ANSWERS = {  # A is left in the first and third task
    1: ("left", "left", "tie"),  # win, win, tie
    2: ("left", "left", "right"),  # lose, lose, win
    3: ("tie", "left", "right"),  # tie, win, lose
    4: ("right", "right", "right"),  # win, win, win
}


def votes_of(of, answers=ANSWERS):
    return [
        vote(of, task, judge, said)
        for task, given in answers.items()
        for judge, said in zip(JUDGES, given, strict=True)
    ]


def test_worked_by_hand():
    of = key()
    figures = judging_figures(of, votes_of(of))
    rows = {row.of: row for row in figures.rows}
    assert list(rows) == [*JUDGES, "all votes", "majority"]
    assert dict(rows["ann"].counts) == {"win": 2, "tie": 1, "lose": 1}
    assert dict(rows["all votes"].counts) == {"win": 7, "tie": 2, "lose": 3}
    assert dict(rows["majority"].counts) == {"win": 2, "tie": 1, "lose": 1}
    assert [rows["all votes"].shares[name].value for name in OUTCOMES] == pytest.approx([7 / 12, 2 / 12, 3 / 12])
    # one turn of five was not asked and is a tie
    assert [rows["all votes"].with_same[name].value for name in OUTCOMES] == pytest.approx(
        [0.8 * 7 / 12, 0.2 + 0.8 * 2 / 12, 0.8 * 3 / 12]
    )
    assert [rows["majority"].with_same[name].value for name in OUTCOMES] == pytest.approx([0.4, 0.4, 0.2])
    assert (figures.judged, figures.unanswered, figures.same, figures.dialogues) == (4, 0, 1, 5)
    assert (figures.shared, figures.unanimous, figures.left, figures.right) == (4, 1, 5, 5)
    assert rows["majority"].p_value == 1.0  # 2 wins, 1 loss
    assert rows["all votes"].p_value is None  # three votes on a turn depend on each other
    values = [[2, 0, 1, 2], [2, 0, 2, 2], [1, 2, 0, 2]]  # win 2, tie 1, lose 0
    assert figures.alpha.value == pytest.approx(krippendorff.alpha(values, level_of_measurement="nominal"))


def test_tasks_without_an_answer_are_counted_and_stood_for_by_the_others():
    of = key()
    figures = judging_figures(of, [vote(of, 1, "ann", "left"), vote(of, 2, "ann", "left")])  # win, lose
    assert (figures.judged, figures.unanswered, figures.shared) == (2, 2, 0)
    assert figures.alpha.value is None
    last = figures.rows[-1]
    assert last.shares["win"].value == 0.5
    assert [last.with_same[name].value for name in OUTCOMES] == pytest.approx([0.4, 0.2, 0.4])
    assert figures.rows[1].p_value == figures.rows[2].p_value == 1.0  # one judge: votes are turns


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (["win"], "win"),
        (["win", "lose"], "tie"),
        (["win", "tie"], "tie"),
        (["lose", "lose", "win"], "lose"),
        (["win", "tie", "lose"], "tie"),
        (["tie", "tie", "win"], "tie"),
        (["win", "win", "lose", "lose", "tie"], "tie"),
        (["win", "win", "lose", "tie"], "win"),
    ],
)
def test_the_majority_is_what_most_say_and_a_tie_where_none_has_most(given, outcome):
    assert majority(given) == outcome


def halves(turns: int, each: int):
    """As many dialogues with ``each`` turns of one outcome, half of them won, half lost."""
    of = key(dialogues=tuple(f"d{n // each}" for n in range(turns)))
    of.same.clear()
    won = [(n // each) % 2 == 0 for n in range(turns)]
    chosen = ["left" if (task.left == "A") == win else "right" for task, win in zip(of.tasks, won, strict=True)]
    return judging_figures(of, [vote(of, n, "ann", side) for n, side in enumerate(chosen, start=1)])


@pytest.mark.parametrize(("each", "dialogues"), [(1, 400), (4, 100)])
def test_the_interval_is_that_of_the_dialogues_not_of_the_turns(each: int, dialogues: int):
    share = halves(400, each).rows[-1].shares["win"]
    half_width = 1.96 * math.sqrt(0.25 / dialogues)  # of the normal approximation
    assert share.value == 0.5
    assert share.low == pytest.approx(0.5 - half_width, abs=0.008)
    assert share.high == pytest.approx(0.5 + half_width, abs=0.008)


def test_shares_of_nothing_and_everything_have_wilsons_interval_and_the_sign_test_is_exact():
    of = key(dialogues=tuple(f"d{n}" for n in range(30)))
    of.same.clear()
    won = judging_figures(
        of, [vote(of, n, "ann", "left" if of.tasks[n - 1].left == "A" else "right") for n in range(1, 31)]
    )
    row = won.rows[-1]
    none, every = binomtest(0, 30).proportion_ci(method="wilson"), binomtest(30, 30).proportion_ci(method="wilson")
    assert row.shares["lose"][:] == pytest.approx((0.0, 0.0, none.high))
    assert row.shares["win"][:] == pytest.approx((1.0, every.low, 1.0))
    assert row.p_value == pytest.approx(2 / 2**30)
    nine = [vote(of, n, "ann", "left" if (of.tasks[n - 1].left == "A") == (n > 1) else "right") for n in range(1, 10)]
    assert judging_figures(of, nine).rows[-1].p_value == pytest.approx(2 * (1 + 9) / 2**9)  # 8 wins, 1 loss
    ties = judging_figures(of, [vote(of, 1, "ann", "tie"), vote(of, 1, "bo", "tie")])
    assert ties.rows[-1].p_value is None
    assert ties.alpha.value is None  # nothing could have differed


def test_the_same_votes_give_the_same_intervals():
    of = key()
    assert judging_figures(of, votes_of(of)) == judging_figures(of, votes_of(of))
