"""``semctl config show`` and ``diff``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.modelling.configuration import differences, open_config
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import write_atomic
from semantic_model.config.config import config_from, config_toml, load_config


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "space").create()
    config = load_config("tiny", ["loss.alpha=0.3"])
    write_atomic(made.runs / "tiny-r0.2-s0-abcdef" / "config.toml", config_toml(config, title="t"))
    return made


def run(workspace: Workspace, *arguments: str) -> int:
    return cli._run(["-w", str(workspace.root), "config", *arguments])


def test_what_show_prints_reads_back_as_the_same_settings(workspace: Workspace, capsys, tmp_path: Path):
    assert run(workspace, "show", "release", "--set", "loss.alpha=0.3") == 0
    printed = capsys.readouterr().out
    assert "# K\nhops = 3" in printed
    (tmp_path / "mine.toml").write_text(printed)
    assert load_config(str(tmp_path / "mine.toml")) == load_config("release", ["loss.alpha=0.3"])


def test_show_as_json_holds_every_setting(workspace: Workspace, capsys):
    assert run(workspace, "show", "paper", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["name"] == "paper"
    assert config_from(printed["config"], where="here") == load_config("paper")


def test_show_without_a_name_is_the_workspaces_preset(workspace: Workspace, capsys):
    assert run(workspace, "show") == 0
    assert tomllib.loads(capsys.readouterr().out)["model"]["kind"] == load_config("default").model.kind


def test_a_run_is_a_configuration_too(workspace: Workspace):
    name, config = open_config(workspace, "tiny-r0.2-s0-abcdef")
    assert (name, config.loss.alpha) == ("tiny-r0.2-s0-abcdef", 0.3)


def test_diff_names_the_keys_that_differ_and_both_values(workspace: Workspace, capsys):
    assert run(workspace, "diff", "tiny", "tiny-r0.2-s0-abcdef", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {
        "a": "tiny",
        "b": "tiny-r0.2-s0-abcdef",
        "differences": [{"key": "loss.alpha", "a": 0.5, "b": 0.3}],
    }
    assert run(workspace, "diff", "paper", "paper") == 0
    assert "the same settings" in capsys.readouterr().out


def test_paper_and_release_differ_in_the_rows_of_the_readings_and_in_the_schedule(workspace: Workspace):
    found = differences(load_config("paper"), load_config("release"))
    assert {difference.key for difference in found} == {
        "loss.divergence",  # row 2
        "text.activation",  # 11
        "image.turn_attention",  # 12
        "image.bn",  # 14
        "state.value_pool",  # 19
        "loss.co_sim_reduce",  # 29
        "train.teacher_warmup_epochs",  # 34, with what it belongs to
        "train.when_all_labelled",
        "train.warmup_over",
        "train.clip_on",
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "papper"], "no preset, file or run 'papper'; did you mean 'paper'"),
        (["show", "tiny-r0.2-s0-abcdeg"], "did you mean 'tiny-r0.2-s0-abcdef'"),
        (["show", "paper", "--set", "loss.alhpa=1"], "did you mean 'loss.alpha'"),
        (["diff", "paper", "nowhere.toml"], "no preset 'nowhere.toml'"),
    ],
)
def test_what_is_not_there_is_refused_with_the_nearest(workspace: Workspace, capsys, arguments: list[str], says: str):
    assert run(workspace, *arguments) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_an_unknown_name_without_anything_near_lists_the_presets(workspace: Workspace):
    with pytest.raises(UsageError, match=r"presets: .*paper, release, .*tiny"):
        open_config(workspace, "zzzzzzzzzzzz")
