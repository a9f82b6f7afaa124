"""Gold states as text for models that read none (Figure 6): in training, in use, and where they are missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.experiments.experiment import experiment
from pipeline.experiments.grid import ExperimentRequest, rows_of
from pipeline.modelling import training_data
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.recommend import RecommendRequest, recommend
from pipeline.modelling.run_record import read_record
from pipeline.modelling.runs import load_corpus, open_ranker
from pipeline.modelling.train import TrainRequest, plan_run, train
from pipeline.modelling.training_data import gold_states, prepare, state_before
from pipeline.workspace import Workspace
from schemas.errors import InputError, UsageError, WorkspaceError
from schemas.progress import SilentProgress
from semantic_model.data.told_states import state_words
from semantic_model.registry import MODELS
from tests.generated_workspace import generated_workspace

SMALL = ("model.width=8", "model.heads=2", "model.inner=8", "train.batch_size=64", "text.embeddings=corpus")
ASKED = {"model": "dual-encoder", "settings": SMALL, "epochs": 1, "ds_input": True}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("ds-input")
    return generated_workspace(folder)


@pytest.fixture
def workspace(prepared: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(prepared.root, tmp_path / "shop")
    return Workspace(tmp_path / "shop")


def prepared_data(workspace: Workspace, **more: object):
    plan, config = plan_run(workspace, TrainRequest(**{**ASKED, **more}))
    return prepare(workspace, plan, config, SilentProgress())


def without_states(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, split: str) -> str:
    """Takes the states of the split's first dialogue that recommends away; returns its id."""
    gone = load_corpus(workspace).queries(split)[0].dialogue_id
    everything = training_data.gold_states(workspace)
    kept = {name: rows for name, rows in everything.items() if name != gone}
    monkeypatch.setattr(training_data, "gold_states", lambda _: kept)
    monkeypatch.setattr("pipeline.modelling.evaluate.gold_states", lambda _: kept)
    monkeypatch.setattr("pipeline.experiments.experiment.gold_states", lambda _: kept)
    return gone


def test_only_the_labelled_share_is_told_in_training_and_everyone_who_chooses_the_epoch(prepared: Workspace):
    data = prepared_data(prepared, labeled_ratio=0.4)
    plain, gold = load_corpus(prepared), gold_states(prepared)
    assert 0 < len(data.labelled) < len(plain.dialogues("train"))
    told = 0
    for split, found, known in (("train", data.unlabelled, set(data.labelled)), ("valid", data.valid, set(gold))):
        for before, after in zip(plain.queries(split), found, strict=True):
            state = state_before(gold[before.dialogue_id], before.turn) if before.dialogue_id in known else ()
            last = max(place for place, said in enumerate(before.history) if said.speaker == "user")
            words = " ".join([*state_words(state), before.history[last].text])
            assert after.history[last].text == words  # short enough, all of them
            told += bool(state)
    assert told > 10
    assert (data.queries, data.states) == ([], [])  # its model would not know what to do with them


def test_it_is_part_of_the_plan_the_name_the_record_and_the_card(workspace: Workspace, prepared: Workspace):
    asked, config = plan_run(workspace, TrainRequest(**ASKED, labeled_ratio=0.4))
    untold, usual = plan_run(workspace, TrainRequest(**{**ASKED, "ds_input": False}))
    assert asked.run.startswith("dual-encoder-ds-r0.4-s0-")
    assert "ds" not in untold.run.split("-")[2:]
    assert (asked.ds_input, untold.ds_input) == (True, False)
    assert config.text.max_tokens == usual.text.max_tokens + 30
    assert {"D_F", "D_P"} <= asked.inputs.keys() - untold.inputs.keys()
    every, _ = plan_run(workspace, TrainRequest(**ASKED, labeled_ratio=None))
    assert every.labeled_ratio == 1.0  # unless a share is named, all are told
    record = train(workspace, TrainRequest(**ASKED, labeled_ratio=0.4))
    folder = Path(record.path)
    assert read_record(folder).ds_input
    assert record.labelled_dialogues == 8  # of 20
    assert json.loads((folder / "plan.json").read_text())["ds_input"] is True
    card = (folder / "model" / "README.md").read_text()
    assert "reads the gold state as text, before what the user said last (--ds-input)" in card
    assert "labelled ratio 0.4: 8 dialogues" in card


def test_the_run_is_told_by_itself_wherever_it_is_used(workspace: Workspace):
    record = train(workspace, TrainRequest(**ASKED, labeled_ratio=None))
    folder, corpus, gold = Path(record.path), load_corpus(workspace), gold_states(workspace)
    report = evaluate(workspace, EvaluateRequest(record.run, split="valid", candidates="all"))
    assert report.rows[0].name == "dual-encoder --ds-input"
    assert report.rows[0].means["ndcg@5"] == pytest.approx(record.best["ndcg@5"], abs=1e-6)
    told = open_ranker(folder, corpus)
    queries = corpus.queries("test")
    table = told.encode_products(corpus.products)
    scores = told.score(told.encode_contexts(queries), table)
    told.states = lambda queries: [() for _ in queries]
    assert abs(told.score(told.encode_contexts(queries), table) - scores).max() > 1e-4
    asked = next(query for query in queries if state_before(gold[query.dialogue_id], query.turn))
    found = recommend(workspace, RecommendRequest(asked.dialogue_id, record.run, turn=asked.turn - 1, top=3))
    row = queries.index(asked)
    assert [product.score for product in found.products] == pytest.approx(sorted(scores[row])[:-4:-1], rel=1e-4)


def test_missing_states_are_named_before_a_run_begins_and_when_it_is_asked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    record = train(workspace, TrainRequest(**ASKED, labeled_ratio=0.4))
    with monkeypatch.context() as patch:
        gone = without_states(workspace, patch, "test")
        with pytest.raises(InputError, match=rf"--ds-input.* and 1 of \d+ have none: .*{gone}.*ingest-labels"):
            evaluate(workspace, EvaluateRequest(record.run, split="test", candidates="all"))
        with pytest.raises(InputError, match=gone):
            recommend(workspace, RecommendRequest(gone, record.run))
        grid = ExperimentRequest(
            models=("dual-encoder",), settings=SMALL, epochs=1, seeds=1, split="test", ds_input=True
        )
        with pytest.raises(InputError, match=gone):
            experiment(workspace, grid)
        evaluate(workspace, EvaluateRequest(record.run, split="valid", candidates="all"))
    runs = sorted(workspace.runs.iterdir())
    with monkeypatch.context() as patch:
        gone = without_states(workspace, patch, "valid")
        with pytest.raises(InputError, match=gone):
            train(workspace, TrainRequest(**ASKED, labeled_ratio=0.4, seed=1))
    with monkeypatch.context() as patch:
        without_states(workspace, patch, "train")
        with pytest.raises(InputError, match="only 19 are labelled"):
            train(workspace, TrainRequest(**ASKED, labeled_ratio=None, seed=1))
    assert sorted(workspace.runs.iterdir()) == runs
    shutil.rmtree(workspace.root / "splits")
    with pytest.raises(WorkspaceError, match="ingest-labels"):
        train(workspace, TrainRequest(**ASKED, labeled_ratio=None, seed=1))


def test_models_that_read_states_are_refused_in_one_line(prepared: Workspace, capsys: pytest.CaptureFixture[str]):
    for model in ("semantic", "grounded"):
        with pytest.raises(UsageError, match=f"a model of kind {model} reads states itself; leave --ds-input out"):
            plan_run(
                prepared, TrainRequest(model=model, preset="default" if model == "grounded" else "tiny", ds_input=True)
            )
    with pytest.raises(UsageError, match=r"context.include_current = false"):
        plan_run(prepared, TrainRequest(**{**ASKED, "settings": (*SMALL, "context.include_current=false")}))
    assert cli._run(["-w", str(prepared.root), "train", "--resume", "latest", "--ds-input"]) == 2
    assert "--resume takes the run's own settings" in capsys.readouterr().err


def test_a_grid_is_told_too(workspace: Workspace):
    every = rows_of(workspace, ExperimentRequest(models=("all",), presets=("tuned",), ratios=(0.2, 1.0), ds_input=True))
    assert {row.request.model for row in every} == set(MODELS) - {"semantic", "grounded"}
    assert [row.label for row in every][:2] == [f"dual-encoder tuned ds-input r{ratio}" for ratio in ("0.2", "1")]
    command = [
        "-w",
        str(workspace.root),
        "experiment",
        "grid",
        "--models",
        "dual-encoder",
        "--seeds",
        "1",
        "--name",
        "g",
    ]
    settings = [f"--set={setting}" for setting in SMALL]
    assert cli._run([*command, *settings, "--epochs", "1", "--ds-input"]) == 0
    found = json.loads((workspace.root / "experiments" / "g" / "results.json").read_text())
    assert found["rows"][0]["label"] == "dual-encoder ds-input r1"
    assert any("gold state as text" in note for note in found["notes"])
    assert read_record(workspace.runs / found["rows"][0]["runs"][0]["run"]).ds_input
