"""Every benchmark at a size that takes seconds: what it says, not how fast it is here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.benchmarks import commands, run_benchmark
from pipeline.benchmarks.evaluation import _systems
from pipeline.benchmarks.import_speed import Shape, write_corpus
from pipeline.benchmarks.measure import Goal, Options, compared, interleaved
from pipeline.benchmarks.measure import row as row_of
from pipeline.benchmarks.metrics import a_table, ir_measures_of, largest_difference, sklearn_ndcg
from pipeline.benchmarks.pushing import many_dialogues
from pipeline.cli import _run
from schemas.errors import MissingPartError, SemctlError
from schemas.progress import SilentProgress
from schemas.tables import TURNS
from semantic_model.evaluation.metrics import rank_metrics
from semantic_model.ranking.model_spec import find_model
from semantic_model.registry import MODELS
from semantic_model.speed.scoring import ScoringCase, extra_mebibytes
from semantic_model.speed.systems import MadeUpShop, ProductCase, SystemCase
from tests.skipping import has_minilm

torch.set_num_threads(1)


def test_a_ratio_is_the_median_of_what_each_round_gave():
    found = compared("a", "b", [1.0, 2.0, 4.0], [4.0, 4.0, 4.0], Goal("at least", 2.0))
    assert (found["ratio"], found["ratios"], found["rounds"]) == (2.0, [1.0, 4.0], 3)
    assert (found["seconds"], found["seconds_against"]) == (2.0, 4.0)
    assert (found["goal"], found["reached"]) == (">= 2", True)
    longer = compared("a", "b", [3.0], [2.0], Goal("at most", 1.3), faster=False)
    assert (longer["ratio"], longer["goal"], longer["reached"]) == (1.5, "<= 1.3", False)
    assert compared("a", "b", [1.0], [1.0])["reached"] is None


def test_rounds_take_turns_and_the_first_does_not_count():
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = interleaved(works, 2, progress=SilentProgress(), title="")
    assert "".join(order) == "ababab"
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_scoring_is_compared_with_its_opponents_on_equal_scores():
    case = ScoringCase(700, 32)
    case.gram()
    case.bfloat16()
    case.product()
    assert case.largest_difference() < 1e-5
    difference, in_common = case.rounding()
    assert 0 < difference < 2 * 2**-8
    assert in_common >= 0.95
    assert not torch.equal(case.table.text.vectors, case.table.image.vectors)


@pytest.mark.slow
def test_the_scoring_benchmark_says_what_it_measured():
    rows = run_benchmark("scoring", Options(rounds=2, sizes=(600,), width=32))["benchmarks"]
    assert all(row["name"].startswith(("scoring 600 products", "memory of scoring 600", "ranking 600")) for row in rows)
    plain, product, half = rows[:3]
    assert (plain["goal"], product["goal"], half["goal"]) == (">= 3", "<= 1.3", None)
    assert plain["largest_difference"] < 1e-5
    assert plain["microseconds_each"] == pytest.approx(1e6 * plain["seconds"] / 600)
    for row in rows[3:5]:
        assert 0 <= row["mebibytes"] < 64


@pytest.mark.slow
def test_scoring_needs_little_memory_beside_its_tables():
    extra = extra_mebibytes(60_000, 256, "float32")
    if extra is None:
        pytest.skip("this system does not tell how high a process stood")
    assert 0 <= extra < 64  # 0: what libraries keep in reserve was enough


def test_the_evaluation_benchmark_ranks_alike_both_ways(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.benchmarks.evaluation.MODELS", {"mhred": "", "treasure": "", "larch": ""})
    rows = run_benchmark("evaluation", Options(rounds=2, sizes=(20,), width=16))["benchmarks"]
    table, whole, *models = rows
    assert table["largest_difference"] < 1e-4
    assert "2 queries timed, extrapolated" in table["against"]
    assert (table["goal"], whole["goal"]) == (">= 500", None)
    assert whole["seconds"] > table["seconds"]
    titles = ("mhred", "treasure (re-implemented)", "larch")
    assert [row["name"] for row in models] == [f"ranking 20 x 60 candidates with {it}, width 16" for it in titles]
    for row in models:
        assert row["against"] == "times the time of a plain matrix product of vectors"
        assert row["ratios"][0] <= row["ratio"] <= row["ratios"][1]
        assert (row["goal"], row["reached"]) == (None, None)  # these are for the benchmark's own size


def test_each_model_has_seconds_of_its_own_to_stay_within(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.benchmarks.evaluation.MODELS", {"mhred": "", "larch": "", "clip": ""})
    monkeypatch.setattr("pipeline.benchmarks.evaluation.QUERIES", 9)

    def no_tower(*_: object) -> None:
        raise MissingPartError("no text tower", fix="name one")

    monkeypatch.setattr("semantic_model.models.clip.TowerReader.read", no_tower)
    found = _systems(9, 60, 1, Options())
    assert [(row["goal"], row["reached"]) for row in found] == [("<= 10 s", True), ("<= 60 s", True)]
    assert ["larch" in row["name"] for row in found] == [False, True]


@pytest.mark.slow
def test_the_evaluation_benchmark_has_a_row_for_each_model():
    rows = run_benchmark("evaluation", Options(rounds=1, sizes=(5,), width=16))["benchmarks"]
    titles = [
        name + " (re-implemented)" * find_model(name).reimplemented for name in MODELS if name != "clip" or has_minilm()
    ]
    assert [row["name"] for row in rows[2:]] == [f"ranking 5 x 60 candidates with {it}, width 16" for it in titles]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "clip"])
def test_a_made_up_shop_is_read_by_every_model_and_no_two_products_score_alike(name: str):
    shop = MadeUpShop(4, 30, 60)
    case = SystemCase(name, shop, 16)
    scores = case.rank()
    assert scores.shape == (4, 30)
    assert len(np.unique(scores)) > 0.9 * scores.size
    np.testing.assert_allclose(case.rank(2), scores[:2], rtol=1e-4, atol=1e-5)
    assert case.late == (name in ("larch", "enteract"))


def test_the_plain_product_scores_the_candidates_it_is_given():
    shop = MadeUpShop(3, 5, 10)
    case = ProductCase(shop, 16)
    expected = [[float(case.contexts[q] @ case.products[row]) for row in shop.candidates[q]] for q in range(3)]
    np.testing.assert_allclose(case.rank(), expected, rtol=1e-5)


def test_metrics_equal_scikit_learn_with_ties_and_ir_measures_without():
    assert max(largest_difference(queries=12, candidates=40).values()) < 1e-12


def test_the_comparison_of_metrics_can_fail():
    scores, relevant = a_table(5, 30, levels=4)
    ours, other = rank_metrics(-scores, relevant), sklearn_ndcg(scores, relevant)
    assert abs(ours["ndcg@5"] - other["ndcg@5"]).max() > 0.01
    distinct, relevant = a_table(5, 30, levels=0)
    ours, all_of_them = rank_metrics(-distinct, relevant), ir_measures_of(distinct, relevant)
    assert set(all_of_them) == set(ours)
    assert abs(ours["recall@10"] - all_of_them["recall@10"]).max() > 0.01


def test_the_command_prints_one_object(capsysbinary: pytest.CaptureFixture[bytes]):
    assert _run(["benchmark", "metrics", "--size", "300", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert {"system", "cores", "load"} <= set(found["machine"])
    for row in found["benchmarks"]:
        assert {"name", "ratio", "against", "seconds", "goal", "reached"} <= set(row)


@pytest.mark.parametrize(("ratio", "arguments", "code"), [(2.0, ["--check"], 3), (2.0, [], 0), (4.0, ["--check"], 0)])
def test_a_missed_goal_counts_only_when_it_is_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ratio: float, arguments: list[str], code: int
):
    missed = {"machine": {}, "benchmarks": [row_of("walking", ratio, "standing", Goal("at least", 3.0), seconds=None)]}
    monkeypatch.setattr("pipeline.benchmarks.run_benchmark", lambda *_: missed)
    assert _run(["benchmark", "scoring", *arguments]) == code
    said = capsys.readouterr()
    assert "walking" in said.out
    assert ("1 of 1 goals missed" in said.err) == (code == 3)


def test_a_corpus_with_a_broken_file_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_corpus(tmp_path / "corpus", Shape("x", dialogues=10, negatives=5, products=10))
    broken = tmp_path / "corpus" / "dialogues" / "train" / "train-3.json"
    broken.write_bytes(broken.read_bytes()[:100])
    assert _run(["benchmark", "import", "--corpus", str(tmp_path / "corpus"), "--rounds", "1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not valid JSON: " in said
    assert f"({broken}); measure on a corpus without broken files" in said


def test_dialogues_are_repeated_under_new_names_until_there_are_enough_tasks():
    said = [("a", 0, "user"), ("a", 1, "system"), ("a", 2, "user"), ("b", 0, "user")]
    rows = [
        {"dialogue_id": name, "turn": turn, "speaker": who, "act": "", "text": "", "image_ids": [], "split": "train"}
        for name, turn, who in said
    ]
    found = many_dialogues(pa.Table.from_pylist(rows, TURNS.columns), tasks=4, window=1).to_pylist()
    assert [row["dialogue_id"] for row in found] == ["000000-a"] * 3 + ["000000-b"] + ["000001-a"] * 3
    assert [row["turn"] for row in found] == [0, 1, 2, 0, 0, 1, 2]


@pytest.mark.studio
@pytest.mark.slow
@pytest.mark.usefixtures("studio_server")  # says whether there is a Label Studio
def test_pushing_is_compared_with_the_bare_import_of_as_many_tasks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")  # another server must not be asked
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "none")
    new, again = run_benchmark("pushing", Options(rounds=1, sizes=(40,)))["benchmarks"]
    assert (new["name"], new["goal"]) == ("exporting 40 tasks", "<= 2")
    assert new["seconds"] > 0
    assert again["seconds"] > 0
    assert (new["tasks"], again["tasks"]) == (40, 40)
    assert new["bytes_each"] > 500
    assert os.environ["LABEL_STUDIO_URL"] == "http://127.0.0.1:9"


@pytest.mark.slow
def test_a_command_is_held_against_its_libraries_and_its_warm_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commands, "COMMANDS", {"ontology show": commands.COMMANDS["ontology show"]})
    (row,) = run_benchmark("commands", Options(rounds=1))["benchmarks"]
    assert (row["name"], row["goal"]) == ("ontology show", "<= 1.5")
    assert 0 < row["seconds"] == pytest.approx(row["ratio"] * row["seconds_against"])
    monkeypatch.setattr(commands, "COMMANDS", {"nothing": (["ontology", "nothing"], "")})
    with pytest.raises(SemctlError, match="ontology nothing"):
        run_benchmark("commands", Options(rounds=1))
