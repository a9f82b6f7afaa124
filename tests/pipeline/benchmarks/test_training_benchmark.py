from __future__ import annotations

import pytest

from pipeline.benchmarks.measure import Options
from pipeline.benchmarks.training import benchmark


@pytest.mark.slow
def test_the_benchmark_says_ratio_goal_and_throughput():
    rows = benchmark(Options(rounds=1, sizes=(3,), width=16))
    assert len(rows) == 4
    for row in rows:
        assert row["ratio"] == pytest.approx(row["seconds_against"] / row["seconds"])
        assert row["examples_per_second"] == [pytest.approx(3 / row["seconds"])]
        assert row["largest_difference"] < 1e-5
    assert [row["goal"] for row in rows] == [">= 3", None] * 2
