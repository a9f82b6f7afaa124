"""``kill -9`` at file operations of every stage: what is there stays readable, and the next run makes everything whole.

In CI two operations of each stage are drawn; ``SEMCTL_KILL_AT=20`` draws twenty, ``SEMCTL_KILL_AT=all`` kills at every
one (more than a thousand, each of them two runs).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.label_exports import answer, answered, pick, save

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).resolve().parents[2]
KILL_AT = os.environ.get("SEMCTL_KILL_AT", "2")

_COUNTED = """
import os, signal, sys, threading
folder, at = os.path.realpath(sys.argv.pop(1)), int(sys.argv.pop(1))
seen, lock = 0, threading.Lock()
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PLACES = {"os.rename": (0, 1), "os.remove": (0,), "os.mkdir": (0,), "os.rmdir": (0,), "os.link": (0, 1),
          "os.symlink": (0, 1), "os.chmod": (0,), "os.truncate": (0,), "open": (0,)}
def watch(event, arguments):
    global seen
    places = PLACES.get(event)
    if places is None or event == "open" and not (arguments[2] or 0) & WRITES:
        return
    paths = [os.fsdecode(arguments[i]) for i in places if isinstance(arguments[i], (str, bytes, os.PathLike))]
    if any(os.path.abspath(path).startswith(folder) for path in paths):
        with lock:
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from pipeline.cli import _run
code = _run(sys.argv[1:])
print("operations", seen, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Stage:
    """A command, and the codes with which its second run may end: what was added already may be refused."""

    name: str
    arguments: tuple[str, ...]
    again: tuple[int, ...] = (0,)
    prepare: Callable[[Path], None] = lambda folder: None


def differing_answers(folder: Path) -> None:
    """``answers.json``: two annotators, who read the first user turn of every task in two ways."""
    slots = json.loads((folder / "shop/ontology.json").read_bytes())["slots"]
    name, values = next((slot["name"], slot["values"]) for slot in slots if len(slot["values"]) > 1)
    tasks = json.loads((folder / "tasks.json").read_bytes())
    export = [
        answered(
            {**task, "id": number},
            *(answer(2 * number + who, [pick("want_0", f"{name}={values[who]}")], by=who + 1) for who in range(2)),
        )
        for number, task in enumerate(tasks)
    ]
    save(folder / "answers.json", export)


def photographed_products(folder: Path) -> None:
    """``products.csv`` with 42 products, each with its photo in ``photos``."""
    (folder / "photos").mkdir()
    lines = ["id,name,price,type,color,image"]
    for number in range(42):
        color, kind = ("red", "blue", "green")[number % 3], ("shirt", "dress")[number % 2]
        Image.new("RGB", (40, 60), color).save(folder / "photos" / f"{number}.png")
        lines.append(f"p{number},{color} {kind},{10 + number},{kind},{color},{number}.png")
    (folder / "products.csv").write_text("\n".join(lines) + "\n")


def kept_corrections(folder: Path) -> None:
    """What a page has kept of one conversation, the last line half-written."""
    said = [{"speaker": "user", "text": "Zwei bunte Dinge"}, {"speaker": "system", "text": "?"}]
    line = {"semctl_correction": 1, "key": "a key", "at": "2026-03-01T10:00:00Z", "run": "r", "ontology_version": 1}
    slot = json.loads((folder / "shop/ontology.json").read_bytes())["slots"][0]
    corrected = {"slot": slot["name"], "like": [slot["values"][0]["value"]]}
    lines = [json.dumps({**line, **corrected, "turns": said[:1]}), json.dumps(line)[:-9]]
    (folder / "shop/labels/page").mkdir(parents=True)
    (folder / "shop/labels/page/corrections.jsonl").write_text("\n".join(lines))


STAGES = (
    Stage("generate", ("generate", "corpus", "--size", "test", "--seed", "1")),
    Stage("import", ("-w", "shop", "import", "corpus", "--format", "mmd")),
    Stage("select", ("-w", "shop", "select", "-n", "5")),
    Stage("export", ("-w", "shop", "export-for-labelling", "--to-file", "tasks.json", "-n", "6")),
    Stage("ingest", ("-w", "shop", "ingest-labels")),
    Stage("ontology", ("-w", "shop", "ontology", "add", "colors=ultramarine"), (0, 2)),
    Stage("ingest again", ("-w", "shop", "ingest-labels")),
    Stage("train", ("-w", "shop", "train", "--preset", "tiny", "--labeled-ratio", "0.5", "--set", "train.epochs=1")),
    Stage("evaluate", ("-w", "shop", "evaluate", "--split", "valid")),
    Stage(
        "select with a run",
        ("-w", "shop", "select", "-n", "3", "--strategy", "uncertainty", "--measure", "margin", "--include-labelled"),
    ),
    Stage("ingest two annotators", ("-w", "shop", "ingest-labels", "answers.json"), prepare=differing_answers),
    Stage("ingest corrections", ("-w", "shop", "ingest-labels"), prepare=kept_corrections),
    Stage("adjudicate", ("-w", "shop", "adjudicate", "--to-file", "review.json")),
    Stage("agreement", ("-w", "shop", "agreement", "--html", "agreement.html")),
    Stage("feedback", ("-w", "shop", "feedback", "packs")),
    Stage(
        "generate with photos",
        ("generate", "real", "--size", "test", "--catalogue", "products.csv", "--images", "photos"),
        prepare=photographed_products,
    ),
)


def run(stage: Stage, folder: Path, at: int = 0) -> tuple[int, int, str]:
    """Exit code (negative: killed), file operations within the folder, and what was printed to stderr."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", _COUNTED, str(folder), str(at), "-q", *stage.arguments]
    ended = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False)
    counted = [line for line in ended.stderr.splitlines() if line.startswith("operations ")]
    return ended.returncode, int(counted[-1].split()[1]) if counted else 0, ended.stderr


def contents(folder: Path) -> dict[str, str]:
    """Path -> hash of every file, locks left out: they hold nothing."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.name
    }


def content(path: Path) -> bytes:
    """What a file holds; of a kept ingest without its counts of new answers, as a killed one may have stored them."""
    if path.name != "record.json" or path.parent.parent.name != "ingests":
        return path.read_bytes()
    record = json.loads(path.read_bytes())
    record["report"].pop("changes", None)
    return json.dumps(record).encode()


@pytest.fixture(scope="module")
def befores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage -> the folder as it is before it; ``end``: after all of them."""
    found: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("stages") / "0"
    folder.mkdir()
    for number, stage in enumerate(STAGES, start=1):
        stage.prepare(folder)
        found[stage.name] = folder
        following = folder.with_name(str(number))
        shutil.copytree(folder, following)
        code, _, said = run(stage, following)
        assert code == 0, f"{stage.name}: {said}"
        folder = following
    found["end"] = folder
    return found


@pytest.mark.parametrize("stage", STAGES, ids=[stage.name for stage in STAGES])
def test_a_killed_stage_is_made_whole_by_its_next_run(stage: Stage, befores: dict[str, Path], tmp_path: Path):
    whole = []
    operations = 0
    for number in range(2):  # what differs between two undisturbed runs, such as times, says nothing about a third
        folder = tmp_path / f"whole-{number}"
        shutil.copytree(befores[stage.name], folder)
        code, operations, said = run(stage, folder)
        assert code == 0, said
        whole.append(contents(folder))
    steady = {path: value for path, value in whole[0].items() if whole[1].get(path) == value}
    places = range(1, operations + 1)
    if KILL_AT != "all":
        places = sorted(random.Random(stage.name).sample(places, min(int(KILL_AT), operations)))
    assert places, f"{stage.name} writes nothing"
    for at in places:
        folder = tmp_path / f"killed-{at}"
        shutil.copytree(befores[stage.name], folder)
        code, _, said = run(stage, folder, at)
        assert code == -signal.SIGKILL, f"operation {at} of {operations}: {said}"
        code, _, said = run(stage, folder)
        assert code in stage.again, f"after operation {at} of {operations}: {said}"
        after = contents(folder)
        wrong = [path for path, value in steady.items() if after.get(path) != value and not path.endswith(".log")]
        assert not wrong, f"after operation {at} of {operations} other bytes than undisturbed: {wrong}"
        left = [path for path in after if path.endswith((".tmp", ".part"))]
        assert not left, f"after operation {at} of {operations} there is left: {left}"
        shutil.rmtree(folder)
