"""Every file of a workspace, damaged at random: each command says what is wrong in one line, none is "a bug"."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import _run

pytestmark = pytest.mark.slow

SEEDS = range(int(os.environ.get("SEMCTL_FUZZ_SEEDS", "3")))
VALUES: tuple[Any, ...] = (
    None,
    [],
    {},
    "",
    5,
    -1,
    10**30,
    1e300,
    True,
    [[[]]],
    {"a": 1},
    "y" * 5000,
    [None],
    "\x1b[2J",
)
COMMANDS = (
    ("stats",),
    ("checks",),
    ("progress",),
    ("diff",),
    ("ontology", "add", "colors=mauve"),
    ("select", "-n", "2"),
    ("export-for-labelling", "--to-file", "{shop}/more.json", "-n", "2"),
    ("ingest-labels",),
    ("ingest-labels", "{shop}/export.json"),
    ("config", "show"),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    shop = folder / "shop"
    for arguments in (
        ["generate", str(folder / "corpus"), "--size", "test", "--seed", "1"],
        ["-w", str(shop), "import", str(folder / "corpus"), "--format", "mmd"],
        ["-w", str(shop), "export-for-labelling", "--to-file", str(shop / "tasks.json"), "-n", "6"],
        ["-w", str(shop), "ingest-labels"],
    ):
        assert _run(["-q", *arguments, "--json"]) == 0
    tasks = json.loads((shop / "tasks.json").read_text())
    annotation = {"id": 1, "completed_by": 1, "result": [], "created_at": "2026-01-02T03:04:05Z", "lead_time": 60.0}
    answered = [
        {"id": n, "project": 1, "annotations": [{**annotation, "id": n}], **task} for n, task in enumerate(tasks)
    ]
    (shop / "export.json").write_text(json.dumps(answered))
    return shop


def damage(path: Path, draw: random.Random) -> str:
    """Change bytes of a file, or values of its JSON; what was done, for people."""
    content = path.read_bytes()
    if path.suffix == ".json" and draw.random() < 0.6:
        value = json.loads(content)
        holder, key = [value], 0
        while isinstance(holder[key], list | dict) and holder[key] and draw.random() < 0.8:
            holder = holder[key]
            key = draw.choice(range(len(holder)) if isinstance(holder, list) else list(holder))
        holder[key] = draw.choice(VALUES)
        path.write_text(json.dumps(value))
        return f"{path.name}: {key!r} = {str(holder[key])[:20]!r}"
    at = draw.randrange(max(len(content), 1))
    kind, changed = draw.choice(
        (
            ("cut", content[:at]),
            ("emptied", b""),
            (
                "bit",
                content[:at] + bytes([(content[at] if content else 0) ^ 1 << draw.randrange(8)]) + content[at + 1 :],
            ),
            ("zeroes", content[:at] + bytes(16) + content[at + 16 :]),
            ("digits", content[:at] + b"1" * 5000 + content[at:]),
            ("brackets", content[:at] + b"[" * 2000 + content[at:]),
            ("no text", content[:at] + b"\xff\xfe" + content[at:]),
        )
    )
    path.write_bytes(changed)
    return f"{path.name}: {kind} at {at}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_file_is_one_line(seed: int, shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    draw = random.Random(seed)
    files = sorted(
        path.relative_to(shop)
        for path in shop.rglob("*")
        if path.is_file() and path.suffix in {".json", ".parquet", ".toml", ".xml", ".md", ".txt", ".gz"}
    )
    for file in files:
        copy = tmp_path / "shop"
        shutil.copytree(shop, copy)
        what = damage(copy / file, draw)
        for command in draw.sample(COMMANDS, 2):
            arguments = ["-q", "-w", str(copy), *(part.format(shop=copy) for part in command)]
            as_json = draw.random() < 0.5
            capfd.readouterr()
            code = _run([*arguments, "--json"] if as_json else arguments)
            shown, said = capfd.readouterr()
            assert code in (0, 2, 3), f"{what}: semctl {' '.join(arguments)}: {code} {said}"
            assert code != 2 or said.count("\n") <= 2, said
            assert not as_json or isinstance(json.loads(shown), dict), f"{what}: {shown}"
        shutil.rmtree(copy)
