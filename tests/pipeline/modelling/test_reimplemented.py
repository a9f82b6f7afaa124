"""A system of which no code is public is called re-implemented wherever its figures or settings are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.train import TrainRequest, train
from pipeline.workspace import Workspace
from schemas.errors import ModelError
from semantic_model.models import treasure
from semantic_model.ranking.model_spec import find_model
from semantic_model.registry import MODELS, WITHOUT_PUBLIC_CODE

SMALL = ("model.width=8", "model.heads=2", "model.inner=8", "text.embeddings=corpus", "text.freeze=false")
SAID = "re-implemented"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("reimplemented")
    generate_corpus(folder / "corpus", GenerateRequest(size="test"))
    made = Workspace(folder / "shop")
    import_corpus(made, ImportRequest(folder / "corpus", "mmd"))
    return made


def semctl(workspace: Workspace, *arguments: str) -> int:
    return cli._run(["-w", str(workspace.root), "-q", *arguments])


def test_the_registry_and_the_models_agree():
    assert [name for name in MODELS if find_model(name).reimplemented] == list(WITHOUT_PUBLIC_CODE)


@pytest.mark.parametrize("name", WITHOUT_PUBLIC_CODE)
def test_the_table_the_page_and_the_evaluation_say_it(workspace: Workspace, capsys, name: str):
    settings = [part for setting in SMALL for part in ("--set", setting)]
    assert semctl(workspace, "train", "--model", name, "--epochs", "1", *settings) == 0
    assert f"{name} ({SAID})" in " ".join(capsys.readouterr().out.split())
    (folder,) = workspace.runs.glob(f"{name}-*")
    assert "Re-implemented from its published description" in (folder / "model" / "README.md").read_text()
    report = evaluate(workspace, EvaluateRequest(folder.name, split="valid", candidates="all"))
    assert report.rows[0].name == f"{name} ({SAID})"


def test_a_page_of_another_model_does_not(workspace: Workspace):
    record = train(workspace, TrainRequest(labeled_ratio=None, model="mhred", settings=SMALL, epochs=1))
    assert SAID not in (Path(record.path) / "model" / "README.md").read_text().lower()


def test_help_and_settings_say_it(workspace: Workspace, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert semctl(workspace, "train", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Re-implemented from their published descriptions: treasure, enteract." in said
    for name, says in (("enteract/native", True), ("mhred/native", False)):
        assert semctl(workspace, "config", "show", name) == 0
        assert (SAID in capsys.readouterr().out.splitlines()[0]) is says


def test_a_corpus_that_it_cannot_learn_from_is_found_out_before_a_run_is_there(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    refused = [f"text.product_fields=['{name}']" for name in ("nothing of that name",)]
    before = set(workspace.runs.glob("*"))
    with pytest.raises(ModelError, match="no attribute of the catalogue is read"):
        train(workspace, TrainRequest(labeled_ratio=None, model="treasure", settings=(*SMALL, *refused)))
    assert set(workspace.runs.glob("*")) == before
    counted = []

    class Counted(treasure.AttributeValues):
        @classmethod
        def fit(cls, config, sources):
            counted.append(1)
            return super().fit(config, sources)

    monkeypatch.setattr(treasure, "MODEL", replace(treasure.MODEL, fitted=Counted))
    train(workspace, TrainRequest(labeled_ratio=None, model="treasure", settings=SMALL, epochs=1, seed=3))
    assert counted == [1]
