"""The stop signal against curves that are known because they were planted."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.selection.stop_signal import Curve, Point, StopSignal, learning_curve, stop_signal
from pipeline.workspace import Workspace
from schemas.errors import InputError
from schemas.files import write_json
from semantic_model.evaluation.metrics import Interval

AMOUNTS = (0, 20, 80, 400)


def noisy(curve: Curve, generator: np.random.Generator, *, seeds: int = 5, spread: float = 0.01) -> list[Point]:
    return [
        Point(amount, np.array([curve.at(amount) + generator.normal(scale=spread)]))
        for amount in AMOUNTS
        for _ in range(seeds)
    ]


def test_a_curve_without_noise_is_recovered():
    planted = Curve(0.4, 0.3, 60.0)
    found = learning_curve([Point(n, np.array([planted.at(n)])) for n in (*AMOUNTS, *AMOUNTS)], None).curve
    assert (found.floor, found.top) == (pytest.approx(0.4, abs=0.003), pytest.approx(0.3, abs=0.01))
    assert found.half == pytest.approx(60, rel=0.08)  # halves are tried in steps of that size
    assert found.at(60) == pytest.approx(planted.at(60), abs=0.002)
    gain, interval = learning_curve([Point(n, np.array([planted.at(n)])) for n in (*AMOUNTS, *AMOUNTS)], None).gain(
        80, 180
    )
    assert gain == pytest.approx(0.3 * (180 / 240 - 80 / 140), abs=0.003)
    assert interval.high - interval.low < 1e-9


def test_half_of_what_endless_labels_add_is_added_by_that_many():
    curve = Curve(0.5, 0.2, 100.0)
    assert curve.at(0) == 0.5
    assert curve.at(100) == pytest.approx(0.6)
    assert curve.at(1e12) == pytest.approx(0.7)


def test_the_interval_covers_the_planted_gain_about_as_often_as_it_says():
    planted = Curve(0.4, 0.1, 60.0)
    true = planted.at(180) - planted.at(80)
    covered = 0
    for seed in range(100):
        found = learning_curve(noisy(planted, np.random.default_rng(seed)), None, samples=400, seed=seed)
        low, high = found.gain(80, 180)[1]
        covered += low <= true <= high
    assert covered >= 86  # over all kinds of curves it is 89 to 98 of 100; less a standard deviation


def test_dialogues_that_count_the_same_in_all_runs_do_not_widen_the_interval():
    # an easy and a hard half: how many of each are drawn moves all levels alike, and no gain
    planted, dialogues = Curve(0.3, 0.2, 50.0), [f"d{i}" for i in range(40)]
    level = np.repeat([-0.25, 0.25], 20)
    points = [Point(n, planted.at(n) + level) for n in (*AMOUNTS, *AMOUNTS)]
    _, interval = learning_curve(points, dialogues).gain(80, 180)
    assert interval.high - interval.low < 1e-6


def test_gains_that_only_some_dialogues_have_widen_the_interval():
    dialogues = [f"d{i // 2}" for i in range(20)]  # two queries each
    points = [Point(n, 0.3 + np.where(np.arange(20) < 4, 0.5 * n / (n + 50), 0.0)) for n in (*AMOUNTS, *AMOUNTS)]
    gain, (low, high) = learning_curve(points, dialogues).gain(0, 400)
    assert gain == pytest.approx(0.2 * 0.5 * 400 / 450, abs=0.01)
    assert low < 0.5 * gain
    assert high > 1.5 * gain


@pytest.mark.parametrize("amounts", [(), (0, 20, 80), (0, 0, 0, 20, 20, 20), (0, 0, 20, 20, 80)])
def test_too_few_runs_are_refused(amounts):
    with pytest.raises(InputError, match="too few runs for a learning curve"):
        learning_curve([Point(n, np.array([0.5])) for n in amounts], None)


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        (Interval(0.001, 0.02), "worth labelling"),
        (Interval(-0.001, 0.02), "not distinguishable from nothing"),
        (Interval(-0.02, -0.001), "more labels made it worse"),
    ],
)
def test_the_verdict_is_read_off_the_interval(interval: Interval, says: str):
    assert StopSignal(10, 20, sum(interval) / 2, interval).verdict == says


def write_run(
    workspace: Workspace, labelled: int, seed: int, ndcg: float, *, by_query: bool = True, **changes: object
) -> None:
    folder = workspace.runs / f"n{labelled}-s{seed}-{'-'.join(map(str, changes.values()))}"
    record = {
        "model": "semantic",
        "preset": "tiny",
        "images": True,
        "config": {"model": {"width": 8}},
        "inputs": {"turns": "t", "D_F": f"changes with {labelled} labels"},
        "labelled_dialogues": labelled,
        "seed": seed,
        "fold": None,
        "best": {"epoch": 1, "ndcg@5": ndcg},
        **changes,
    }
    if by_query:
        queries = [["d1", 1], ["d1", 3], ["d2", 1]]
        scores = {"ndcg@5": [ndcg - 0.1, ndcg, ndcg + 0.1]}
        write_json(folder / "per-query-valid-all.json", {"queries": queries, "per_query": scores})
    write_json(folder / "record.json", record)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "shop").create()


def grid(workspace: Workspace, **changes: object) -> None:
    for labelled in (0, 20, 80):
        for seed in range(3):
            write_run(workspace, labelled, seed, 0.4 + 0.2 * labelled / (labelled + 40) + 0.001 * seed, **changes)


def signal(workspace: Workspace) -> StopSignal:
    return stop_signal(workspace, 80, 100, usable=80, training=400)


def test_runs_at_several_ratios_give_a_gain(workspace: Workspace):
    grid(workspace)
    found = signal(workspace)
    assert found.missing is None
    assert found.gain == pytest.approx(0.2 * (180 / 220 - 80 / 120), abs=0.004)
    assert found.verdict == "worth labelling"
    assert len(found.runs) == 9
    assert "with 0, 20, 80 labelled dialogues" in found.notes[0]
    assert "a guess" in stop_signal(workspace, 80, 200, usable=80, training=400).notes[-1]
    assert found.as_json()["interval"] == list(found.interval or ())


def test_runs_that_differ_in_more_than_ratio_and_seed_are_not_mixed(workspace: Workspace):
    grid(workspace)
    write_run(workspace, 400, 0, 0.1, config={"model": {"width": 16}})
    write_run(workspace, 400, 1, 0.1, inputs={"turns": "others"})
    write_run(workspace, 400, 2, 0.1, images=False)
    write_run(workspace, 400, 3, 0.1, fold={"number": 1})
    write_run(workspace, 400, 4, 0.1, labelled_list=True)  # not drawn at random
    write_run(workspace, 400, 5, 0.1, model="dual-encoder", inputs={"turns": "t"})
    assert len(signal(workspace).runs) == 9
    (workspace.runs / "broken").mkdir()
    (workspace.runs / "broken" / "record.json").write_text("{")
    assert len(signal(workspace).runs) == 9


def test_runs_not_measured_by_query_count_by_their_means(workspace: Workspace):
    grid(workspace, by_query=False)
    found = signal(workspace)
    assert found.gain == pytest.approx(0.2 * (180 / 220 - 80 / 120), abs=0.004)
    assert any("other dialogues" in note for note in found.notes)


def test_without_enough_runs_it_says_what_makes_them(workspace: Workspace):
    found = signal(workspace)
    assert (found.gain, found.verdict, found.missing) == (None, "not known", "no run has been trained here")
    assert found.make == "semctl experiment grid --ratios 0,0.05,0.2 --seeds 3"
    write_run(workspace, 20, 0, 0.5)
    assert str(signal(workspace).missing).startswith("too few runs for a learning curve: 1, at 1 different numbers")
    # as far as there are labels: 24 of 400 are a share of 0.06
    assert stop_signal(workspace, 24, 100, usable=24, training=400).make == (
        "semctl experiment grid --ratios 0,0.02,0.06 --seeds 3"
    )
    assert "label more dialogues" in str(stop_signal(workspace, 0, 100, usable=0, training=400).make)
