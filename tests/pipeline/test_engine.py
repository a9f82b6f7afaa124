"""``--engine ray`` on a cluster of two workers: the same bytes as without, and no ending leaves anything behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline import engine as engine_module
from pipeline.cli import _run
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.engine import find_engine
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.modelling.recommend import BatchRequest, recommend_batch
from pipeline.modelling.recommender import Recommender
from pipeline.modelling.train import TrainRequest, train
from pipeline.workspace import Workspace
from schemas.engine import Engine
from schemas.errors import CorpusError, MissingPartError, ServiceError, UsageError
from semantic_model.config.sections import ImageConfig
from semantic_model.data.image_features import load_features
from tests.generated_workspace import generated_workspace
from tests.pipeline.corpus.test_import_processes import below, damaged, files_of, parents, wait_until
from tests.pipeline.modelling.test_recommender import SMALL, dialogues, told_anew

SHARDS = "tests.shard_makers"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A cluster of two workers on this machine."""
    before = os.environ.pop("RAY_ADDRESS", None)
    with find_engine("ray", 2)() as opened:
        assert opened is not None
        yield opened
    if before is not None:
        os.environ["RAY_ADDRESS"] = before


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even small inputs come in many shards."""
    monkeypatch.setattr("pipeline.corpus.mmd.PART_BYTES", 20_000)
    monkeypatch.setattr("pipeline.corpus.images._IMAGES_A_SHARD", 7)
    monkeypatch.setattr("pipeline.modelling.recommend._LINES_A_SHARD", 3)


def paint(folder: Path, names: list[str]) -> None:
    """An image of its own for each name, some of which are damaged or not there."""
    folder.mkdir(exist_ok=True)
    for n, name in enumerate(names):
        if n % 11 == 3:
            (folder / name).write_bytes(b"\xff\xd8 no")
        elif n % 11 != 5:
            Image.new("RGB", (20 + n, 30), (n % 256, 7 * n % 256, 90)).save(folder / name)


@pytest.mark.slow
def test_shards_come_back_in_order_from_several_processes(engine: Engine) -> None:
    shards = [{"n": n, "text": f"Größe {n} \udcff\0"} for n in range(40)]
    found = list(engine.map(f"{SHARDS}:echoes", "said once", shards))
    assert [text for text, _, _ in found] == [shard["text"].encode("utf-8", "surrogatepass") for shard in shards]
    assert {said for _, said, _ in found} == {b"said once"}
    assert len({process for _, _, process in found}) == 2
    assert str(os.getpid()).encode() not in {process for _, _, process in found}
    assert list(engine.map(f"{SHARDS}:echoes", "", [])) == []
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_one_that_is_killed_each_time_is_an_error(
    engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shards = [{"n": n, "times": 1 if n == 4 else 0} for n in range(6)]
    found = list(engine.map(f"{SHARDS}:is_killed", str(tmp_path), shards))
    assert found == [[str(n).encode()] for n in range(6)]
    assert sorted(path.name.partition("-")[0] for path in tmp_path.iterdir()) == ["4"]
    with pytest.raises(ServiceError, match="the Ray worker of one shard was killed 3 times; if memory was short"):
        list(engine.map(f"{SHARDS}:is_killed", str(tmp_path), [{"n": 9, "times": 1000}]))
    assert len(list(tmp_path.glob("9-*"))) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_errors_of_workers_are_raised_here_as_they_were_there(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = engine.map(f"{SHARDS}:fails", "", ["", "part", ""])
    assert next(answers) == [b"well"]
    with pytest.raises(MissingPartError) as caught:
        next(answers)
    assert str(caught.value) == "a part is missing (over there); get it"
    with pytest.raises(MissingPartError, match="a part is missing"):
        list(engine.map(f"{SHARDS}:fails", "at the start", [""]))
    with pytest.raises(RuntimeError, match=r"(?s)in a Ray worker:.*shard_makers.*KeyError: 'nobody thought of this'"):
        list(engine.map(f"{SHARDS}:fails", "", ["bug"]))
    (tmp_path / "here").touch()
    needs = [tmp_path / "here", tmp_path / "gone"]
    with pytest.raises(UsageError, match=r"does not see a file or folder that is needed \(.*/gone\); keep corpus"):
        list(engine.map(f"{SHARDS}:echoes", "", [{"n": 1, "text": ""}], needs=needs))
    with pytest.raises(UsageError, match="the Ray cluster has none"):
        list(engine.map(f"{SHARDS}:echoes", "", [{"n": 1, "text": ""}], gpu=True))
    monkeypatch.setattr(engine_module, "_version", lambda: "0.0.1")
    with pytest.raises(UsageError, match=r"a machine of the Ray cluster, and 0\.0\.1 here; install the same"):
        list(engine.map(f"{SHARDS}:echoes", "", [{"n": 1, "text": ""}]))


def imported(tmp_path: Path, form: str, engine: Engine | None) -> dict[str, bytes]:
    workspace = Workspace(tmp_path / ("local" if engine is None else "ray"))
    import_corpus(workspace, ImportRequest(tmp_path / "corpus", form), engine=engine)
    return files_of(workspace.root)


@pytest.mark.slow
def test_a_damaged_corpus_is_imported_to_the_same_bytes_with_its_ledger(
    engine: Engine, tmp_path: Path, small_shards: None
) -> None:
    damaged(tmp_path / "corpus")
    urls = [f"http://images.example.invalid/catalog/{n}/P{n:06d}/Front_Large.jpg" for n in range(40)]
    names = [f"{n}.jpg" for n in range(40)]
    paint(tmp_path / "corpus/images", names)
    links = "".join(f"{url} {name}\n" for url, name in zip(urls, names, strict=True))
    (tmp_path / "corpus/url2img.txt").write_text(links)
    local, ray = imported(tmp_path, "mmd", None), imported(tmp_path, "mmd", engine)
    assert [name for name in local.keys() | ray.keys() if local.get(name) != ray.get(name)] == []
    report = json.loads(ray["data/manifest.json"])
    assert report["ledger"]["dialogues"]["dropped"]["file_not_json"] == 2
    assert report["ledger"]["dialogues"]["dropped"]["file_not_readable"] == 1
    assert {status for status, n in report["images"].items() if n} >= {"ok", "broken", "missing"}


@pytest.mark.slow
def test_ones_own_data_is_the_same_and_a_bad_line_is_the_same_error(
    engine: Engine, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    names = [f"{n}.png" for n in range(30)]
    paint(corpus / "images", names)
    products = [{"product_id": f"p{n}", "attributes": {"type": "bag"}, "images": [names[n]]} for n in range(30)]
    (corpus / "products.jsonl").write_text("\n".join(map(json.dumps, products)))
    turns = [
        {"speaker": "user", "text": "a bag"},
        {"speaker": "system", "text": "this", "positives": ["p1"], "negatives": ["p2"]},
    ]
    told = [json.dumps({"dialogue_id": f"d{n}", "turns": turns}) for n in range(9)]
    (corpus / "dialogues.jsonl").write_text("\n".join(told))
    monkeypatch.chdir(tmp_path)  # workers find what is named from here
    local, ray = imported(Path(), "jsonl", None), imported(Path(), "jsonl", engine)
    assert [name for name in local.keys() | ray.keys() if local.get(name) != ray.get(name)] == []
    assert json.loads(ray["data/manifest.json"])["images"]["broken"] == 3
    (corpus / "dialogues.jsonl").write_text("\n".join([*told, '{"dialogue_id": "x", "turns": [{"speaker": 3}]}']))
    errors = []
    for each in (None, engine):
        with pytest.raises(CorpusError) as caught:
            import_corpus(Workspace(tmp_path / "new"), ImportRequest(corpus, "jsonl"), engine=each)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert "line 10" in errors[0]
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_features_of_images_are_the_same(engine: Engine, tmp_path: Path) -> None:
    import torch
    import torchvision
    from safetensors.torch import save_file

    names = [f"{n}.png" for n in range(50)]  # two batches
    paint(tmp_path / "images", names)
    images = {name: tmp_path / "images" / name for name in names}
    torch.manual_seed(0)
    save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "weights.safetensors")
    frozen = ImageConfig(encoder="squeezenet1_1", finetune=False, weights=str(tmp_path / "weights.safetensors"))
    for number, config in enumerate((ImageConfig(encoder="pixels"), frozen)):
        kept = [tmp_path / f"features-{number}-{which}" for which in ("local", "ray")]
        known = dict(list(images.items())[:5])
        for folder, each in zip(kept, (None, engine), strict=True):
            load_features(config, known, cache=folder)  # the others come on top
            features = load_features(config, images, cache=folder, engine=each)
            assert features.broken == 5
            assert len(features.rows) == 40
        assert files_of(kept[0]) == files_of(kept[1])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = generated_workspace(tmp_path_factory.mktemp("engine"))
    train(made, TrainRequest(labeled_ratio=0.5, preset="default", settings=SMALL, epochs=1))
    return made


def conversations(shop: Workspace, folder: Path) -> Path:
    asked = [json.dumps(told_anew(one)) for one in dialogues(Recommender.open(shop, "tfidf"))]
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no")
    shows = '{"turns": [{"speaker": "user", "text": "hi", "images": ["%s"]}]}'
    bad = ["[1]", "", '{"turns": []}', shows % "broken.jpg", shows % "nowhere.jpg", '{"turns": "' + "x" * (17 << 20)]
    file = folder / "asked.jsonl"
    file.write_text("\n".join([*asked[:3], "", "  ", *bad, *asked[3:], "", asked[0], "nope"]))
    return file


@pytest.mark.slow
def test_a_batch_is_recommended_to_the_same_bytes_with_the_lines_that_are_rejected(
    engine: Engine, shop: Workspace, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversations(shop, tmp_path)
    monkeypatch.chdir(tmp_path)
    for run in ("latest", "tfidf"):
        reports = []
        for name, each in (("local", None), ("ray", engine)):
            request = BatchRequest(
                Path("asked.jsonl"), Path(f"{name}.parquet"), run, top=4, where="price >= 0", diversify=0.2
            )
            reports.append(recommend_batch(shop, request, engine=each).as_json())
        for told in reports:
            assert told.pop("out").endswith(".parquet")
            assert told.pop("rejected_file").endswith(".parquet.rejected.jsonl")
        assert reports[0] == reports[1]
        assert sum(reports[0]["rejected"].values()) == 6
        assert reports[0]["conversations"] == 7
        for ending in ("", ".rejected.jsonl"):
            assert Path(f"ray.parquet{ending}").read_bytes() == Path(f"local.parquet{ending}").read_bytes()
    Path("asked.jsonl").write_text("nope\n")
    Path("ray.parquet").unlink()
    with pytest.raises(CorpusError, match="no line is a conversation; not valid"):
        recommend_batch(shop, BatchRequest(Path("asked.jsonl"), Path("ray.parquet")), engine=engine)
    assert not Path("ray.parquet").exists()


@pytest.mark.slow
def test_a_command_joins_the_cluster_of_the_environment_and_leaves_it_running(engine: Engine, tmp_path: Path) -> None:
    import ray

    list(engine.map(f"{SHARDS}:echoes", "", [{"n": 1, "text": ""}]))
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    generate_corpus(tmp_path / "corpus", GenerateRequest(size="test"))
    said = []
    for name in ("local", "ray"):
        more = ["import", tmp_path / "corpus", "--format", "mmd", "--engine", name, "--json"]
        command = [sys.executable, "-m", "pipeline.cli", "-q", "-w", tmp_path / name, *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        said.append(json.loads(done.stdout))
    assert said[0] == said[1]
    assert files_of(tmp_path / "local") == files_of(tmp_path / "ray")
    (found,) = engine.map(f"{SHARDS}:echoes", "still", [{"n": 1, "text": "there"}])
    assert found[:2] == [b"there", b"still"]


@pytest.mark.slow
def test_training_has_its_images_encoded_by_an_engine_that_is_closed_before_it_begins(
    engine: Engine, shop: Workspace, tmp_path: Path
) -> None:
    del engine
    before = files_of(shop.features)
    for path in shop.features.glob("*.*"):
        path.unlink()
    opened: list[str] = []

    class Noting:
        def __enter__(self) -> Any:
            opened.append("opened")
            self._engine = find_engine("ray", 2)()
            return self._engine.__enter__()

        def __exit__(self, *problem: Any) -> None:
            assert not list(shop.runs.glob("*s7*/checkpoints/*"))
            self._engine.__exit__(*problem)

    request = TrainRequest(labeled_ratio=0.5, preset="default", settings=SMALL, epochs=1, seed=7)
    train(shop, request, encoding=Noting)
    assert opened == ["opened"]
    after = files_of(shop.features)
    assert {name: after[name] for name in before if "/" not in name} == {
        name: content for name, content in before.items() if "/" not in name
    }


@pytest.mark.slow
def test_ctrl_c_stops_the_cluster_that_was_started(tmp_path: Path) -> None:
    generate_corpus(tmp_path / "corpus", GenerateRequest(size="test"))
    fifo = tmp_path / "corpus/dialogues/train/waits.json"
    os.mkfifo(fifo)
    arguments = ["-w", tmp_path / "work", "import", tmp_path / "corpus", "--format", "mmd", "--jobs", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *arguments, "--engine", "ray"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    started: set[int] = set()
    writers: list[int] = []
    try:
        wait_until(lambda: _opened_for_reading(fifo, writers), seconds=240)
        started = set(below(command.pid))
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=120) == 130
    finally:
        command.kill()
        for writer in writers:
            os.close(writer)
    wait_until(lambda: not parents().keys() & started)
    assert len(started) > 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]
    assert command.stderr is not None
    assert "Traceback" not in command.stderr.read()


def _opened_for_reading(fifo: Path, writers: list[int]) -> bool:
    """Whether somebody reads from it, who then gets nothing for as long as the writer lives."""
    with suppress(OSError):
        writers.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    return bool(writers)


def test_without_the_package_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_module, "find_spec", lambda name: None)
    generate_corpus(tmp_path / "corpus", GenerateRequest(size="test"))
    work = ["-w", str(tmp_path / "work")]
    for command in (
        ["import", str(tmp_path / "corpus"), "--format", "mmd"],
        ["train", "--labeled-ratio", "0.5"],
        ["recommend", "--batch", "asked.jsonl", "--out", "found.parquet"],
    ):
        assert _run([*work, *command, "--engine", "ray"]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "--engine ray needs a package that is not installed: ray; pip install 'semctl[ray]'" in said
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_local_is_no_engine_and_addresses_of_clients_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with find_engine("local")() as nothing:
        assert nothing is None
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")
    with pytest.raises(UsageError, match="not through ray://"):
        find_engine("ray")
    assert _run(["-w", str(tmp_path), "recommend", "--message", "hi", "--engine", "ray"]) == 2
    assert "--engine is for --batch" in " ".join(capsys.readouterr().err.split())
