"""``import --split``: splits drawn by dialogue, whatever the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.benchmarks.import_speed import Shape, write_corpus
from pipeline.cli import app
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.corpus.records import SplitShares
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.tables import RECOMMENDATIONS, TURNS, read_table

SHARES = "train=0.6,valid=0.2,test=0.2"


def splits_of(workspace: Workspace) -> dict[str, str]:
    """dialogue -> split, which must be one and the same in all tables."""
    found: dict[str, str] = {}
    for table, path in ((TURNS, workspace.turns), (RECOMMENDATIONS, workspace.recommendations)):
        for row in read_table(path, table, columns=["dialogue_id", "split"]).to_pylist():
            assert found.setdefault(row["dialogue_id"], row["split"]) == row["split"]
    return found


def write_simmc2(folder: Path, dialogues: int) -> Path:
    """A SIMMC 2 corpus whose one file is named as the ``dev`` part is."""
    turn: dict[str, Any] = {"transcript": "a red shirt", "system_transcript": "here"}
    data = [{"dialogue_idx": i, "dialogue": [turn]} for i in range(dialogues)]
    folder.mkdir()
    (folder / "simmc2_dials_dev.json").write_text(json.dumps({"split": "dev", "dialogue_data": data}))
    (folder / "catalogue.json").write_text(json.dumps({"a": {"type": "shirt", "color": "red"}}))
    (folder / "dialogue_object_to_item.json").write_text("{}")
    return folder


def write_jsonl(folder: Path, dialogues: int) -> Path:
    folder.mkdir()
    lines = [{"dialogue_id": str(i), "turns": [{"speaker": "user", "text": "hello"}]} for i in range(dialogues)]
    (folder / "dialogues.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "products.jsonl").write_text(json.dumps({"product_id": "a"}))
    return folder


def test_a_file_that_is_one_split_is_shared_out(tmp_path: Path) -> None:
    corpus = write_simmc2(tmp_path / "corpus", 200)
    own, drawn = Workspace(tmp_path / "own"), Workspace(tmp_path / "drawn")
    assert import_corpus(own, ImportRequest(corpus, "simmc2")).splits == {"train": 0, "valid": 200, "test": 0}
    report = import_corpus(drawn, ImportRequest(corpus, "simmc2", split=SplitShares.parse(SHARES)))
    assert sum(report.splits.values()) == 200
    # five standard deviations of a binomial of 200
    assert abs(report.splits["train"] - 120) < 35
    assert abs(report.splits["valid"] - 40) < 29
    assert abs(report.splits["test"] - 40) < 29
    assert set(splits_of(own)) == set(splits_of(drawn))


def test_the_split_of_a_dialogue_does_not_depend_on_the_format_or_the_other_dialogues(tmp_path: Path) -> None:
    split = SplitShares.parse(SHARES, 7)
    few, many = Workspace(tmp_path / "few"), Workspace(tmp_path / "many")
    import_corpus(few, ImportRequest(write_simmc2(tmp_path / "simmc2", 20), "simmc2", split=split))
    import_corpus(many, ImportRequest(write_jsonl(tmp_path / "jsonl", 50), "jsonl", split=split))
    assert splits_of(few).items() <= splits_of(many).items()
    assert len(splits_of(many)) == 50


def test_candidates_are_in_the_split_of_their_dialogue_and_another_seed_draws_others(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_corpus(corpus, Shape("x", dialogues=60, negatives=5, products=10))
    found = []
    for seed in (0, 0, 1):
        workspace = Workspace(tmp_path / f"work{len(found)}")
        import_corpus(workspace, ImportRequest(corpus, "mmd", split=SplitShares.parse(SHARES, seed)))
        found.append(splits_of(workspace))
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert found[0]["train-0"] == SplitShares.parse(SHARES, 0).of("train-0")


def test_the_hash_that_draws_is_the_documented_one() -> None:
    place = 0xC5D3A716A082F0B8 / 2**64  # printf 0:d1 | sha256sum
    assert SplitShares({"train": place - 1e-9, "test": 1 - place + 1e-9}).of("d1") == "test"
    assert SplitShares({"train": place + 1e-9, "test": 1 - place - 1e-9}).of("d1") == "train"


@given(st.lists(st.text(), unique=True, max_size=50), st.floats(0, 1), st.floats(0, 1), st.integers())
def test_a_smaller_share_of_train_is_within_a_larger_one(ids: list[str], a: float, b: float, seed: int) -> None:
    small, large = sorted((a, b))
    within = [SplitShares({"train": share, "test": 1 - share}, seed) for share in (small, large)]
    assert {i for i in ids if within[0].of(i) == "train"} <= {i for i in ids if within[1].of(i) == "train"}


def test_a_split_without_a_share_gets_nothing() -> None:
    split = SplitShares.parse("valid = 0.5, train=0.5")
    assert split.as_json() == {"shares": {"train": 0.5, "valid": 0.5}, "seed": 0}
    assert {split.of(str(i)) for i in range(100)} == {"train", "valid"}
    assert {SplitShares.parse("test=1,train=0").of(str(i)) for i in range(100)} == {"test"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train=0.8,valid=0.1", "sum to 0.9"),
        ("train=0.8,trial=0.2", "'trial=0.2'"),
        ("train=0.8,valid", "'valid'"),
        ("train=0.8,val=0.1,valid=0.1", "valid is there twice"),
        ("train=1.5,valid=-0.5", "'train=1.5'"),
        ("train=nan", "'train=nan'"),
        ("", "''"),
    ],
)
def test_shares_that_make_no_sense_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SplitShares.parse(text)


def test_the_summary_the_json_and_the_manifest_say_how_splits_were_drawn(tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "corpus", 30)
    command = ["-w", str(tmp_path / "work"), "import", str(corpus), "--format", "jsonl", "--split", SHARES]
    result = CliRunner().invoke(app, [*command, "--split-seed", "3", "--json"])
    assert result.exit_code == 0, result.output
    drawn = {"shares": {"train": 0.6, "valid": 0.2, "test": 0.2}, "seed": 3}
    assert json.loads(result.stdout)["drawn_splits"] == drawn
    manifest = json.loads(Workspace(tmp_path / "work").import_manifest.read_text())
    assert manifest["drawn_splits"] == drawn
    result = CliRunner().invoke(app, [*command, "--split-seed", "3"])
    assert "drawn by dialogue: train 0.6, valid 0.2, test 0.2, seed 3" in " ".join(result.output.split())
