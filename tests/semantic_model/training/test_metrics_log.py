from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from semantic_model.training.metrics_log import MetricsLog


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder: Path) -> dict[tuple[str, int], float]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {(tag, event.step): event.value for tag in read.Tags()["scalars"] for event in read.Scalars(tag)}


def expected(folder: Path) -> dict[tuple[str, int], float]:
    return {
        (f"{line['kind']}/{name}", line["step"]): pytest.approx(value, rel=1e-6)
        for line in lines(folder)
        for name, value in line.items()
        if name not in ("kind", "step") and not isinstance(value, str)
    }


def test_tensorboard_shows_what_the_lines_say(tmp_path):
    journal = MetricsLog(tmp_path)
    assert journal.open(0) is None
    journal.write(kind="step", step=1, part="D_F", loss=0.5)
    journal.write(kind="epoch", step=2, epoch=1, **{"D_F.loss": 0.25, "ndcg@5": 0.125})
    journal.close()
    assert events(tmp_path) == expected(tmp_path)
    assert len(expected(tmp_path)) == 4


def test_going_on_drops_what_is_done_again_from_both(tmp_path):
    first = MetricsLog(tmp_path)
    first.open(0)
    for step in (1, 2, 3, 4):
        first.write(kind="step", step=step, loss=float(step))
    first.close()
    with first.path.open("a") as file:
        file.write('{"kind": "st')  # a kill
    second = MetricsLog(tmp_path)
    second.open(2)
    second.write(kind="step", step=3, loss=30.0)
    second.close()
    names = sorted(path.name.split(".")[3] for path in (tmp_path / "tensorboard").iterdir())
    assert int(names[0]) < int(names[1])  # readers take them in this order
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert events(tmp_path) == expected(tmp_path)


def test_starting_over_leaves_nothing_of_before(tmp_path):
    for value in (1.0, 2.0):
        journal = MetricsLog(tmp_path)
        journal.open(0)
        journal.write(kind="step", step=1, loss=value)
        journal.close()
    assert lines(tmp_path) == [{"kind": "step", "step": 1, "loss": 2.0}]
    assert events(tmp_path) == {("step/loss", 1): 2.0}


def test_without_tensorboard_the_lines_are_written_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    journal = MetricsLog(tmp_path)
    assert "pip install tensorboard" in str(journal.open(0))
    journal.write(kind="step", step=1, loss=1.0)
    journal.close()
    assert lines(tmp_path) == [{"kind": "step", "step": 1, "loss": 1.0}]
    assert not (tmp_path / "tensorboard").exists()


def test_a_process_that_is_not_the_first_writes_nothing(tmp_path):
    journal = MetricsLog(tmp_path, first=False)
    journal.open(0)
    journal.write(kind="step", step=1, loss=1.0)
    journal.close()
    assert list(tmp_path.iterdir()) == []
