"""``import``, ``stats`` and ``benchmark`` as people type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.benchmarks.import_speed import Shape, write_corpus
from pipeline.cli import _run
from pipeline.corpus.stats import workspace_stats
from pipeline.workspace import Workspace
from schemas.errors import WorkspaceError
from schemas.tables import STATES, write_table


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "corpus", Shape("x", dialogues=20, negatives=6, products=12))
    return tmp_path / "corpus"


def test_import_prints_one_json_object_with_the_agreed_keys(
    corpus: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert _run(["-w", str(tmp_path / "work"), "import", str(corpus), "--format", "mmd", "--json"]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert found["dialogues"] == 20
    assert found["user_turns"] == found["recommendation_turns"] == 120
    assert found["products"] == 12
    assert found["images"] == {"ok": 0, "missing": 0, "dead": 12, "broken": 0}
    assert found["dropped"]["images/dead"] == 12
    manifest = json.loads((tmp_path / "work/data/manifest.json").read_bytes())
    assert manifest["ledger"] == found["ledger"]
    assert manifest["settings"] == {"format": "mmd", "ignore_states": False, "topic_change": "reset"}


def test_import_prints_the_ledger_as_a_table(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["-q", "-w", str(tmp_path / "work"), "import", str(corpus), "--format", "mmd"]) == 0
    out = capsys.readouterr().out
    assert "recommendation turns" in out
    assert "dead 12" in out


def test_a_bad_corpus_is_one_line_and_exit_code_2(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert _run(["-w", str(tmp_path / "work"), "import", str(tmp_path / "none"), "--format", "mmd", "--json"]) == 2
    captured = capsysbinary.readouterr()
    assert json.loads(captured.out)["error"]["kind"] == "CorpusError"
    assert captured.err.count(b"\n") == 1
    assert not (tmp_path / "work").exists()


def test_import_help_shows_the_json_lines_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["import", "--help"]) == 0
    out = capsys.readouterr().out
    assert '"dialogue_id"' in out
    assert '["red"]' in out


def test_stats_counts_table_1_and_coverage(
    corpus: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    workspace = tmp_path / "work"
    assert _run(["-w", str(workspace), "import", str(corpus), "--format", "mmd", "--json"]) == 0
    capsysbinary.readouterr()
    assert _run(["-w", str(workspace), "stats", "--json"]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    train, valid, test = found["splits"]
    assert (train["dialogues"], valid["dialogues"], test["dialogues"]) == (16, 2, 2)
    assert train["proportion"] == pytest.approx(0.8)
    assert (train["rec_turns"], train["avg_rec_turns"], train["avg_pos_images"]) == (96, 6.0, 4.0)
    assert 2 <= train["avg_neg_images"] <= 6
    assert found["labels_from"] == "corpus annotations"
    assert found["labelled_turns"] == 120
    assert {slot["slot"]: slot["attribute"] for slot in found["slots"]}["types"] == "type"


def test_stats_prefer_adjudicated_states(corpus: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    assert _run(["-q", "-w", str(workspace.root), "import", str(corpus), "--format", "mmd"]) == 0
    liked = {
        "slot": "types",
        "attribute": "type",
        "value": "dress",
        "polarity": "like",
        "catalogue_value": "dress",
        "in_catalogue": True,
    }
    row = {"dialogue_id": "d", "turn": 0, "split": "train", "labelled_slots": [], "annotators": []}
    rows = [
        {**row, "state": [liked, {**liked, "value": "robe", "catalogue_value": None, "in_catalogue": False}]},
        {**row, "turn": 2, "state": []},
        {**row, "turn": 4, "state": None},
    ]
    write_table(workspace.states, STATES, [{**r, "source_annotations": []} for r in rows])
    stats = workspace_stats(workspace)
    assert (stats.labels_from, stats.labelled_turns) == ("states", 2)
    types = next(slot for slot in stats.slots if slot.slot == "types")
    assert (types.turns, types.share, types.values_said, types.values_known) == (1, 0.5, 2, 1)


def test_stats_need_an_import(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="not a semctl workspace"):
        workspace_stats(Workspace(tmp_path))
    with pytest.raises(WorkspaceError, match="semctl import"):
        workspace_stats(Workspace(tmp_path).create())
