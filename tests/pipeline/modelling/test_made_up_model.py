"""One file and one line of the registry make a model, which is trained, resumed, measured and asked as the others."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.experiments.grid import ExperimentRequest, rows_of
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.recommend import RecommendRequest, recommend
from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.modelling.train import TrainRequest, plan_run, resume, train
from pipeline.workspace import Workspace
from schemas.errors import MissingPartError, ModelError, UsageError
from semantic_model.config.config import load_config
from semantic_model.config.sections import KnowledgeConfig
from semantic_model.data.batch import Inputs
from semantic_model.data.knowledge import find_file
from semantic_model.evaluation.uncertainty import Judge, context_vectors, has_teacher, ranking_margins
from semantic_model.ranking.model_spec import find_model
from semantic_model.registry import MODELS
from tests.generated_workspace import generated_workspace

SMALL = ("model.width=8", "model.heads=2", "model.inner=8", "train.batch_size=64", "text.embeddings=corpus")
REQUEST = TrainRequest(labeled_ratio=None, model="best-word", preset="dual-encoder", settings=SMALL, epochs=2)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("made-up")
    made = generated_workspace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "best-word", "tests.pipeline.modelling.made_up_model")
        yield made


class CtrlC:
    """A progress display that presses it after so many steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def task(self, title, total=None):
        del total
        self.counts = title == "training"
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return None

    def advance(self, n=1, *, note=None):
        del n
        self.left -= bool(self.counts and note)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)

    def log(self, message):
        del message


def test_it_trains_resumes_evaluates_and_recommends(workspace: Workspace):
    with pytest.raises(KeyboardInterrupt):
        train(workspace, REQUEST, progress=CtrlC(3))
    resumed = resume(workspace, "latest")
    weights = Path(resumed.path) / "model" / "model.safetensors"
    of_resumed = weights.read_bytes()
    Path(resumed.path).rename(workspace.root / "resumed")
    record = train(workspace, REQUEST)
    assert record.run == resumed.run
    assert weights.read_bytes() == of_resumed
    assert record.model == "best-word"
    assert "The best of a product's words, trained by" in (weights.parent / "README.md").read_text()
    report = evaluate(workspace, EvaluateRequest(record.run, split="valid", candidates="all"))
    assert report.rows[0].name == "best-word"
    assert report.rows[0].means["ndcg@5"] == pytest.approx(record.best["ndcg@5"], abs=1e-6)
    listed = evaluate(workspace, EvaluateRequest(record.run, split="valid", candidates="1000"))
    assert listed.rows[0].means["ndcg@5"] == pytest.approx(record.best["ndcg@5"], abs=0.05)
    dialogue = report.rows[0].queries[0][0]
    found = recommend(workspace, RecommendRequest(dialogue, run=record.run, top=3)).products
    assert [product.rank for product in found] == [1, 2, 3]
    assert found[0].score >= found[1].score >= found[2].score


def test_what_it_fits_is_saved_with_its_weights_and_read_back(workspace: Workspace):
    model = Path(train(workspace, REQUEST).path) / "model"
    corpus = load_corpus(workspace)
    counts = json.loads((model / "counts.json").read_text())
    asked = corpus.queries("train")
    first = corpus.products[asked[0].positives[0]].product_id
    assert counts[first] == sum(corpus.product_rows[first] in query.positives for query in asked)
    queries = corpus.queries("valid")[:3]
    scores = []
    for name, count in (("as fitted", counts[first]), ("far more popular", 10**6)):
        (model / "counts.json").write_text(json.dumps(counts | {first: count}))
        ranker = open_ranker(find_run(workspace), corpus)
        found = ranker.score(ranker.encode_contexts(queries), ranker.encode_products(corpus.products))
        scores.append(found[:, corpus.product_rows[first]])
        assert (found.argmax(axis=1) == corpus.product_rows[first]).all() == (name == "far more popular")
    assert (scores[1] > scores[0]).all()
    (model / "counts.json").unlink()
    with pytest.raises(ModelError, match=r"counts\.json"):
        open_ranker(find_run(workspace), corpus)
    (model / "counts.json").write_text(json.dumps(counts))


def test_a_file_that_it_is_fitted_with_is_part_of_what_a_run_is(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    knowledge = KnowledgeConfig(folder=str(tmp_path))
    fitted_with_tips = replace(
        find_model("best-word"), files=lambda _: {"tips.txt": find_file(knowledge, ["tips.txt"], what="the tips")}
    )
    monkeypatch.setattr("tests.pipeline.modelling.made_up_model.MODEL", fitted_with_tips)
    request = TrainRequest(**{**vars(REQUEST), "seed": 5})
    before = set(workspace.runs.iterdir()) if workspace.runs.exists() else set()
    with pytest.raises(MissingPartError, match=r"has no tips\.txt, the tips .*--set knowledge\.folder=FOLDER"):
        train(workspace, request)
    assert not workspace.runs.exists() or set(workspace.runs.iterdir()) == before
    (tmp_path / "tips.txt").write_text("shirt , jeans , 3")
    with pytest.raises(KeyboardInterrupt):
        train(workspace, request, progress=CtrlC(3))
    (tmp_path / "tips.txt").write_text("shirt , jeans , 4")
    with pytest.raises(ModelError, match=r"the data changed since this run began: tips\.txt"):
        resume(workspace, "latest")
    changed, _ = plan_run(workspace, request)
    (tmp_path / "tips.txt").write_text("shirt , jeans , 3")
    record = resume(workspace, "latest")
    assert record.run != changed.run
    assert record.inputs["tips.txt"] != changed.inputs["tips.txt"]


def test_a_field_that_no_reader_knows_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    spec = find_model("best-word")

    class Weather(NamedTuple):
        tokens: object
        temperature: object

    reads = replace(spec, inputs=Inputs(contexts=Weather, products=spec.inputs.products))
    monkeypatch.setattr("tests.pipeline.modelling.made_up_model.MODEL", reads)
    with pytest.raises(ModelError, match=r"reads 'temperature', which WareReader does not know.*fields: tokens, speak"):
        train(workspace, TrainRequest(**{**vars(REQUEST), "seed": 9}))


def test_it_can_do_what_it_says_and_no_more(workspace: Workspace):
    train(workspace, REQUEST)
    corpus = load_corpus(workspace)
    ranker = open_ranker(find_run(workspace), corpus)
    judge = Judge(ranker, corpus.products, corpus.queries("valid")[:5])
    assert not has_teacher(ranker)
    assert len(ranking_margins(judge)) == 5
    assert len(ranker.encode_contexts([])) == 0
    with pytest.raises(ModelError, match="contexts of a best-word have no vectors"):
        context_vectors(judge)
    with pytest.raises(UsageError, match="a best-word has a float32 product table only"):
        open_ranker(find_run(workspace), corpus, product_table="bfloat16")


def test_it_is_named_by_the_settings_or_by_the_option_and_not_by_both(workspace: Workspace):
    by_option, config = plan_run(workspace, REQUEST)
    assert (by_option.model, config.model.kind) == ("best-word", "best-word")
    named = TrainRequest(labeled_ratio=None, preset="dual-encoder", settings=(*SMALL, "model.kind=best-word"), epochs=2)
    by_setting, _ = plan_run(workspace, named)
    assert by_setting == by_option
    with pytest.raises(UsageError, match="which model is said twice"):
        plan_run(workspace, TrainRequest(model="best-word", settings=("model.kind=semantic",)))
    with pytest.raises(UsageError, match="unknown model 'best-wort'; did you mean 'best-word'"):
        load_config("tiny", ["model.kind=best-wort"])
    (row,) = rows_of(workspace, ExperimentRequest(presets=("dual-encoder",), models=("best-word",), settings=SMALL))
    assert (row.label, row.ratio) == ("dual-encoder best-word", None)


def test_what_it_does_not_read_is_refused(workspace: Workspace):
    with pytest.raises(UsageError, match=r"'dsi.hops' does nothing in a model of kind best-word"):
        plan_run(workspace, TrainRequest(**{**vars(REQUEST), "settings": (*SMALL, "dsi.hops=1")}))
    with pytest.raises(UsageError, match=r"unknown setting 'fondness.of_populr'.*did you mean 'fondness.of_popular'"):
        plan_run(workspace, TrainRequest(**{**vars(REQUEST), "settings": (*SMALL, "fondness.of_populr=1")}))
    with pytest.raises(UsageError, match="'tfidf' is not trained"):
        plan_run(workspace, TrainRequest(labeled_ratio=None, model="tfidf"))
    with pytest.raises(UsageError, match=r"'train.schedule' does nothing"):
        plan_run(workspace, TrainRequest(**{**vars(REQUEST), "settings": (*SMALL, "train.schedule=interleaved")}))
    with pytest.raises(UsageError, match="a model of kind best-word reads no labels"):
        plan_run(workspace, TrainRequest(**{**vars(REQUEST), "labeled_ratio": 0.5}))
    with pytest.raises(UsageError, match="--labeled-ratio is missing"):
        plan_run(workspace, TrainRequest(labeled_ratio=None))


def test_every_model_of_the_registry_says_its_name():
    assert [find_model(name).name for name in MODELS] == list(MODELS)


def test_settings_of_execution_do_not_rename_a_run(workspace: Workspace):
    plain, _ = plan_run(workspace, REQUEST)
    said = (*SMALL, "train.log_every=7", "train.checkpoint_every=3")
    other, config = plan_run(workspace, TrainRequest(**{**vars(REQUEST), "settings": said}))
    assert other.run == plain.run
    assert config.train.log_every == 7
    rate, _ = plan_run(workspace, TrainRequest(**{**vars(REQUEST), "settings": (*SMALL, "train.learning_rate=0.1")}))
    assert rate.run != plain.run
