"""The README and the notebooks stay true: commands exist, pictures and files are there, cells run."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from pipeline.cli import app
from semantic_model.config import flat_settings, load_config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("semctl")])
def test_every_semctl_command_of_the_readme_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    if words[0] == "-w":
        words = words[2:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"the README names the command '{words[0]}'"
        command = command.commands[words.pop(0)]
    command.make_context("semctl", words, resilient_parsing=False)  # raises on an unknown option


def test_every_make_target_of_the_readme_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)\b", " ".join(shell_lines())))
    assert named >= {"demo", "test"}
    assert named <= targets


def test_every_picture_and_file_of_the_readme_is_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    assert linked
    assert [name for name in linked if not (ROOT / name).exists()] == []


def test_the_annotated_tree_names_only_files_that_are_there() -> None:
    tree = README.split("## What lies where")[1].split("```")[1]
    folder, missing = ROOT, []
    for line in tree.strip().splitlines():
        found = re.match(r"\s*((?:[\w./]+, )*[\w./]+)", line)
        assert found is not None
        names = found.group(1).split(", ")
        if not line.startswith(" "):
            folder = ROOT / names[0] if names[0].endswith("/") else ROOT
        inside = ROOT if not line.startswith(" ") else folder
        missing += [name for name in names if not (inside / name).exists()]
    assert missing == []


@pytest.mark.parametrize("name", re.findall(r"`([a-z_]+\.py)` `", README))
def test_files_of_the_paper_table_are_in_semantic_model(name: str) -> None:
    assert (ROOT / "semantic_model" / name).is_file()


def test_code_names_of_the_paper_table_are_there() -> None:
    missing = []
    for row in README.splitlines():
        if row.startswith(("| 3", "| 4")):
            where = row.split("|")[3]
            for file, rest in re.findall(r"`([a-z_/]+\.py)` ((?:`[A-Za-z_.]+`(?:, )?)+)", where):
                path = ROOT / (file if "/" in file else f"semantic_model/{file}")
                source = path.read_text()
                missing += [
                    (file, name)
                    for name in re.findall(r"`([A-Za-z_.]+)`", rest)
                    if not name.endswith(".py")
                    and not all(re.search(rf"\b(?:(?:def|class) {part}\b|{part}:)", source) for part in name.split("."))
                ]
    assert missing == []


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_the_notebook_runs(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), notebook.name, "exec"), names)
    assert capsys.readouterr().out


def test_nothing_committed_names_a_machine() -> None:
    told = re.compile(r"/(?:work|root|tmp)/[a-z.]")
    for path in (README, (ROOT / "CHANGELOG.md").read_text(), (ROOT / "Makefile").read_text()):
        assert not told.search(path)


def readings() -> list[list[str]]:
    table = README.split("Where the paper is open, these are the readings.")[1].split("\n\n")[1]
    rows = [re.split(r"(?<!\\)\|", row)[1:-1] for row in table.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def test_every_open_point_of_the_paper_has_a_reading() -> None:
    assert [int(row[0].rstrip(" †")) for row in readings()] == list(range(1, 44))
    assert all(all(row) for row in readings())


def test_every_switch_of_the_readings_is_there_at_the_value_that_paper_takes() -> None:
    settings = flat_settings(load_config("paper"))
    stated = [found for row in readings() for found in re.findall(r"`([a-z]+\.[a-z_]+)(?: = ([^`]+))?`", row[3])]
    assert len(stated) > 40
    for key, value in stated:
        assert key in settings, key
        if value:
            assert tomllib.loads(f"value = {value}")["value"] == (
                list(settings[key]) if isinstance(settings[key], tuple) else settings[key]
            ), key


def test_what_release_does_otherwise_is_marked() -> None:
    marked = " ".join(row[3] for row in readings() if row[0].endswith("†") or row[0] == "38")
    paper, release = (flat_settings(load_config(name)) for name in ("paper", "release"))
    assert [key for key in paper if paper[key] != release[key] and f"`{key}" not in marked] == []


def test_the_settings_of_the_ablations_are_there() -> None:
    table = README.split("| figure or table | setting |")[1].split("\n\n")[0]
    named = re.findall(r"`([a-z]+\.[a-z_]+)(?:=[^`]+)?`", table)
    assert len(named) == 6
    assert set(named) <= flat_settings(load_config("paper")).keys()
    for setting in re.findall(r"`([a-z]+\.[a-z_]+=[^`]+)`", table):
        load_config("paper", [setting])
