"""What every command does alike: hints that can be typed as they are, readers of a pipe that go, no workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import orjson
import pytest
from typer.main import get_command

from pipeline.cli import COMMANDS, _run, app
from pipeline.context import Context
from pipeline.workspace import Workspace
from tests.labelling_corpus import dialogue, write_workspace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose name has a space in it."""
    root = tmp_path_factory.mktemp("work") / "our shop"
    write_workspace(root, [dialogue("d1")])
    return root


def semctl(arguments: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    return subprocess.run(command, env=variables, check=False, timeout=120, **{"capture_output": True, **options})


def test_hints_carry_the_workspace_that_was_given(folder: Path):
    answered = semctl(["-w", str(folder), "evaluate", "--json"])
    assert answered.returncode == 2
    assert f"run `semctl -w '{folder}' train --labeled-ratio R` first".encode() in answered.stderr
    assert orjson.loads(answered.stdout)["error"]["fix"] == f"run `semctl -w '{folder}' train --labeled-ratio R` first"


def test_every_command_is_a_file_of_its_name():
    files = {path.stem.rstrip("_") for path in (ROOT / "pipeline" / "commands").glob("[!_]*.py")}
    assert files == {name.replace("-", "_") for name in COMMANDS}
    assert set(COMMANDS) == set(getattr(get_command(app), "commands", {}))


def test_only_commands_are_hints(tmp_path: Path):
    state = Context(Workspace(tmp_path), named="shop", commands=("train", "export-for-labelling"))
    assert state.hint("Next: semctl export-for-labelling --project X") == (
        "Next: semctl -w shop export-for-labelling --project X"
    )
    assert state.hint("a bug in semctl: no trainer") == "a bug in semctl: no trainer"
    assert state.hint("semctl works with 1.23.x") == "semctl works with 1.23.x"
    assert state.hint("`semctl -w FOLDER train`") == "`semctl -w FOLDER train`"
    state.named = None
    assert state.hint("run `semctl train`") == "run `semctl train`"


def test_help_fills_the_lines_of_a_small_terminal_and_nothing_of_it_is_cut(capsys: pytest.CaptureFixture[str]):
    wide, cut = [], []
    for name, command in commands_of(get_command(app)):
        paragraphs = (command.help or "").split("\n\n")
        wide += [f"{name}: {paragraph}" for paragraph in paragraphs if "\n" in paragraph]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("typer.rich_utils.MAX_WIDTH", 76)
            command.get_help(click.Context(command, info_name=name))
        cut += [f"{name}: {line}" for line in capsys.readouterr().out.splitlines() if "\u2026" in line]
    assert wide == cut == []


def commands_of(group: click.Command, path: str = "semctl") -> Iterator[tuple[str, click.Command]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands_of(command, f"{path} {name}")


def test_export_ends_with_what_to_do_next(folder: Path, tmp_path: Path):
    answered = semctl(["-w", str(folder), "-q", "export-for-labelling", "--to-file", str(tmp_path / "tasks.json")])
    assert answered.returncode == 0
    last = answered.stdout.decode().splitlines()[-1]
    assert last == f"Next: label them, then semctl -w '{folder}' ingest-labels EXPORT.json"


LEAVES = [
    (name.split()[1:], command) for name, command in commands_of(get_command(app)) if not hasattr(command, "commands")
]
AT_ONCE = {"demo": ["--size", "none"], "studio start": ["--port", "0"], "experiment list": [], "doctor": []}
"""What keeps a command that needs no workspace from beginning; no argument: it may end well."""


def filled(command: click.Command) -> list[str]:
    """Something for every argument and option that must be given."""
    words: list[str] = []
    for parameter in command.params:
        if parameter.required:
            words += ["nothing"] if isinstance(parameter, click.Argument) else [parameter.opts[0], "1"]
    return words


@pytest.mark.parametrize(("names", "command"), LEAVES, ids=[" ".join(names) for names, _ in LEAVES])
def test_every_command_that_fails_prints_one_json_object(
    names: list[str], command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    wrong = ["--no-such-option"], ["too", "many", "many", "words"]
    asked = AT_ONCE.get(" ".join(names), filled(command))
    for words in (*wrong, asked):
        code = _run([*names, *words, "--json"])
        printed = capsys.readouterr()
        said = orjson.loads(printed.out)
        if "error" in said:
            assert code == said["error"]["exit_code"] in (2, 3, 4), said
            assert said["error"]["what"]
            assert printed.err.splitlines()[-1].startswith("error: ")
        else:
            assert words is asked
            assert code in (0, 3)
        assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["config", "show"], ["ontology", "show"], ["ontology", "show", "--json"], ["evaluate", "--json"]],
)
def test_a_reader_that_goes_is_no_error(folder: Path, arguments: list[str]):
    reads, writes = os.pipe()
    os.close(reads)
    try:
        answered = semctl(["-w", str(folder), *arguments], capture_output=False, stdout=writes, stderr=subprocess.PIPE)
    finally:
        os.close(writes)
    expected = (2, b"error: no run") if "evaluate" in arguments else (0, b"")
    assert (answered.returncode, answered.stderr[:13]) == expected
