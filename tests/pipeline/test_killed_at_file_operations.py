"""``kill -9`` at file operations of every stage: each file is the old or the new one, and the next run makes all whole.

In CI some operations of each stage are drawn, five or fewer; ``SEMCTL_KILL_AT=20`` draws twenty of each, as ``make
nightly`` does, ``SEMCTL_KILL_AT=all`` kills at every one (more than two thousand, each of them two runs).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.cli import COMMANDS
from tests.fork_server import NETWORK, ForkServer, fork_server
from tests.hostile_web import hostile_web
from tests.label_exports import answer, answered, pick, save

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

KILL_AT = os.environ.get("SEMCTL_KILL_AT", "")


@dataclass(frozen=True)
class Stage:
    """A command, and the codes with which its second run may end: what was added already may be refused."""

    name: str
    arguments: tuple[str, ...]  # ``{web}``: a server's address; ``{run}`` and ``{other}``: two runs
    again: tuple[int, ...] = (0,)
    prepare: Callable[[Path, Mapping[str, str]], None] = lambda folder, names: None
    points: int = 5  # at which it is killed in CI: fewer where it takes long

    @property
    def command(self) -> str:
        """The command's name."""
        words = self.arguments[2:] if self.arguments[0] == "-w" else self.arguments
        return words[0]


def differing_answers(folder: Path, _: Mapping[str, str]) -> None:
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


def photographed_products(folder: Path, _: Mapping[str, str]) -> None:
    """``products.csv`` with 42 products, each with its photo in ``photos``."""
    (folder / "photos").mkdir()
    lines = ["id,name,price,type,color,image"]
    for number in range(42):
        color, kind = ("red", "blue", "green")[number % 3], ("shirt", "dress")[number % 2]
        Image.new("RGB", (40, 60), color).save(folder / "photos" / f"{number}.png")
        lines.append(f"p{number},{color} {kind},{10 + number},{kind},{color},{number}.png")
    (folder / "products.csv").write_text("\n".join(lines) + "\n")


def kept_corrections(folder: Path, _: Mapping[str, str]) -> None:
    """What a page has kept of one conversation, the last line half-written."""
    said = [{"speaker": "user", "text": "Zwei bunte Dinge"}, {"speaker": "system", "text": "?"}]
    line = {"semctl_correction": 1, "key": "a key", "at": "2026-03-01T10:00:00Z", "run": "r", "ontology_version": 1}
    slot = json.loads((folder / "shop/ontology.json").read_bytes())["slots"][0]
    corrected = {"slot": slot["name"], "like": [slot["values"][0]["value"]]}
    lines = [json.dumps({**line, **corrected, "turns": said[:1]}), json.dumps(line)[:-9]]
    (folder / "shop/labels/page").mkdir(parents=True)
    (folder / "shop/labels/page/corrections.jsonl").write_text("\n".join(lines))


def conversations(folder: Path, _: Mapping[str, str]) -> None:
    """``asked.jsonl``: one line each."""
    texts = ("a red dress", "something in blue", "cheaper, please")
    lines = [{"turns": [{"speaker": "user", "text": text}]} for text in texts]
    (folder / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def linked_products(folder: Path, names: Mapping[str, str]) -> None:
    """``linked``: a corpus of JSON lines whose products only link to their images; two of the links are dead."""
    (folder / "linked").mkdir()
    links = [f"http://{names['web']}/{path}" for path in ("ok/1", "ok/2", "ok/3", "ok/4", "missing/5", "page")]
    products = [
        {"product_id": f"P{n}", "name": f"dress {n}", "attributes": {"color": ["red", "blue"][n % 2]}, "images": [link]}
        for n, link in enumerate(links)
    ]
    turns = [
        {"speaker": "user", "text": "a red dress", "state": {"like": {"color": "red"}}},
        {"speaker": "system", "text": "this one?", "positives": ["P0"], "negatives": ["P1"]},
    ]
    dialogues = [{"dialogue_id": name, "split": name, "turns": turns} for name in ("train", "valid")]
    for name, rows in (("products", products), ("dialogues", dialogues)):
        (folder / "linked" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def judged(folder: Path, _: Mapping[str, str]) -> None:
    """``judged.json``: one judge, who likes the left list throughout."""
    chosen = [{"from_name": "better", "to_name": "context", "type": "choices", "value": {"choices": ["left"]}}]
    tasks = json.loads((folder / "which.json").read_bytes())
    save(folder / "judged.json", [answered({**task, "id": n}, answer(n, chosen)) for n, task in enumerate(tasks)])


SHOP = ("-w", "shop")
SMALL = ("--epochs", "1", "--set", "model.width=8", "--set", "model.inner=8", "--set", "model.heads=2")
TRAIN = (*SHOP, "train", "--preset", "tiny", *SMALL)

STAGES = (
    Stage("generate", ("generate", "corpus", "--size", "test", "--seed", "1"), (0, 2)),
    Stage("import", (*SHOP, "import", "corpus", "--format", "mmd")),
    Stage("select", (*SHOP, "select", "-n", "5")),
    Stage("export", (*SHOP, "export-for-labelling", "--to-file", "tasks.json", "-n", "6")),
    Stage("ingest", (*SHOP, "ingest-labels")),
    Stage("ontology", (*SHOP, "ontology", "add", "colors=ultramarine"), (0, 2)),
    Stage("ingest again", (*SHOP, "ingest-labels")),
    Stage("train", (*TRAIN, "--labeled-ratio", "0.5"), points=2),
    Stage("evaluate", (*SHOP, "evaluate", "--split", "valid"), points=2),
    Stage(
        "select with a run",
        (*SHOP, "select", "-n", "3", "--strategy", "uncertainty", "--measure", "margin", "--include-labelled"),
        points=3,
    ),
    Stage("ingest two annotators", (*SHOP, "ingest-labels", "answers.json"), prepare=differing_answers),
    Stage("ingest corrections", (*SHOP, "ingest-labels"), prepare=kept_corrections),
    Stage("adjudicate", (*SHOP, "adjudicate", "--to-file", "review.json")),
    Stage("agreement", (*SHOP, "agreement", "--html", "agreement.html", "--bootstrap", "20")),
    Stage("feedback", (*SHOP, "feedback", "packs")),
    Stage("audit", (*SHOP, "audit", "--top", "5"), points=3),
    Stage(
        "prelabelled export",
        (*SHOP, "export-for-labelling", "--to-file", "known.json", "--prelabel", "lexicon", "-n", "3"),
    ),
    Stage(
        "assigned export",
        (*SHOP, "export-for-labelling", "--to-file", "to.json", "--annotators", "a@x.org,b@x.org", "-n", "3"),
    ),
    Stage(
        "recommend",
        (*SHOP, "recommend", "--batch", "asked.jsonl", "--out", "recommended.parquet"),
        prepare=conversations,
    ),
    Stage("export model", (*SHOP, "export-model", "{run}", "model", "--vectors"), points=3),
    Stage("export model again", (*SHOP, "export-model", "{run}", "model"), points=3),
    Stage("export dataset", (*SHOP, "export-dataset", "dataset"), points=3),
    Stage("serve", (*SHOP, "serve", "{run}", "--port", "0"), points=3),
    Stage("report of a run", (*SHOP, "report", "{run}", "--cases", "2"), points=2),
    Stage("report of labels", (*SHOP, "report", "--labels"), points=2),
    Stage("train another", (*TRAIN, "--labeled-ratio", "0", "--seed", "1"), points=2),
    Stage(
        "judge export", (*SHOP, "judge", "export", "{run}", "{other}", "--to-file", "which.json", "-n", "5"), points=3
    ),
    Stage("judge ingest", (*SHOP, "judge", "ingest", "judged.json"), prepare=judged),
    Stage("experiment copy", (*SHOP, "experiment", "copy", "table2", "mine.toml"), (0, 2)),
    Stage(
        "experiment grid",
        (*SHOP, "experiment", "grid", "--presets", "tiny", "--seeds", "1", "--ratios", "0.2", "--name", "grid", *SMALL),
        points=2,
    ),
    Stage("report of an experiment", (*SHOP, "report", "grid"), points=2),
    Stage("import json lines", ("-w", "web", "import", "linked", "--format", "jsonl"), prepare=linked_products),
    Stage("fetch images", ("-w", "web", "fetch-images", "--allow-host", "{web}", "--delay", "0", "--tries", "1")),
    Stage(
        "generate with photos",
        ("generate", "real", "--size", "test", "--catalogue", "products.csv", "--images", "photos"),
        (0, 2),
        prepare=photographed_products,
    ),
)

READERS = {
    "shop": (
        ("stats",), ("checks",), ("progress",), ("diff",), ("config", "show"), ("ontology", "show"), ("doctor",),
        ("trace", "train/1", "--turn", "0", "--slot", "colors"), ("recommend", "tfidf", "--message", "a red dress"),
        ("evaluate", "--baselines-only", "--split", "valid"), ("plan",),
    ),
    "web": (("stats",), ("config", "show"), ("recommend", "tfidf", "--message", "a red dress")),
}  # fmt: skip
"""Commands that write nothing, by workspace."""

ELSEWHERE = {
    "demo": "the stages one after the other",
    "benchmark": "measures; what it keeps, it keeps in a folder of its own",
    "studio": "tests/annotate/label_studio/test_studio.py",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with fork_server() as started:
        yield started


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with hostile_web() as started:
        yield started.host


def names_in(folder: Path, web: str) -> dict[str, str]:
    """What arguments of stages may name."""
    runs = sorted((folder / "shop/runs").glob("*/record.json"), key=lambda record: "-s1-" in record.parent.name)
    found = {"run": runs[0].parent.name, "other": runs[-1].parent.name} if runs else {}
    return {"web": web, **found}


def arguments_of(stage: Stage, folder: Path, web: str) -> list[str]:
    names = names_in(folder, web)
    return ["-q", *(text.format(**names) for text in stage.arguments)]


def contents(folder: Path) -> dict[str, str]:
    """Path -> hash of every file, locks left out: they hold nothing."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.name
    }


def content(path: Path) -> bytes:
    """What a file holds, without what is another one by chance: seconds, and a kept ingest's counts of new answers."""
    if path.name.startswith("per-query-"):
        measured = json.loads(path.read_bytes())
        measured.pop("seconds")
        return json.dumps(measured).encode()
    if path.name != "record.json" or path.parent.parent.name != "ingests":
        return path.read_bytes()
    record = json.loads(path.read_bytes())
    record["report"].pop("changes", None)  # a killed one may have stored them
    return json.dumps(record).encode()


def is_temporary(name: str) -> bool:
    return ".semctl.tmp" in name


def opens(path: Path) -> None:
    """Read a file of which no two runs write the same bytes; raises where only half of it is there."""
    if path.suffix == ".json":
        json.loads(path.read_bytes())
    elif path.suffix == ".parquet":
        pq.read_table(path)
    elif path.suffix == ".npy":
        np.load(path, allow_pickle=False)
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    elif path.suffix == ".jsonl":  # lines are added; the last one may be on its way
        for line in path.read_bytes().split(b"\n")[:-1]:
            json.loads(line)
    else:
        assert path.stat().st_size, path


@pytest.fixture(scope="module")
def befores(server: ForkServer, web: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage -> the folder as it is before it; ``end``: after all of them. Nothing is asked over the network."""
    found: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("stages") / "0"
    folder.mkdir()
    for number, stage in enumerate(STAGES, start=1):
        stage.prepare(folder, names_in(folder, web))
        found[stage.name] = folder
        following = folder.with_name(str(number))
        shutil.copytree(folder, following)
        arguments = [*arguments_of(stage, following, web), "--json"]
        ended = server.run(arguments, following, online=stage.command == "fetch-images")
        assert ended.code == 0, f"{stage.name}: {ended.err}"
        assert stage.command == "serve" or isinstance(json.loads(ended.out), dict), f"{stage.name}: {ended.out}"
        folder = following
    found["end"] = folder
    return found


def test_every_command_is_killed_here_or_writes_nothing():
    killed = {stage.command for stage in STAGES}
    reading = {command[0] for commands in READERS.values() for command in commands}
    assert set(COMMANDS) == killed | reading | set(ELSEWHERE)


def test_a_command_that_asks_the_network_is_noticed(
    befores: dict[str, Path], server: ForkServer, web: str, tmp_path: Path
):
    stage = next(stage for stage in STAGES if stage.command == "fetch-images")
    shutil.copytree(befores[stage.name], tmp_path / "copy")
    ended = server.run(arguments_of(stage, tmp_path / "copy", web), tmp_path / "copy", online=False)
    assert ended.code == NETWORK, ended.err


def test_nothing_that_was_written_is_a_pickle(befores: dict[str, Path]):
    found = [path for path in befores["end"].rglob("*") if path.is_file()]
    assert {".safetensors", ".parquet", ".npy"} <= {path.suffix for path in found}
    for path in found:
        content = path.read_bytes()
        assert not (content[:1] == b"\x80" and content[1:2] <= b"\x05" and content.endswith(b".")), path
        assert b"data.pkl" not in content, path
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)


@pytest.mark.parametrize(
    ("shop", "command"), [(shop, command) for shop, commands in READERS.items() for command in commands]
)
def test_a_command_that_reads_prints_json_writes_nothing_and_asks_nobody(
    shop: str, command: tuple[str, ...], befores: dict[str, Path], server: ForkServer
):
    ended = server.run(["-q", "-w", shop, *command, "--json"], befores["end"], online=False)
    assert ended.code == 0, ended.err
    assert isinstance(json.loads(ended.out), dict)
    assert ended.operations == 0 or command == ("doctor",)  # which tries whether it can


@pytest.mark.parametrize("stage", STAGES, ids=[stage.name for stage in STAGES])
def test_a_killed_stage_is_made_whole_by_its_next_run(
    stage: Stage, befores: dict[str, Path], server: ForkServer, web: str, tmp_path: Path
):
    before = contents(befores[stage.name])
    whole = []
    operations = 0
    for number in range(2):  # what differs between two undisturbed runs, such as times, says nothing about a third
        folder = tmp_path / f"whole-{number}"
        shutil.copytree(befores[stage.name], folder)
        ended = server.run(arguments_of(stage, folder, web), folder)
        operations = ended.operations
        assert ended.code == 0, ended.err
        whole.append(contents(folder))
    steady = {path: value for path, value in whole[0].items() if whole[1].get(path) == value}
    draw = random.Random(stage.name)
    places = range(1, operations + 1)
    if KILL_AT != "all":
        places = sorted(draw.sample(places, min(int(KILL_AT or stage.points), operations)))
    assert places, f"{stage.name} writes nothing"
    for at in places:
        folder = tmp_path / f"killed-{at}"
        shutil.copytree(befores[stage.name], folder)
        arguments = arguments_of(stage, folder, web)
        ended = server.run(arguments, folder, at)
        when = f"after operation {at} of {operations}"
        assert ended.code == -signal.SIGKILL, f"{when}: {ended.err}"
        half = [*halves(folder, before, whole[0], steady)]
        assert not half, f"{when} neither old nor new: {half}"
        read(server, folder, draw, when)
        ended = server.run(arguments, folder)
        assert ended.code in stage.again, f"{when}: {ended.err}"
        after = contents(folder)
        wrong = [path for path, value in steady.items() if after.get(path) != value and not path.endswith(".log")]
        assert not wrong, f"{when} other bytes than undisturbed: {wrong}"
        left = [path for path in after if path.endswith((".tmp", ".part"))]
        assert not left, f"{when} there is left: {left}"
        shutil.rmtree(folder)


def halves(
    folder: Path, before: Mapping[str, str], whole: Mapping[str, str], steady: Mapping[str, str]
) -> Iterator[str]:
    """Files that are neither as they were before a stage nor as they are after it."""
    now = {path: value for path, value in contents(folder).items() if not is_temporary(path)}
    for path, value in now.items():
        if value == before.get(path) or value == steady.get(path) or path.endswith(".log"):
            continue
        if path in steady and not path.endswith(".jsonl"):
            yield path
            continue
        try:
            opens(folder / path)
        except (ValueError, OSError, AssertionError) as problem:
            yield f"{path}: {problem}"
    yield from (f"{path} is gone" for path in before if path in whole and path not in now)


def read(server: ForkServer, folder: Path, draw: random.Random, when: str) -> None:
    """A command that reads ends well, or says in one line what is missing, and changes nothing."""
    for shop, commands in READERS.items():
        if (folder / shop).is_dir():
            command = draw.choice(commands)
            ended = server.run(["-q", "-w", shop, *command, "--json"], folder, online=False)
            assert ended.code in (0, 2, 3), f"{when} {command}: {ended.err}"
            assert isinstance(json.loads(ended.out), dict), f"{when} {command}: {ended.out}"
            assert ended.code != 2 or ended.err.count("\n") <= 2, f"{when} {command}: {ended.err}"
            assert ended.operations == 0 or command == ("doctor",), f"{command} writes"  # doctor tries whether it can
