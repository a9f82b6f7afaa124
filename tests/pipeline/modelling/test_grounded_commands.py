"""The preset ``default`` through every command, on a generated corpus, with a model too small to learn much."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.workspace import Workspace
from semantic_model.config.config import config_from, load_config
from tests.generated_workspace import generated_workspace

SMALL = [
    f"--set={setting}" for setting in ("model.width=8", "model.heads=2", "model.inner=8", "text.product_max_tokens=10")
]
TRAIN = ["train", "--preset", "default", "--epochs", "1", *SMALL]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("grounded")
    return generated_workspace(folder)


@pytest.fixture
def told(workspace: Workspace, capsys):
    """Runs a command; what it printed as JSON."""

    def run(*arguments: str, code: int = 0) -> dict:
        assert cli._run(["-w", str(workspace.root), *arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out) if code == 0 else {"error": capsys.readouterr().err}

    return run


@pytest.mark.slow
def test_the_default_preset_goes_through_every_command(told, workspace: Workspace):
    record = told(*TRAIN, "--labeled-ratio", "0.5")
    folder = Path(record["path"])
    assert record["model"] == "grounded"
    assert record["run"].startswith("default-r0.5-s0-")
    assert record["labelled_dialogues"] > 0
    page = (folder / "model" / "README.md").read_text()
    assert "states grounded in the catalogue" in page
    assert "preset `default`" in page
    assert "labelled ratio 0.5" in page

    for more in ([], ["--product-table", "bfloat16"]):
        figures = told("evaluate", record["run"], "--split", "valid", "--candidates", "all", *more)
        assert "nan" not in json.dumps(figures).lower()
        assert record["run"] in json.dumps(figures)
        assert [each["name"] for each in figures["rows"]][-2:] == ["semantic (teacher)", "state-rule (gold)"]
        assert [each["name"] for each in figures["states"]] == ["semantic", "tracker", "tracker (rules)"]
        assert all(each["turns"] == figures["queries"] for each in figures["states"])
        assert all(0 <= each[name] <= 1 for each in figures["states"] for name in ("slot_f1", "value_f1", "jga"))
        assert figures["states"][2]["value_f1"] > 0.3  # the corpus's users name values

    query = told("recommend", record["run"], "--dialogue", first_dialogue(workspace))
    scores = [product["score"] for product in query["products"]]
    assert scores == sorted(scores, reverse=True)
    assert len({product["product_id"] for product in query["products"]}) == len(scores) > 0

    blind = told(*TRAIN, "--labeled-ratio", "0", "--no-images")
    assert (blind["images"], blind["labelled_dialogues"], blind["pictures"]) == (False, 0, "left out")
    every = told(*TRAIN, "--labeled-ratio", "1")
    assert every["examples"]["D_F"] == every["examples"]["D_P"]

    grid = told(
        *("experiment", "grid", "--presets", "default", "--ratios", "0.5", "--epochs", "1", *SMALL),
        *("--ablate", "grounding.shown=false"),
    )
    trained = [row["name"] for row in grid["rows"] if not row["floor"]]
    assert trained == ["default", "default grounding.shown=false"]
    again = told("evaluate", record["run"], "--split", "valid", "--candidates", "all", "--no-images")
    assert "nan" not in json.dumps(again).lower()


def first_dialogue(workspace: Workspace) -> str:
    import pyarrow.parquet as pq

    return str(pq.read_table(workspace.recommendations).to_pylist()[0]["dialogue_id"])


def test_show_prints_the_default_preset_with_its_grounding(workspace: Workspace, told, capsys):
    assert config_from(told("config", "show", "default")["config"], where="here") == load_config("default")
    assert cli._run(["-w", str(workspace.root), "config", "show", "default"]) == 0
    printed = capsys.readouterr().out
    assert "# gamma: log-odds of a product that has a wanted value" in printed
    assert tomllib.loads(printed)["model"]["kind"] == "grounded"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "tiny", "--set", "grounding.shown=false"], "'grounding.shown' does nothing"),
        (["--preset", "tiny", "--set", "loss.belief_weight=2"], "'loss.belief_weight' does nothing"),
        (["--preset", "default", "--set", "loss.rank=hinge"], "'loss.rank': Input should be 'softmax'"),
        (["--preset", "default", "--set", "loss.margin=2"], "'loss.margin' does nothing"),
        (
            ["--preset", "tiny", "--set", "model.kind=grounded", "--set", "grounding.similarity=false"],
            "leaves the DSI out",
        ),
    ],
)
def test_settings_that_would_do_nothing_are_refused_before_anything_is_written(
    told, workspace: Workspace, arguments: list[str], message: str
):
    before = sorted(workspace.runs.glob("*")) if workspace.runs.is_dir() else []
    assert message in told("train", "--labeled-ratio", "0.5", *arguments, code=2)["error"]
    assert (sorted(workspace.runs.glob("*")) if workspace.runs.is_dir() else []) == before
