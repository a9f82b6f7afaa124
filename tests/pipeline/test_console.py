"""What reaches a terminal: no escape of a dialogue, a file or a server, and no secret, wherever it is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.cli import _run
from pipeline.console import Console
from schemas.errors import UsageError
from schemas.safe_text import forget_secrets, guard
from schemas.tables import TURNS, read_table, write_table
from tests.labelling_corpus import dialogue, write_workspace

ROOT = Path(__file__).resolve().parents[2]
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b1m\r\u202e"
OBEYED = set("\x1b\x07\x9b\r\u202e")
KEY = "5f0c17ab93de42c68b1e"


@pytest.fixture(autouse=True)
def _no_secrets() -> Iterator[None]:
    yield
    forget_secrets()


def a_board(console: Console) -> None:
    with console.board() as board:
        board.show(f"title {EVIL}{KEY}", [f"column {EVIL}{KEY}"], [[f"cell {EVIL}{KEY}"]], captions=[f"{EVIL}{KEY}"])


PRINTED: dict[str, Callable[[Console], None]] = {
    "a table": lambda console: console.table(
        f"title {EVIL}{KEY}", [f"column {EVIL}{KEY}"], [[f"cell {EVIL}{KEY}"]], caption=f"caption {EVIL}{KEY}"
    ),
    "a board": a_board,
    "a line": lambda console: console.say(f"said {EVIL}{KEY}"),
    "a log line": lambda console: console.log(f"logged {EVIL}{KEY}"),
    "an error": lambda console: console.error(UsageError(f"what {EVIL}{KEY}", where=EVIL + KEY, fix=EVIL + KEY)),
    "JSON": lambda console: console.json({EVIL + KEY: [EVIL + KEY]}),
}


@pytest.mark.parametrize("printed", PRINTED)
def test_neither_escapes_nor_secrets_are_printed(printed: str, capsysbinary: pytest.CaptureFixture[bytes]):
    guard(KEY)
    PRINTED[printed](Console())
    shown = b"".join(capsysbinary.readouterr()).decode()
    assert shown
    assert not set(shown) & OBEYED
    assert KEY[:8] not in shown


def test_words_between_colons_are_no_emoji(capsys: pytest.CaptureFixture[str]):
    Console().table("sizes :m:", ("size",), [[":m:"]])
    assert capsys.readouterr().out.count(":m:") == 2


def test_json_of_names_that_are_not_unicode_can_be_read(capsysbinary: pytest.CaptureFixture[bytes]):
    Console(as_json=True).json({"file": os.fsdecode(b"caf\xe9"), "evil": EVIL})
    assert json.loads(capsysbinary.readouterr().out) == {"file": "caf\\xe9", "evil": EVIL}


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_path_of_escapes_and_bytes_is_one_harmless_line(tmp_path: Path, as_json: list[str]):
    evil = tmp_path / os.fsdecode(b"\x1b[31m\xe9\nx.json")
    evil.write_text("[")
    space = write_workspace(tmp_path / "shop", [dialogue("d")])
    command = [sys.executable, "-m", "pipeline.cli", "-w", str(space.root), "ingest-labels", str(evil), *as_json]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert rb"\x1b[31m\xe9 x.json" in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"a bug" not in done.stderr
    if as_json:
        assert json.loads(done.stdout)["error"]["exit_code"] == 2


def test_files_of_any_name_are_read_and_written(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]):
    space = write_workspace(tmp_path / "shop", [dialogue("d", users=2)])
    out = tmp_path / os.fsdecode(b"out\xff")
    chosen = str(out / "chosen.txt")
    for arguments, code in (
        (("select", "--strategy", "random", "-n", "1", "--out", chosen), 0),
        (("export-for-labelling", "--to-file", str(out / "tasks.json"), "--dialogues", chosen), 0),
        (("export-for-labelling", "--to-file", str(out / os.fsdecode(b"more\xff.json"))), 0),
        (("export-for-labelling", "--project", os.fsdecode(b"coats\xff")), 4),
        (("ingest-labels", str(out / "tasks.json")), 2),
        (("import", str(out), "--format", "mmd"), 2),
        (("generate", str(out / "corpus"), "--size", "test"), 0),
    ):
        assert _run(["-w", str(space.root), *arguments, "--json"]) == code
        printed = capsysbinary.readouterr()
        assert b"a bug" not in printed.err, printed.err.decode()
        assert isinstance(json.loads(printed.out), dict)


def test_a_name_that_is_not_unicode_is_not_taken_for_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    space = write_workspace(tmp_path / "shop", [dialogue("d", users=2)])
    assert _run(["-w", str(space.root), "ingest-labels"]) == 0
    assert _run(["-w", str(space.root), "trace", os.fsdecode(b"d\xff"), "--turn", "0", "--slot", "color"]) == 2
    assert "a name that is not UTF-8 (d\\xff); take another name" in capsys.readouterr().err


def test_a_workspace_whose_path_is_not_unicode_is_refused(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]):
    for arguments in (("stats",), ("import", str(tmp_path), "--format", "mmd")):
        assert _run(["-w", str(tmp_path / os.fsdecode(b"caf\xe9")), *arguments, "--json"]) == 2
        printed = capsysbinary.readouterr()
        assert b"caf\\xe9" in printed.err
        assert isinstance(json.loads(printed.out), dict)


def test_escapes_in_dialogues_do_not_pass_through_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    space = write_workspace(tmp_path / "shop", [dialogue("d", users=2)])
    rows = [{**row, "text": f"{row['text']} {EVIL}"} for row in read_table(space.turns, TURNS).to_pylist()]
    write_table(space.turns, TURNS, rows)
    assert _run(["-w", str(space.root), "ingest-labels"]) == 0
    assert _run(["-w", str(space.root), "checks"]) == 0
    assert _run(["-w", str(space.root), "stats"]) in (0, 2)
    printed = capsys.readouterr()
    assert not set(printed.out + printed.err) & OBEYED


def test_a_traceback_is_harmless_too(tmp_path: Path):
    code = (
        "import sys, pipeline.cli as cli\n"
        "def broken(*a, **k): raise RuntimeError('\\x1b[2J 5f0c17ab93de42c68b1e')\n"
        "cli.app = broken; sys.argv = ['semctl', '--debug']; cli.main()"
    )
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": KEY}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 1
    assert rb"RuntimeError: \x1b[2J ***" in done.stderr
    assert b"\x1b" not in done.stderr


def test_waiting_for_another_command_is_told_at_once(tmp_path: Path):
    from schemas.files import locked

    space = write_workspace(tmp_path / "shop", [dialogue("d")])
    with locked(space.annotations.parent / ".lock"):
        command = [sys.executable, "-m", "pipeline.cli", "-w", str(space.root), "ingest-labels"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT) as waits:
            assert waits.stderr is not None
            assert "waiting for another semctl command to finish" in waits.stderr.readline()
            waits.kill()
