"""Evaluation and recommendation with a run that was really trained, on a generated corpus and on real dialogues."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.doctor.space import examine_workspace
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.recommend import RecommendRequest, recommend
from pipeline.modelling.runs import load_corpus, open_ranker
from pipeline.modelling.train import TrainRequest, train
from pipeline.workspace import Workspace
from schemas.errors import ModelError, UsageError
from tests.generated_workspace import generated_workspace


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("ranking")
    workspace = generated_workspace(folder)
    train(workspace, TrainRequest(labeled_ratio=0.5, preset="tiny", epochs=1))
    return workspace


def test_the_figures_of_validation_are_those_that_training_saw(trained: Workspace):
    report = evaluate(trained, EvaluateRequest(split="valid", candidates="all"))
    assert report.run is not None
    record = json.loads((trained.runs / report.run / "record.json").read_text())
    seen = {name: value for name, value in record["best"].items() if name != "epoch"}
    assert report.rows[0].means == pytest.approx(seen, abs=1e-6)


def test_a_run_beats_chance_and_needs_its_images(trained: Workspace):
    with_images = {row.name: row.means["ndcg@20"] for row in evaluate(trained, EvaluateRequest(candidates="all")).rows}
    without = {
        row.name: row.means["ndcg@20"]
        for row in evaluate(trained, EvaluateRequest(candidates="all", images=False)).rows
    }
    assert with_images["semantic"] > 2 * with_images["random"]
    assert without["semantic"] != with_images["semantic"]
    assert without["tfidf"] == with_images["tfidf"]


def test_candidates_score_as_they_do_in_the_whole_catalogue(trained: Workspace):
    corpus = load_corpus(trained)
    run = next(path for path in trained.runs.iterdir())
    ranker = open_ranker(run, corpus)
    queries = corpus.queries("test")[:6]
    table, contexts = ranker.encode_products(corpus.products), ranker.encode_contexts(queries)
    whole = ranker.score(contexts, table)
    rows = np.array([[*query.positives, *query.negatives][:3] for query in queries])
    np.testing.assert_allclose(ranker.score(contexts, table, rows), np.take_along_axis(whole, rows, axis=1), atol=1e-5)


def test_a_bfloat16_product_table_leaves_figures_and_recommendations_as_they_are(trained: Workspace):
    full = evaluate(trained, EvaluateRequest(split="valid", candidates="all"))
    half = evaluate(trained, EvaluateRequest(split="valid", candidates="all", product_table="bfloat16"))
    assert half.rows[0].means["ndcg@20"] == pytest.approx(full.rows[0].means["ndcg@20"], abs=0.02)
    assert half.file is not None
    assert half.file.name == "evaluation-valid-all-bfloat16.json"
    corpus = load_corpus(trained)
    query = corpus.queries("test")[0]
    one, other = (
        recommend(
            trained, RecommendRequest(query.dialogue_id, turn=query.turn - 1, top=10, product_table=table)
        ).products
        for table in ("float32", "bfloat16")
    )
    assert len({p.product_id for p in one} & {p.product_id for p in other}) >= 8
    assert [p.score for p in one] != [p.score for p in other]
    assert [p.score for p in one] == pytest.approx([p.score for p in other], abs=2 * 2**-8)
    with pytest.raises(UsageError, match="no product table of 'float16'; float32 or bfloat16"):
        recommend(trained, RecommendRequest(query.dialogue_id, product_table="float16"))


def test_a_recommendation_ranks_the_positives_where_the_evaluation_does(trained: Workspace):
    corpus = load_corpus(trained)
    query = corpus.queries("test")[0]
    result = recommend(trained, RecommendRequest(query.dialogue_id, turn=query.turn - 1, top=5))
    report = evaluate(trained, EvaluateRequest(candidates="all"))
    assert report.rows[0].queries[0] == (query.dialogue_id, query.turn)
    hits = sum(bool(product.positive) for product in result.products)
    assert report.rows[0].per_query["recall@5"][0] == pytest.approx(hits / len(query.positives))
    assert all(Path(file).is_file() for product in result.products for file in product.images)


def test_a_trained_workspace_is_in_order(trained: Workspace):
    assert [f for f in examine_workspace(trained) if f.level == "problem"] == []


def test_weights_that_were_cut_off_are_refused(trained: Workspace):
    weights = next(trained.runs.iterdir()) / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(ModelError, match="not a readable safetensors file"):
            evaluate(trained, EvaluateRequest(candidates="all"))
    finally:
        weights.write_bytes(whole)


@pytest.mark.realdata
def test_what_a_model_has_to_beat_on_real_dialogues(shared_data: Path, tmp_path: Path):
    workspace = Workspace(tmp_path / "real")
    import_corpus(workspace, ImportRequest(shared_data / "simmc2_fashion_mmd", "mmd"))
    report = evaluate(workspace, EvaluateRequest(split="valid", candidates="all", baselines_only=True))
    assert len(report.rows[0].queries) == 178
    ndcg = {row.name: 100 * row.means["ndcg@5"] for row in report.rows}
    assert ndcg["random"] < 3
    assert 7 < ndcg["popularity"] < 11
    assert 35 < ndcg["tfidf"] < 40
    with pytest.raises(UsageError, match=r"train \(1164\), valid \(178\)"):
        evaluate(workspace, EvaluateRequest(split="test", baselines_only=True))
