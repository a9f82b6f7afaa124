"""The load test on a real server, for half a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.benchmarks import run_benchmark, tables_of
from pipeline.benchmarks.measure import Options
from pipeline.benchmarks.serving import Load
from tests.served import trained_workspace


def test_percentiles_and_rates_are_those_of_the_answers():
    load = Load(seconds=[0.1, 0.2, 0.3, 0.4, 0.5], took=2.0)
    assert (load.rate, load.percentile(50)) == (2.5, 0.3)
    assert load.percentile(95) == pytest.approx(0.48)


@pytest.mark.slow
def test_clients_at_once_are_compared_with_one_at_a_time(tmp_path: Path):
    workspace = trained_workspace(tmp_path)
    result = run_benchmark("serving", Options(sizes=(6,), seconds=0.5, workspace=workspace.root))
    at_once, errors = result["benchmarks"]
    assert (errors["ratio"], errors["reached"]) == (0, True)
    many, one = at_once["loads"]
    assert (many["clients"], one["clients"]) == (6, 1)
    assert at_once["ratio"] == pytest.approx(many["rate"] / one["rate"])
    assert many["answers"] >= 6
    assert one["answers"] >= 1
    assert 0 < many["p50"] <= many["p95"]
    [(_, columns, lines)] = tables_of("serving", result["benchmarks"])
    assert [len(line) for line in lines] == [len(columns)] * 2
