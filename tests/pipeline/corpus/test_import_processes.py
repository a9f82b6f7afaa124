"""Several processes read a corpus: the tables are the same to the byte, and no ending leaves anything behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.benchmarks.import_speed import Shape, write_corpus
from pipeline.corpus import reading
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.corpus.reading import WorkerPool
from pipeline.corpus.records import SplitShares
from pipeline.workspace import Workspace
from schemas.errors import ServiceError, UsageError
from schemas.progress import SilentProgress, Task


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even small corpora come in many parts, and are worth processes."""
    monkeypatch.setattr("pipeline.corpus.reading._WORTH_BYTES", 0)
    monkeypatch.setattr("pipeline.corpus.mmd.PART_BYTES", 20_000)


def files_of(workspace: Path) -> dict[str, bytes]:
    return {p.relative_to(workspace).as_posix(): p.read_bytes() for p in workspace.rglob("*") if p.is_file()}


def imported(tmp_path: Path, corpus: Path, jobs: int, **more: Any) -> dict[str, bytes]:
    workspace = Workspace(tmp_path / f"jobs{jobs}")
    import_corpus(workspace, ImportRequest(corpus, "mmd", jobs=jobs, **more))
    return files_of(workspace.root)


def assert_the_same_whatever_the_jobs(tmp_path: Path, corpus: Path, **more: Any) -> dict[str, Any]:
    one = imported(tmp_path, corpus, 1, **more)
    assert {"data/turns.parquet", "data/recommendations.parquet", "ontology.json"} <= one.keys()
    for jobs in (2, 3):
        others = imported(tmp_path, corpus, jobs, **more)
        assert [name for name in one.keys() | others.keys() if one.get(name) != others.get(name)] == []
    manifest: dict[str, Any] = json.loads(one["data/manifest.json"])
    return manifest


def test_a_corpus_with_states_and_candidates_is_the_same(tmp_path: Path, small_parts: None) -> None:
    write_corpus(tmp_path / "corpus", Shape("x", dialogues=60, negatives=20, products=40))
    manifest = assert_the_same_whatever_the_jobs(tmp_path, tmp_path / "corpus")
    assert manifest["dialogues"] == 60
    assert manifest["labelled_turns"] == 360


def test_drawn_splits_and_states_left_out_are_the_same(tmp_path: Path, small_parts: None) -> None:
    write_corpus(tmp_path / "corpus", Shape("x", dialogues=60, negatives=20, products=40))
    shares = SplitShares.parse("train=0.5,valid=0.25,test=0.25", seed=3)
    manifest = assert_the_same_whatever_the_jobs(tmp_path, tmp_path / "corpus", split=shares, ignore_states=True)
    assert 0 < manifest["splits"]["valid"] < 40
    assert manifest["labelled_turns"] == 0


def damaged(corpus: Path) -> None:
    """Every way in which a file can be dropped or odd, spread over the parts, and ids that two splits share."""
    write_corpus(corpus, Shape("x", dialogues=60, negatives=20, products=40))
    train = corpus / "dialogues/train"
    for i in range(10):
        (corpus / f"dialogues/valid/train-{i}.json").write_bytes((train / f"train-{i}.json").read_bytes())
    (train / "train-3.json").write_text("[{")
    (train / "train-17.json").write_bytes(b'[{"speaker": "user", "utterance": {"nlg": "\xff"}}]')
    (train / "train-21.json").write_text('{"speaker": "user"}')
    (train / "train-30.json").write_text('[{"speaker": "system", "utterance": {"nlg": "alone"}}]')
    (train / "train-40.json").unlink()
    (train / "train-40.json").symlink_to(corpus / "gone.json")
    image = "http://images.example.invalid/catalog/1/P000001/Front_Large.jpg"
    odd = [
        {"slot": ["mood"], "values": ["gloomy, glad"], "sentiment": ["Dislike"]},
        {"slot": ["moods"], "values": [], "sentiment": ["Like"]},
        {"slot": ["sleeveStyle >> x"], "values": ["puffed"], "sentiment": ["Like"]},
        {"slot": [""], "values": ["nothing"], "sentiment": ["Like"]},
    ]
    for i, name in enumerate(("mood", "Moods", "mood ", "MOOD", "moods")):
        states: list[Any] = [
            {"informable": [{**odd[0], "slot": [name]}, *odd[1:]]},
            {"informable": odd[:1], "requestable": [{"object": [image, "none"], "likes": ["color", name]}]},
            {"informable": 3},
            None,
            {"informable": odd[2:]},
        ]
        said = [{"speaker": "user", "utterance": {"nlg": f"turn {n}"}, "ds": ds} for n, ds in enumerate(states)]
        answers = [{"speaker": "system", "utterance": {"nlg": "ok", "images": [f"new-{i}.jpg", 7, None]}}] * len(said)
        mixed = [part for pair in zip(said, answers, strict=True) for part in pair]
        (train / f"train-{45 - 9 * i}.json").write_text(json.dumps([*mixed, None, {}, [[said[0]]]]))


def test_a_damaged_corpus_is_the_same_with_its_ledger(tmp_path: Path, small_parts: None) -> None:
    damaged(tmp_path / "corpus")
    manifest = assert_the_same_whatever_the_jobs(tmp_path, tmp_path / "corpus")
    assert manifest["ledger"]["dialogues"]["dropped"] == {
        "file_not_json": 2,
        "file_not_readable": 1,
        "no_user_utterance": 1,
        "not_a_list": 1,
    }
    dropped = manifest["dropped"]
    assert dropped["states/not_readable"] == 5
    assert dropped["feedback/attribute_not_known_of_the_product"] > 0
    assert dropped["state_values/no_value"] == 10
    assert dropped["images/not_a_reference"] == 25
    spelled = [name for name in manifest["slots"] if name.strip().casefold() in ("mood", "moods")]
    assert len(spelled) == 1  # one slot however it is spelled, and wherever that comes first


@pytest.mark.realdata
def test_a_real_corpus_is_the_same(shared_data: Path, tmp_path: Path, small_parts: None) -> None:
    assert_the_same_whatever_the_jobs(tmp_path, shared_data / "simmc2_fashion_mmd")


def test_small_corpora_and_single_jobs_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(jobs: int) -> WorkerPool:
        raise AssertionError(f"{jobs} processes were started")

    monkeypatch.setattr(reading, "WorkerPool", refuse)
    write_corpus(tmp_path / "corpus", Shape("x", dialogues=20, negatives=5, products=10))
    import_corpus(Workspace(tmp_path / "small"), ImportRequest(tmp_path / "corpus", "mmd", jobs=4))
    monkeypatch.setattr(reading, "_WORTH_BYTES", 0)
    monkeypatch.setattr("pipeline.corpus.mmd.PART_BYTES", 2_000)
    import_corpus(Workspace(tmp_path / "one"), ImportRequest(tmp_path / "corpus", "mmd", jobs=1))
    with pytest.raises(AssertionError, match="4 processes"):
        import_corpus(Workspace(tmp_path / "four"), ImportRequest(tmp_path / "corpus", "mmd", jobs=4))
    with pytest.raises(UsageError, match="at least 1"):
        import_corpus(Workspace(tmp_path / "none"), ImportRequest(tmp_path / "corpus", "mmd", jobs=0))


def parents() -> dict[int, int]:
    """Process id -> its parent's, of all processes that have not ended."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, *_ = place.read_text().rpartition(")")[2].split()
            if state != "Z":
                found[int(place.parent.name)] = int(parent)
    return found


def below(pid: int) -> list[int]:
    """Children of a process, and theirs, the older generation first."""
    parent = parents()
    found = [pid]
    for one in found:
        found += [child for child in parent if parent[child] == one]
    return found[1:]


def wait_until(holds: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


class Doing(SilentProgress):
    """Does something once the first part of the dialogues is there."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what: Callable[[], None] | None = what

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator[Task]:
        outer = self

        class Doer:
            def advance(self, n: float = 1, *, note: str | None = None) -> None:
                del n, note
                what, outer._what = outer._what, None
                if what is not None:
                    what()

        with super().task(title, total) as silent:
            yield Doer() if title == "reading dialogues" else silent


@pytest.mark.parametrize("ending", ["killed", "interrupted"])
def test_a_killed_process_and_ctrl_c_leave_nothing(tmp_path: Path, small_parts: None, ending: str) -> None:
    write_corpus(tmp_path / "corpus", Shape("x", dialogues=120, negatives=20, products=40))
    before, pool = set(below(os.getpid())), list[int]()

    def end() -> None:
        pool.extend(pid for pid in below(os.getpid()) if pid not in before)
        leader, member, _ = pool
        assert len(list(Path(f"/proc/{leader}/task").iterdir())) == 1  # it forked with a single thread
        if ending == "interrupted":
            raise KeyboardInterrupt
        os.kill(member, signal.SIGKILL)

    with pytest.raises(KeyboardInterrupt if ending == "interrupted" else ServiceError) as caught:
        import_corpus(
            Workspace(tmp_path / "work"), ImportRequest(tmp_path / "corpus", "mmd", jobs=2), progress=Doing(end)
        )
    if ending == "killed":
        assert str(caught.value) == (
            "a process that reads dialogues was killed; if memory was short, import with --jobs 1"
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]
    assert len(pool) == 3
    wait_until(lambda: not parents().keys() & set(pool))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_command_ends_with_its_workers(tmp_path: Path, number: signal.Signals, code: int) -> None:
    write_corpus(tmp_path / "corpus", Shape("x", dialogues=30, negatives=5, products=20))
    os.mkfifo(tmp_path / "corpus/dialogues/train/waits.json")  # whoever opens it waits for ever
    run = "from pipeline.corpus import mmd, reading; reading._WORTH_BYTES, mmd.PART_BYTES = 0, 20_000;"
    arguments = ["-w", tmp_path / "work", "import", tmp_path / "corpus", "--format", "mmd", "--jobs", "2"]
    command = subprocess.Popen(
        [sys.executable, "-c", f"{run} from pipeline.cli import main; main()", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: len(below(command.pid)) == 3)
        time.sleep(0.3)
        pool = below(command.pid)
        command.send_signal(number)
        assert command.wait(timeout=30) == code
    finally:
        command.kill()
    if number == signal.SIGKILL:
        # whoever waits for that file is let go, and finds that nobody is left to answer
        os.close(os.open(tmp_path / "corpus/dialogues/train/waits.json", os.O_WRONLY | os.O_NONBLOCK))
    else:
        assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]
    wait_until(lambda: not parents().keys() & set(pool))
    assert not (tmp_path / "work").exists()
    assert command.stderr is not None
    assert "Traceback" not in command.stderr.read()


def test_a_bug_in_a_process_is_told_with_its_place() -> None:
    setting = {
        "setting": {
            "candidates": "products",
            "negatives_needed": False,
            "not_slots": [],
            "topic_change": "reset",
            "split": None,
            "attributes": [],
            "products": [[], {}, {}],
            "image_refs": {"folder": None, "url_map": {}, "id_map": {}, "url_map_given": False},
        },
        "dialogues": {"folder": "/", "with_states": True},
    }
    with WorkerPool(1) as pool, pytest.raises(RuntimeError, match=r"(?s)in a process .*mmd.*ValueError"):
        list(pool.answers(setting, [[["not an entry"]]]))
