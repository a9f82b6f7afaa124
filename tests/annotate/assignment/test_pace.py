"""Pace and finish: medians, quartiles and intervals worked by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.assignment.progress_report import Pace, finish_of, pace_of

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def day(number: int, turns: int) -> tuple[datetime, int]:
    """Turns answered so many days ago."""
    return NOW - timedelta(days=number), turns


def test_the_median_is_per_turn_and_over_tasks():
    # 10/1, 40/2, 90/3 seconds a turn: 10, 20, 30
    pace = pace_of([(10, 1), (40, 2), (90, 3)])
    assert (pace.median, pace.quick, pace.slow) == (20, 15, 25)
    assert (pace.measured, pace.left_open) == (3, 0)


def test_a_page_left_open_is_counted_and_not_averaged():
    assert pace_of([(8, 1), (12, 1), (3601, 6), (86_400, 2)]) == Pace(10, 9, 11, measured=2, left_open=2)
    assert pace_of([(3600, 6)]).left_open == 0  # ten minutes a turn exactly still counts


def test_what_was_not_measured_does_not_count():
    assert pace_of([(None, 1), (0, 1), (-3, 1), (float("nan"), 1)]) == Pace()
    assert pace_of([]) == Pace()
    assert pace_of([(7, 2)]) == Pace(3.5, 3.5, 3.5, measured=1)


def test_days_that_are_all_the_same_leave_no_doubt():
    # 20 turns on each of four whole days; today's do not count: 60 left take three days
    finish = finish_of(60, [day(0, 7), *(day(number, 20) for number in (1, 2, 3, 4))], Pace(), NOW)
    assert finish is not None
    assert finish.earliest == finish.latest == NOW + timedelta(days=3)
    assert finish.assuming == "days like the last"


def test_uneven_days_give_a_range_that_holds_both_roots():
    # days of 10 and 30: mean 20, s^2 = 200, t = 3.078: t^2 s^2 = 1894.8, and 20^2 - 1894.8 / 2 < 0: no end in sight;
    # the earliest of 40 left: a = -547.4, b = 2 * 40 * 20 + 1894.8 = 3494.8, n = 2 * 40^2 / (b + 3964.5) = 0.4290
    finish = finish_of(40, [day(1, 10), day(2, 30)], Pace(), NOW)
    assert finish is not None
    assert finish.latest is None
    assert (finish.earliest - NOW) / timedelta(days=1) == pytest.approx(0.4290, abs=0.0001)
    # ten days of 18 and 22: mean 20, s^2 = 40/9, t = 1.383: c = 8.501; a = 399.15, b = 16008.5
    many = finish_of(400, [day(number, 18 + number % 2 * 4) for number in range(1, 11)], Pace(), NOW)
    assert many is not None
    assert many.latest is not None
    days = [(time - NOW) / timedelta(days=1) for time in (many.earliest, many.latest)]
    assert days == pytest.approx([18.92, 21.18], abs=0.01)
    for n, sign in zip(days, (1, -1), strict=True):  # the equation itself
        assert 20 * n + sign * (8.501 * (n + n**2 / 10)) ** 0.5 == pytest.approx(400, abs=0.05)


def test_days_without_an_answer_slow_it_down():
    # 40 turns five days ago, nothing since: mean 8
    busy = finish_of(80, [day(1, 40), day(2, 40)], Pace(), NOW)
    idle = finish_of(80, [day(5, 40), day(1, 40)], Pace(), NOW)
    assert busy is not None
    assert idle is not None
    assert busy.latest == NOW + timedelta(days=2)
    assert idle.latest is None or idle.latest > busy.latest


def test_work_begun_today_is_told_in_hours_without_a_break():
    finish = finish_of(360, [day(0, 5)], Pace(12, 10, 20, measured=5), NOW)
    assert finish is not None
    assert (finish.earliest, finish.latest) == (NOW + timedelta(hours=1), NOW + timedelta(hours=2))
    assert finish.assuming == "working on without a break"


def test_without_anything_to_go_by_no_end_is_told():
    assert finish_of(0, [day(1, 5), day(2, 5)], Pace(), NOW) is None
    assert finish_of(9, [], Pace(12, 10, 20, measured=5), NOW) is None
    assert finish_of(9, [day(0, 5)], Pace(), NOW) is None
    assert finish_of(9, [day(40, 5)], Pace(12, 10, 20, measured=5), NOW) is None  # nothing in two weeks


@given(st.integers(1, 5000), st.lists(st.integers(0, 80), min_size=2, max_size=14))
def test_the_range_is_never_the_wrong_way_round(left: int, turns: list[int]):
    finish = finish_of(left, [day(number, count) for number, count in enumerate(turns, start=1)], Pace(), NOW)
    if any(turns):
        assert finish is not None
        assert finish.earliest > NOW
        assert finish.latest is None or finish.latest >= finish.earliest
    else:
        assert finish is None
