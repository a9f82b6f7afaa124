"""The whole job at test size, from generated files to ranked products."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from annotate.states.splits import read_splits
from pipeline.demo import DemoRequest, run_demo
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.tables import D_F, STATES, read_table

SMALL = DemoRequest(size="test", epochs=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "ws"
    run_demo(Workspace(root), SMALL)
    return root


@pytest.mark.slow
def test_the_demo_prints_one_json_object_with_every_promised_row(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "-w", str(tmp_path / "ws"), "demo", "--size", "test"]
    done = subprocess.run([*command, "--epochs", "1", "--json"], capture_output=True, text=True, check=True)
    shown = json.loads(done.stdout)
    names = [row["name"] for row in shown["rows"]]
    assert names == [
        *("semantic", "random", "popularity", "tfidf", "bm25", "state-rule (predicted)"),
        "semantic --no-images",
    ]
    assert all(0 <= row["ndcg@5"] <= 1 for row in shown["rows"])
    assert set(shown) >= {"workspace", "run", "rows", "seconds"}
    assert (Path(shown["workspace"]) / "runs" / shown["run"] / "record.json").is_file()
    assert [product["rank"] for product in shown["recommendation"]["products"]] == [1, 2, 3, 4, 5]


def test_a_fifth_of_the_training_dialogues_is_labelled_fully(finished: Path) -> None:
    ws = Workspace(finished)
    read_splits(ws.d_f, ws.d_p, ws.split_manifest)
    rows = read_table(ws.d_f, D_F, columns=["dialogue_id", "split"]).to_pylist()
    assert len({row["dialogue_id"] for row in rows}) == 4  # of 20
    assert {row["split"] for row in rows} == {"train"}


def test_what_the_annotators_marked_is_the_gold(finished: Path) -> None:
    gold = {
        (row["dialogue_id"], row["turn"]): _wants(row["state"])
        for row in read_table(Workspace(finished / "gold").states, STATES).to_pylist()
    }
    labelled = read_table(Workspace(finished).d_f, D_F).to_pylist()
    assert labelled
    for row in labelled:
        assert _wants(row["state"]) == gold[row["dialogue_id"], row["turn"]]


def _wants(state: list[dict[str, str]]) -> set[tuple[str, str, str]]:
    return {(item["attribute"], item["value"], item["polarity"]) for item in state}


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="no demo made it"):
        run_demo(Workspace(tmp_path), SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.studio
@pytest.mark.usefixtures("studio_variables")
def test_the_demo_through_a_real_label_studio(tmp_path: Path) -> None:
    root = tmp_path / "ws"
    report = run_demo(Workspace(root), DemoRequest(size="test", epochs=1, with_studio=True))
    assert report.labelled == 4
    rows = read_table(Workspace(root).d_f, D_F, columns=["dialogue_id", "annotators"]).to_pylist()
    assert len({row["dialogue_id"] for row in rows}) == 4
    assert all(row["annotators"] for row in rows)


def test_ratio_zero_still_shows_the_labelling(tmp_path: Path) -> None:
    report = run_demo(Workspace(tmp_path / "ws"), DemoRequest(size="test", epochs=1, labeled_ratio=0.0))
    assert report.labelled == 1
    record = json.loads((report.workspace / "runs" / report.run / "record.json").read_text())
    assert record["labelled_dialogues"] == 0
