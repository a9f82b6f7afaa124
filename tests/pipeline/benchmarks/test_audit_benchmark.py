"""What the benchmark of the audit plants, and how it counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipeline.benchmarks import run_benchmark, tables_of
from pipeline.benchmarks.audit import KINDS, Planted, _updates, measure, plant
from pipeline.benchmarks.measure import Options
from schemas.errors import UsageError
from tests.pipeline.labelling.test_audit import told as told_in_shop
from tests.pipeline.labelling.test_audit import workspace_of
from tests.semantic_model.states.shop import SHOP

GOLD = {f"d{number}": told_in_shop(number, slips=False) for number in range(80)}


def test_an_error_changes_the_update_of_its_turn_and_nothing_before_it():
    labels, planted = plant(GOLD, SHOP, seed=3)
    assert len(planted) == 12  # 5 % of 240 turns
    assert Counter(each.kind for each in planted) == dict.fromkeys(KINDS, 3)
    wrong = {place for each in planted for place in each.places}
    for name, right in GOLD.items():
        turns, told = sorted(right.states), labels.dialogues[name]
        updates = zip(turns, _updates(told), _updates(right), strict=True)
        assert all(ours != theirs for turn, ours, theirs in updates if (name, turn) in wrong)
        first = min((turn for each, turn in wrong if each == name), default=99)
        before = [turn for turn in turns if turn < first]
        assert [told.states[turn] for turn in before] == [right.states[turn] for turn in before]


def test_errors_are_the_same_for_one_seed_and_others_for_another():
    first, again, other = plant(GOLD, SHOP, 1), plant(GOLD, SHOP, 1), plant(GOLD, SHOP, 2)
    assert first == again
    assert first[1] != other[1]


def test_figures_worked_by_hand_and_as_scikit_learn_has_them():
    """200 turns, so 10 are looked at: a, a late error (by its second turn) and not c, of 3 errors."""
    metrics = pytest.importorskip("sklearn.metrics")
    order = [("d", turn) for turn in range(200)]
    planted = [
        Planted("swapped", (("d", 3),)),
        Planted("late", (("d", 120), ("d", 9))),
        Planted("swapped", (("d", 60),)),
    ]
    found = measure(order, planted, len(order))
    assert found.precision == {50: 2 / 50, 100: 3 / 100}
    assert found.recall == pytest.approx(2 / 3)
    assert found.by_kind == {"swapped": 0.5, "dropped": 0.0, "added": 0.0, "late": 1.0}
    wrong = [turn in (3, 9, 60, 120) for turn in range(200)]
    for depth in (50, 100):
        looked_at = [turn < depth for turn in range(200)]
        assert found.precision[depth] == pytest.approx(metrics.precision_score(wrong, looked_at))


def test_the_benchmark_says_how_each_order_finds_them(tmp_path: Path):
    pytest.importorskip("sklearn")
    workspace = workspace_of(tmp_path / "shop", range(40))
    rows = run_benchmark("audit", Options(rounds=2, workspace=workspace.root))["benchmarks"]
    names = ["audit", "the findings of checks alone", "words, by scikit-learn", "random order"]
    assert [row["name"] for row in rows] == names
    assert (rows[0]["turns"], rows[0]["errors"], rows[0]["rounds"]) == (120, 6, 2)
    assert rows[0]["ratio"] == rows[0]["recall"]["mean"] > rows[3]["ratio"]
    ((title, heads, lines),) = tables_of("audit", rows)
    assert title == "6 errors planted in 120 turns, mean ± standard deviation of 2"
    assert heads[1:4] == ["precision@50", "precision@100", "recall in 5%"]
    assert [line[0] for line in lines] == names


def test_too_few_labels_are_refused(tmp_path: Path):
    workspace = workspace_of(tmp_path / "shop", range(24))
    with pytest.raises(UsageError, match="24 wholly labelled dialogues are too few"):
        run_benchmark("audit", Options(workspace=workspace.root))
    with pytest.raises(UsageError, match="measured on a workspace"):
        run_benchmark("audit")
