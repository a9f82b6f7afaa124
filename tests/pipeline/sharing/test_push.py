"""``--push``: what arrives at a Hub of this machine is the folder, byte by byte, and comes back as such."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants, snapshot_download

import semantic_model
from pipeline.cli import _run
from pipeline.modelling.train import TrainRequest, train
from pipeline.workspace import Workspace
from tests.generated_workspace import generated_workspace
from tests.pipeline.sharing.fake_hub import TOKEN, FakeHub, fake_hub

ROOT = Path(__file__).resolve().parents[3]
SMALL = ("model.width=8", "model.heads=2", "model.layers=1", "model.inner=8")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = generated_workspace(tmp_path_factory.mktemp("push"))
    train(workspace, TrainRequest(labeled_ratio=0.5, settings=SMALL, epochs=1))
    return workspace


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """The Hub, for this process: huggingface_hub has read its variables already."""
    with fake_hub() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", found.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # Git LFS, which is plain HTTP
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_variables_of_the_hub_are_enough(shop: Workspace, tmp_path: Path):
    folder = tmp_path / "given"
    asked = ["-q", "-w", str(shop.root), "export-dataset", str(folder), "--push", "shop/labels", "--json"]
    with fake_hub() as found:
        told = {"HF_ENDPOINT": found.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf")}
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *asked],
            env={**os.environ, "PYTHONPATH": str(ROOT), **told},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["url"] == f"{found.url}/datasets/shop/labels"
        repository = found.repositories["dataset", "shop/labels"]
        assert repository.files == files_of(folder)
        assert repository.private
        assert TOKEN not in done.stdout + done.stderr


def test_a_model_goes_there_and_comes_back_the_same(
    shop: Workspace, hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "given"
    push = ["export-model", "latest", str(folder), "--push", "shop/ranker", "--public"]
    assert _run(["-q", "-w", str(shop.root), *push, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["url"] == f"{hub.url}/shop/ranker"
    repository = hub.repositories["model", "shop/ranker"]
    assert repository.files == files_of(folder)
    assert not repository.private
    assert repository.commits == ["Model written by semctl"]
    assert [call for call in hub.asked if call.startswith("PUT /lfs/")]
    fetched = snapshot_download("shop/ranker", cache_dir=tmp_path / "cache", endpoint=hub.url)
    said = [("user", "a red shirt, please")]
    assert semantic_model.load(fetched).rank(said) == semantic_model.load(folder).rank(said)
    hub.asked.clear()
    assert _run(["-q", "-w", str(shop.root), *push, "--licence", "mit"]) == 0
    assert not [call for call in hub.asked if call.startswith("PUT /lfs/")], "large files are there already"
    assert repository.files == files_of(folder)


def test_what_the_hub_refuses_is_one_line_and_the_folder_is_there(
    shop: Workspace, hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def pushed(folder: str, repo: str = "shop/labels") -> tuple[int, str]:
        code = _run(["-q", "-w", str(shop.root), "export-dataset", str(tmp_path / folder), "--push", repo])
        return code, capsys.readouterr().err.strip()

    wrong = "hf_anotherTokenThatNobodyKnows00"
    monkeypatch.setenv("HF_TOKEN", wrong)
    code, said = pushed("refused")
    assert code == 4
    assert said.startswith("error: the Hub did not take it: ")
    assert "401" in said
    assert wrong not in said
    assert "\n" not in said
    assert (tmp_path / "refused" / "README.md").is_file()
    monkeypatch.delenv("HF_TOKEN")
    assert huggingface_hub.get_token() is None
    code, said = pushed("tokenless")
    assert (code, said.partition(";")[0]) == (2, "error: there is no token of the Hub")
    code, said = pushed("nameless", "labels")
    assert (code, said.partition(";")[0]) == (2, "error: 'labels' is no repository of the Hub")
    assert not (tmp_path / "tokenless").exists()
    assert not (tmp_path / "nameless").exists()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    code, said = pushed("alone")
    assert code == 4
    assert said.startswith("error: the Hub did not take it: ")
    assert (tmp_path / "alone" / "README.md").is_file()
