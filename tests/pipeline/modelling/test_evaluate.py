from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.runs import find_run
from pipeline.workspace import Workspace
from schemas.errors import ModelError, SchemaError, UsageError, WorkspaceError
from schemas.files import sha256_file, write_json
from schemas.progress import SilentProgress
from schemas.tables import IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, write_table
from semantic_model.evaluation.metrics import metric_names
from semantic_model.models.tfidf import TfIdf

WORDS = (
    "red dress",
    "blue jeans",
    "black coat",
    "green skirt",
    "white shirt",
    "grey jumper",
    "pink scarf",
    "brown hat",
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Eight products; in each dialogue the user asks for one by its two words and the system shows it."""
    space = Workspace(tmp_path / "shop").create()
    products = [
        {
            "product_id": f"p{i}",
            "name": words,
            "description": "",
            "attributes": [("color", [words.split()[0]])],
            "price": None,
            "currency": None,
            "image_ids": [],
            "source": "test",
        }
        for i, words in enumerate(WORDS)
    ]
    turns, recommendations = [], []
    for number, (split, wanted) in enumerate([("train", 0), ("train", 0), ("train", 3), ("valid", 1), ("valid", 2)]):
        dialogue = f"{split}/{number:02}"
        for turn, (speaker, text) in enumerate(
            [("user", "hello"), ("system", "hi"), ("user", f"show me a {WORDS[wanted]}"), ("system", "here")]
        ):
            turns.append(
                {
                    "dialogue_id": dialogue,
                    "turn": turn,
                    "speaker": speaker,
                    "act": "",
                    "text": text,
                    "image_ids": [],
                    "split": split,
                }
            )
        recommendations.append(
            {
                "dialogue_id": dialogue,
                "turn": 3,
                "positives": [f"p{wanted}"],
                "negatives": ["p6", "p7"],
                "positives_listed": [f"p{wanted}"],
                "negatives_listed": ["p6", "p7"],
                "split": split,
            }
        )
    write_table(space.products, PRODUCTS, products)
    write_table(space.images, IMAGES, [])
    write_table(space.turns, TURNS, turns)
    write_table(space.recommendations, RECOMMENDATIONS, recommendations)
    return space


def add_run(workspace: Workspace, name: str, *, complete: bool = True, age: int = 0) -> Path:
    folder = workspace.runs / name
    folder.mkdir(parents=True)
    if complete:
        (folder / "record.json").write_text("{}")
        os.utime(folder / "record.json", (1_000_000 - age, 1_000_000 - age))
    return folder


def semctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    root = Path(__file__).resolve().parents[3]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=root)


def test_baselines_find_what_is_asked_for_in_so_many_words(workspace: Workspace):
    report = evaluate(workspace, EvaluateRequest(split="valid", candidates="all", baselines_only=True))
    assert [row.name for row in report.rows] == ["random", "popularity", "tfidf", "bm25"]
    by_name = {row.name: row.means for row in report.rows}
    assert by_name["tfidf"]["ndcg@5"] == by_name["bm25"]["ndcg@5"] == pytest.approx(1.0)
    # p0 and p3 are popular, the six others tie for places 3 to 8: three of the six are among the first five
    assert by_name["popularity"]["recall@5"] == pytest.approx(0.5)
    assert not workspace.runs.exists()


def test_the_model_comes_first_and_the_report_is_kept_with_its_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    class Model(TfIdf):
        name = "semantic"

    opened = []
    monkeypatch.setattr(
        "pipeline.modelling.evaluate.open_ranker", lambda folder, corpus, **_: opened.append(folder) or Model()
    )
    folder = add_run(workspace, "tiny-r0.2-s0-abcdef")
    report = evaluate(workspace, EvaluateRequest(split="valid", candidates="listed"))
    assert opened == [folder]
    assert [row.name for row in report.rows] == ["semantic", "random", "popularity", "tfidf", "bm25"]
    file = folder / "evaluation-valid-listed.json"
    first = file.read_bytes()
    kept = json.loads(first)
    assert (kept["run"], kept["split"], kept["candidates"], kept["queries"]) == (folder.name, "valid", "listed", 2)
    assert set(metric_names()) <= set(kept["rows"][0])
    assert kept["rows"][0]["recall@5"] == 1.0
    evaluate(workspace, EvaluateRequest(split="valid", candidates="listed"))
    assert file.read_bytes() == first
    evaluate(workspace, EvaluateRequest(split="valid", candidates="listed", images=False))
    assert (folder / "evaluation-valid-listed-no-images.json").is_file()


def test_data_that_changed_since_the_training_is_said(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.modelling.evaluate.open_ranker", lambda folder, corpus, **_: TfIdf())
    inputs = {"products": sha256_file(workspace.products), "turns": "0" * 64}
    write_json(add_run(workspace, "tiny") / "record.json", {"inputs": inputs})
    said: list[str] = []

    class Listening(SilentProgress):
        def log(self, message: str) -> None:
            said.append(message)

    evaluate(workspace, EvaluateRequest(split="valid"), progress=Listening())
    assert said == ["turns changed since tiny was trained"]


def test_latest_is_the_newest_complete_run(workspace: Workspace):
    add_run(workspace, "b-old", age=50)
    newest = add_run(workspace, "a-new")
    add_run(workspace, "c-unfinished", complete=False)
    assert find_run(workspace) == newest
    assert find_run(workspace, "b-old").name == "b-old"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("c-unfinished", "not been trained to its end"),
        ("b-odl", "did you mean 'b-old'"),
        ("../shop", "there is no run '../shop'"),
    ],
)
def test_a_run_that_cannot_be_used_is_refused(workspace: Workspace, name: str, said: str):
    add_run(workspace, "b-old")
    add_run(workspace, "c-unfinished", complete=False)
    with pytest.raises(ModelError, match=said):
        find_run(workspace, name)


def test_no_run_at_all_says_how_to_get_one(workspace: Workspace):
    with pytest.raises(ModelError, match="semctl train"):
        evaluate(workspace, EvaluateRequest(split="valid"))


def test_an_empty_split_names_the_splits_there_are(workspace: Workspace):
    with pytest.raises(UsageError, match=r"'test' has no recommendation turns; .*train \(3\), valid \(2\)"):
        evaluate(workspace, EvaluateRequest(split="test", baselines_only=True))


def test_unknown_candidates_are_refused(workspace: Workspace):
    with pytest.raises(UsageError, match="did you mean '1000'"):
        evaluate(workspace, EvaluateRequest(split="valid", candidates="100", baselines_only=True))


def test_a_workspace_without_a_corpus_and_a_folder_that_is_none_are_refused(tmp_path: Path):
    with pytest.raises(WorkspaceError, match="semctl import"):
        evaluate(Workspace(tmp_path / "empty").create(), EvaluateRequest(baselines_only=True))
    with pytest.raises(WorkspaceError, match="not a semctl workspace"):
        evaluate(Workspace(tmp_path), EvaluateRequest(baselines_only=True))


def test_an_older_table_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    import schemas.tables

    with monkeypatch.context() as older:
        older.setattr(schemas.tables.TURNS.__class__, "metadata", lambda self, inputs: _stamped(self))
        write_table(workspace.turns, TURNS, [])
    with pytest.raises(SchemaError, match=r"schema version 0.*semctl import"):
        evaluate(workspace, EvaluateRequest(split="valid", baselines_only=True))


def _stamped(table: object) -> dict[bytes, bytes]:
    return {b"semctl.table": table.name.encode(), b"semctl.schema_version": b"0", b"semctl.inputs": b"{}"}


def test_the_command_prints_one_json_object_or_a_table(workspace: Workspace):
    shop = str(workspace.root)
    options = ("evaluate", "--split", "valid", "--candidates", "all", "--baselines-only")
    answered = semctl("-w", shop, *options, "--json")
    assert answered.returncode == 0, answered.stderr
    report = json.loads(answered.stdout)
    assert report["run"] is None
    assert report["queries"] == 2
    assert [row["name"] for row in report["rows"]] == ["random", "popularity", "tfidf", "bm25"]
    assert report["rows"][2]["precision@5"] == pytest.approx(0.2)
    low, high = report["rows"][1]["intervals"]["recall@5"]
    assert low <= report["rows"][1]["recall@5"] <= high
    table = semctl("-w", shop, *options)
    assert table.returncode == 0
    assert "tfidf" in table.stdout
    assert "100.00" in table.stdout


def test_bad_input_is_one_line_and_exit_code_2(workspace: Workspace):
    shop = str(workspace.root)
    for arguments in (("evaluate",), ("evaluate", "--split", "nope"), ("evaluate", "--baselines-only")):
        answered = semctl("-w", shop, *arguments)
        assert answered.returncode == 2
        assert answered.stdout == ""
        assert len(answered.stderr.strip().splitlines()) == 1


def test_the_released_codes_formula_and_candidates_have_a_report_of_their_own(workspace: Workspace):
    plain = evaluate(workspace, EvaluateRequest(split="valid", baselines_only=True))
    flattered = evaluate(
        workspace, EvaluateRequest(split="valid", baselines_only=True, candidates="release", metrics="release")
    )
    assert plain.as_json()["metrics"] == "standard"
    assert (flattered.as_json()["metrics"], flattered.candidates) == ("release", "release")
    popularity = {row.name: row.means["ndcg@5"] for row in flattered.rows}["popularity"]
    assert popularity > {row.name: row.means["ndcg@5"] for row in plain.rows}["popularity"]  # ties are won
