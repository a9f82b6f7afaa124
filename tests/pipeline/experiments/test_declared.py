"""The paper's tables and figures as declared experiments: what they say, and that they run."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipeline import cli
from pipeline.corpus.stats import workspace_stats
from pipeline.experiments.budget import budget_answers
from pipeline.experiments.claims import verdict
from pipeline.experiments.declaration import Claim, declared_names, find_declared
from pipeline.experiments.declared_run import RunRequest, dry_run, run_declared
from pipeline.experiments.experiment import plan_grids
from pipeline.experiments.figure import Dots, dots
from pipeline.experiments.grid import ExperimentRequest, plan_grid, rows_of
from pipeline.experiments.running import run_all
from pipeline.experiments.summary import Part, RowSummary, summarise
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.training_data import gold_states
from pipeline.reports.experiment_report import experiment_page, experiment_report
from pipeline.workspace import Workspace
from schemas.errors import InputError, ServiceError, UsageError
from schemas.progress import SilentProgress
from schemas.state_metrics import StateCounts
from semantic_model.evaluation.evaluation import Evaluation
from tests.generated_workspace import generated_workspace
from tests.skipping import need_minilm

PAPER = Path(__file__).resolve().parents[4] / "shared" / "reference" / "semantic-paper.txt"
TINY = ("model.width=8", "model.heads=2", "model.inner=8", "model.layers=1", "image.encoder=pixels")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("declared")
    return generated_workspace(folder)


@pytest.fixture
def workspace(prepared: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(prepared.root, tmp_path / "shop")
    return Workspace(tmp_path / "shop")


def row(name: str, figures: dict[int, list[float]], **more: object) -> RowSummary:
    """A row of one run a seed, each with one query a dialogue."""
    parts = []
    for seed, values in figures.items():
        queries = tuple((f"d{number}", 1) for number in range(len(values)))
        parts.append(
            Part(f"{name}-{seed}", seed, None, Evaluation(name, queries, {"ndcg@5": np.array(values)}, {}), **more)
        )
    return summarise(name, None, name, parts)


def test_there_are_the_papers_tables_and_figures_and_each_can_be_planned(prepared: Workspace):
    need_minilm()
    assert declared_names() == [
        *("table1", "table2", "table3", "table4"),
        *("figure4", "figure5", "figure6", "figure7", "figure8"),
    ]
    planned = {}
    for name in declared_names():
        found = find_declared(name)
        for scale in found.declaration.scales:
            if scale in ("smoke", "small"):  # weights that come along, or none
                rows, runs = plan_grids(prepared, found.grids(scale))
                planned[name, scale] = sum(map(len, rows.values())), len(runs)
            else:
                assert all(rows_of(prepared, grid) for grid in found.grids(scale).values())
    assert planned["table2", "smoke"] == (9, 18)
    assert planned["table2", "small"] == (9, 27)
    assert planned["table3", "small"] == (5, 15)
    assert planned["figure4", "smoke"] == (6, 12)
    assert planned["figure6", "small"] == (16, 48)
    assert planned["figure7", "smoke"] == (4, 8)


def test_the_papers_protocol_is_its_own():
    for name in ("table2", "table3", "figure4", "figure6", "figure7"):
        for grid in find_declared(name).grids("paper").values():
            assert (grid.folds, grid.pool_test, grid.candidates, grid.epochs) == (5, True, "1000", None)
    from semantic_model.config.config import load_config

    paper = load_config("paper").train  # section 4.2
    assert (paper.epochs, paper.batch_size, paper.learning_rate, paper.negatives) == (50, 64, 5e-4, 4)


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not beside the repository")
def test_the_papers_figures_are_those_of_its_text():
    text = PAPER.read_text(encoding="utf-8")
    upper, lower = text[text.index("Method Precision@5") : text.index("UMD: Cui et al.")].split("M\nM\nD\n-v\n3/\nv2")
    checked = 0
    for declared in find_declared("table2").declaration.rows:
        for source, figures in declared.paper.items():
            printed = " ".join(f"{f:.2f}" if isinstance(f, float) else f"{f[0]:.2f}±{f[1]:.2f}" for f in figures)
            half = upper if source == "MMD-v3/v3" else lower
            assert f"\n{declared.name} {printed}\n" in half.replace("\n\n", "\n") + "\n"
            checked += 1
    assert checked == 18
    for declared in find_declared("table3").declaration.rows:
        printed = " ".join(f"{mean:.2f}±{std:.2f}" for mean, std in declared.paper["MMD-v3"])
        alpha = declared.name.removeprefix("α = ")
        assert re.search(rf"= {alpha} {re.escape(printed)}\n", text)
    (judged,) = find_declared("table4").declaration.rows
    assert "Rec. Cases 32.20% 63.84% 5.98%" in text
    assert judged.paper["MMD, 60 turns, three people"] == (32.20, 63.84, 5.98)
    assert "dialogues 105439 22595 22595 5478 1113 1174" in text
    assert find_declared("table1").declaration.rows[0].paper["MMD-v3"] == (5478, 1113, 1174)


def test_the_papers_slips_are_footnoted():
    (note,) = find_declared("table3").declaration.footnotes
    assert "heads these columns Recall@5" in note
    semantic = next(r for r in find_declared("table2").declaration.rows if r.name == "SeMANTIC").paper["MMD-v3/v3"]
    half = next(r for r in find_declared("table3").declaration.rows if r.name == "α = 0.5").paper["MMD-v3"]
    assert half == (semantic[2], semantic[5], semantic[8])  # NDCG's columns, as the footnote says
    shares = find_declared("table4").declaration.rows[0].paper["MMD, 60 turns, three people"]
    assert f"sum to {sum(shares):.2f} %" in find_declared("table4").declaration.footnotes[0]
    clip = next(r for r in find_declared("table2").declaration.rows if r.name == "CLIP").paper["MMD-v3/v2"]
    assert clip[5][0] < clip[2][0]
    assert any("14.37 ± 4.89" in note for note in find_declared("table2").declaration.footnotes)


def test_declarations_are_package_data():
    assert {path.name for path in (files("pipeline.experiments") / "declared").iterdir()} == {
        f"{name}.toml" for name in declared_names()
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[figure]", "[figrue]"), "figrue: no experiment has such a key"),
        (('scale = "small"', 'scale = "smal"'), "unknown scale of mine 'smal'.*did you mean 'small'"),
        (("vary =", "varry ="), "a grid has no key 'varry'.*did you mean 'vary'"),
        (("seeds = 3", 'seeds = "three"'), "seeds: Input should be a valid integer"),
        (('to = "α = 0.5"', 'to = "α = 0.6"'), "unknown row 'α = 0.6'"),
        (("[73.57, 1.59], ", ""), "row α = 0.1, MMD-v3: 2 figures for 3 measures"),
    ],
)
def test_a_file_with_a_mistake_names_it(tmp_path: Path, change: tuple[str, str], said: str):
    file = tmp_path / "mine.toml"
    text = (files("pipeline.experiments") / "declared" / "table3.toml").read_text(encoding="utf-8")
    assert change[0] in text
    file.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        find_declared(str(file))


def test_what_the_corpus_lacks_is_said_before_anything_is_trained(workspace: Workspace):
    with pytest.raises(UsageError, match="there is no experiment 'table22'; did you mean 'table2'"):
        find_declared("table22")
    with pytest.raises(UsageError, match="unknown scale of table2 'smoek'; did you mean 'smoke'"):
        run_declared(workspace, find_declared("table2"), RunRequest(scale="smoek"))
    for name, said in (("table4", "semctl judge export, then semctl judge ingest"), ("figure8", "semctl report")):
        with pytest.raises(UsageError, match=said):
            run_declared(workspace, find_declared(name), RunRequest())
    shutil.rmtree(workspace.root / "splits")
    with pytest.raises(InputError, match="ingest-labels"):
        run_declared(workspace, find_declared("figure7"), RunRequest(scale="smoke"))
    assert not workspace.runs.exists()
    assert not (workspace.root / "experiments").exists()


def test_too_few_dialogues_or_labels_is_said_before_anything_is_trained(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(InputError, match="24 dialogues are too few for 20 folds"):
        plan_grids(workspace, {"": ExperimentRequest(models=("semantic",), presets=("tuned",), folds=20)})
    every = gold_states(workspace)
    kept = {name: every[name] for name in train_dialogues(workspace)[:10]}  # of 20
    monkeypatch.setattr("pipeline.experiments.grid.gold_states", lambda _: kept)
    with pytest.raises(InputError, match="only 10 are labelled; the largest possible ratio is 0"):
        run_declared(workspace, find_declared("figure7"), RunRequest(scale="smoke"))
    assert not workspace.runs.exists()
    budget = find_declared("figure4").grids("smoke")["semantic"]
    assert [each.ratio for each in rows_of(workspace, budget)] == [0.0, 0.25, 0.5]  # shares of what is labelled
    kept.clear()
    with pytest.raises(InputError, match="no training dialogue is labelled in every turn"):
        rows_of(workspace, budget)


def test_a_grid_keeps_the_presets_that_it_was_planned_with(workspace: Workspace, tmp_path: Path):
    mine = tmp_path / "mine.toml"
    text = """base = "dual-encoder"
[text]
embeddings = "corpus"
[model]
width = 8
heads = 2
inner = 8
[train]
epochs = 1
"""
    mine.write_text(text)
    request = ExperimentRequest(presets=(str(mine),), seeds=1)
    _, runs = plan_grid(workspace, request)
    mine.write_text(text.replace("width = 8", "width = 16"))  # edited while it runs
    (done,), failed = run_all(workspace, runs, split="valid", kind="all", jobs=1, progress=SilentProgress())
    assert not failed
    assert done.record.config["model"]["width"] == 8
    assert done.record.run == runs[0].run
    assert plan_grid(workspace, request)[1][0].run != runs[0].run  # planned anew, it is another run
    workspace.turns.write_bytes(b"changed")
    (workspace.runs / runs[0].run / "record.json").unlink()
    none, failed = run_all(workspace, runs, split="valid", kind="all", jobs=1, progress=SilentProgress())
    assert not none
    assert "the data changed since this run began: turns" in str(failed[runs[0].run])


def test_whatever_stops_a_cell_the_others_go_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsysbinary):
    from pipeline.experiments import running

    real = running.carry_out

    def flaky(space: Workspace, planned: running.PlannedRun, *more: object) -> running.Measured:
        if planned.plan.seed == 0:
            raise ServiceError("the disk of features is away")
        return real(space, planned, *more)

    monkeypatch.setattr(running, "carry_out", flaky)
    command = [
        "-w",
        str(workspace.root),
        "experiment",
        "run",
        "figure7",
        "--scale",
        "smoke",
        "--json",
        "--set=train.epochs=1",
    ]
    small = [f"--set={setting}" for setting in TINY]
    file = workspace.root / "one.toml"
    text = (files("pipeline.experiments") / "declared" / "figure7.toml").read_text(encoding="utf-8")
    text = text.replace("epochs = 2\n", "").replace('"loss.co_sim_weight=0", "loss.mse_weight=0", ', "")
    text = re.sub(r'\[\[rows\]\]\nname = "w/o (co_sim|MSE)"\n.*\n', "", text)
    file.write_text(re.sub(r"\[\[claims\]\]\nsays = .*\nwhere = .*\nbetter.*\nthan = .*(co_sim|MSE).*\n", "", text))
    command[4] = str(file)
    assert cli._run([*command, *small]) == 3
    found = json.loads(capsysbinary.readouterr().out)
    assert set(found["failed"].values()) == {"the disk of features is away"}
    assert len(found["failed"]) == 2
    assert {line["name"] for line in found["lines"] if line["ours"]} >= {"SeMANTIC", "w/o JS"}
    (claim,) = [each for each in found["claims"] if each["better"]]
    assert claim["compared"][0]["repetitions"] is None  # of one seed
    kept = workspace.root / "experiments" / "one-smoke"
    assert "## Failed" in (kept / "table.md").read_text()
    assert Image.open(kept / "figure.png").size[0] > 600
    ElementTree.parse(kept / "figure.svg")


def test_a_claim_holds_when_both_dialogues_and_repetitions_say_so():
    better = row("a", {0: [0.5, 0.6, 0.7], 1: [0.6, 0.6, 0.8]})
    worse = row("b", {0: [0.2, 0.3, 0.4], 1: [0.31, 0.3, 0.5]})
    claim = Claim(says="", where="", better="a", than=("b",))
    found = verdict(claim, {"a": better, "b": worse})
    (compared,) = found.compared
    assert compared.difference == pytest.approx((0.3 + 0.3 + 0.3 + 0.29 + 0.3 + 0.3) / 6)
    # of the pairs of seeds: 0.3 and 0.89/3; t with 1 degree of freedom at 97.5 % is tan(0.475 pi)
    pairs = [0.3, 0.89 / 3]
    half = math.tan(0.475 * math.pi) * abs(pairs[0] - pairs[1]) / 2
    assert compared.repetitions == pytest.approx((sum(pairs) / 2 - half, sum(pairs) / 2 + half))
    assert found.answer == "holds here"
    assert (
        verdict(replace_claim(claim, better="b", than=("a",)), {"a": better, "b": worse}).answer == "does not hold here"
    )
    assert verdict(replace_claim(claim, denied=True), {"a": better, "b": worse}).answer == "does not hold here"
    unsteady = row("b", {0: [0.2, 0.3, 0.4], 1: [0.6, 0.5, 0.8]})  # one seed says so, the other does not
    assert verdict(claim, {"a": better, "b": unsteady}).answer == "cannot be told here"
    assert verdict(claim, {"a": better}).answer == "not measured"
    once = verdict(claim, {"a": row("a", {0: [0.9, 0.9]}), "b": row("b", {0: [0.1, 0.1]})})
    assert (once.answer, once.compared[0].repetitions) == ("cannot be told here", None)
    assert once.compared[0].text == "a - b: +80.0 NDCG@5 (80.0 to 80.0, of a single repetition)"
    close = Claim(says="", where="", close=("a",), to="b", within=31)
    assert verdict(close, {"a": better, "b": worse}).answer == "cannot be told here"  # 2 points to either side of 30
    assert verdict(replace_claim(close, within=35), {"a": better, "b": worse}).answer == "holds here"
    assert verdict(replace_claim(close, within=5), {"a": better, "b": worse}).answer == "does not hold here"
    assert verdict(Claim(says="", where=""), {}).answer == "for people to look at"


def replace_claim(claim: Claim, **changes: object) -> Claim:
    return claim.model_copy(update=changes)


def budget_rows(folds: bool = False) -> list[RowSummary]:
    """Ranking and slots that follow a saturating curve, with half of the gain at 50 dialogues."""
    rows = []
    for labelled in (0, 25, 50, 100):
        gain = labelled / (labelled + 50)
        parts = []
        for repetition in range(4):
            noise = 0.002 * (repetition - 1.5) * (1 + 5 * gain)
            values = np.full(30, 0.3 + 0.2 * gain + noise)
            queries = tuple((f"{repetition * folds}-{number}", 1) for number in range(30))
            slots = tuple((round(1000 * (0.4 + 0.4 * gain + noise)), 1000) for _ in range(30))
            counts = StateCounts(
                tuple(name for name, _ in queries), {"slot_f1": slots, "value_f1": slots, "jga": slots}
            )
            evaluation = Evaluation("m", queries, {"ndcg@5": values}, {})
            fold = repetition + 1 if folds else None
            parts.append(Part("r", 0 if folds else repetition, fold, evaluation, labelled=labelled, states=counts))
        rows.append(summarise("m", labelled / 100, f"m r{labelled}", parts))
    return rows


@pytest.mark.parametrize("folds", [False, True])
def test_what_more_labels_bring_is_read_off_the_curve(folds: bool):
    (answer,) = budget_answers(budget_rows(folds), 200, ("ndcg@5", "slot_f1"))
    assert (answer.before, answer.after) == (100, 300)
    gain = 300 / 350 - 100 / 150
    for measure, top in (("ndcg@5", 0.2), ("slot_f1", 0.4)):
        found = answer.gains[measure]
        assert found.gain == pytest.approx(top * gain, abs=0.006)
        assert found.interval.low < top * gain < found.interval.high
        assert found.interval.high - found.gain == pytest.approx(found.gain - found.interval.low)
    assert re.search(
        r"^m: 200 more labelled dialogues, on top of 100, are expected to bring \+3\.\d ± \d\.\d NDCG@5 "
        r"and \+7\.\d ± \d\.\d slot F1 \(± is 95 %\)",
        answer.text,
    )
    assert "more than twice the 100 measured: a guess" in answer.text
    few = budget_answers(budget_rows(folds)[:2], 200, ("ndcg@5",))[0]
    assert "is not known: too few runs for a learning curve" in few.text


def test_states_are_measured_and_kept_as_evaluate_measures_them(workspace: Workspace):
    request = ExperimentRequest(
        presets=("default",), settings=(*TINY, "text.embeddings=corpus"), epochs=1, seeds=1, ratios=(0.5,)
    )
    _, runs = plan_grid(workspace, request)
    (done,), _ = run_all(workspace, runs, split="valid", kind="all", jobs=1, progress=SilentProgress())
    report = evaluate(workspace, EvaluateRequest(runs[0].run, split="valid", candidates="all"))
    expected = report.states[report.rows[0].name]
    assert done.states is not None
    assert done.states.means == pytest.approx(
        {"slot_f1": expected.filled.f1, "value_f1": expected.value_f1, "jga": expected.jga}
    )
    kept = json.loads((workspace.runs / runs[0].run / "per-query-valid-all.json").read_text())["states"]
    assert StateCounts.from_json(kept) == done.states


def test_labels_in_the_order_of_choosing_are_prefixes_of_the_list(workspace: Workspace):
    training = sorted(train_dialogues(workspace))[:8]
    order = tuple(reversed(training))
    asked = replace(find_declared("figure4").grids("smoke")["semantic"], labelled=order)
    rows = rows_of(workspace, asked)
    assert [r.request.labelled for r in rows] == [None, order[:4], order]
    assert [r.ratio for r in rows] == [0.0, 0.2, 0.4]  # of 20 training dialogues
    with pytest.raises(UsageError, match="folds would hold some of them out"):
        rows_of(workspace, replace(asked, folds=3))


def train_dialogues(workspace: Workspace) -> list[str]:
    from pipeline.chosen_dialogues import splits_of

    return [name for name, split in splits_of(workspace.turns).items() if split == "train"]


def test_a_dry_run_writes_nothing_and_says_what_its_figures_are_after(workspace: Workspace):
    declared = find_declared("figure7")
    request = RunRequest(scale="smoke", settings=(*TINY, "train.epochs=1"), jobs=2)
    before = sorted(workspace.root.rglob("*"))
    found = dry_run(workspace, declared, replace(request, settings=TINY))
    assert sorted(workspace.root.rglob("*")) == before
    assert (found.seconds, found.bytes, len(found.unknown)) == (None, None, 4)
    assert {row.basis for row in found.cells} == {"no finished run of these sizes here"}
    settings = (*TINY, "text.embeddings=corpus")
    one = ExperimentRequest(models=("semantic",), presets=("tuned",), settings=settings, seeds=1, epochs=2)
    (done,), _ = run_all(
        workspace, plan_grid(workspace, one)[1], split="valid", kind="all", jobs=1, progress=SilentProgress()
    )
    again = dry_run(workspace, declared, replace(request, settings=settings))
    assert sum(row.runs - row.done for row in again.cells) == 7
    # as many epochs and examples each, on two processes
    assert again.seconds == pytest.approx(7 * done.record.seconds / 2, rel=0.01)


def test_table_1_is_the_corpus_beside_the_paper(workspace: Workspace):
    report = run_declared(workspace, find_declared("table1"), RunRequest())
    splits = {split.split: split for split in workspace_stats(workspace).splits}
    ours = next(line for line in report.lines if line.name == "dialogues")
    assert ours.cells == tuple(str(splits[name].dialogues) for name in ("train", "valid", "test"))
    assert report.lines[2].cells == ("5,478", "1,113", "1,174")
    assert "| dialogues | here | 20 | 4 | 6 |" in (report.folder / "table.md").read_text()
    facts = experiment_report(workspace, "table1")
    assert facts.lines == (f"table1: {report.declared.declaration.title}",)
    page = experiment_page(facts)
    assert "105,439" in page  # the paper's
    assert "What it took" not in page


def test_marks_stand_where_their_figures_are():
    ours = Dots("here", False, {("a", "ndcg@5"): (30.0, 1.0), ("b", "ndcg@5"): (50.0, None)})
    theirs = Dots("paper", True, {("a", "ndcg@5"): (40.0, 2.0)})
    figure = dots(["a", "b"], [ours, theirs], ["ndcg@5"], "title")
    assert figure == dots(["a", "b"], [ours, theirs], ["ndcg@5"], "title")
    assert Image.open(io.BytesIO(figure.png)).size[0] > 500
    drawing = ElementTree.fromstring(figure.svg)
    marks = {}
    for node in drawing.iter():
        if str(node.get("id")).startswith("ndcg@5-"):
            marks[node.get("id")] = [
                (float(use.attrib["x"]), float(use.attrib["y"])) for use in node.iter("{http://www.w3.org/2000/svg}use")
            ]
    (a, b), (other,) = marks["ndcg@5-0"], marks["ndcg@5-1"]
    assert (other[0] - a[0]) / (b[0] - a[0]) == pytest.approx(0.5, abs=0.01)  # 40 is between 30 and 50
    assert a[1] < other[1] < b[1]


def test_experiments_are_listed_shown_and_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli._run(["experiment", "list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["experiments"]] == declared_names()
    assert cli._run(["experiment", "show", "table4"]) == 0
    shown = capsys.readouterr().out
    assert "it is done by: semctl judge export, then semctl judge ingest" in shown
    assert "32.20" in shown
    assert "102.02 %" in shown
    file = tmp_path / "mine.toml"
    assert cli._run(["experiment", "copy", "table3", str(file)]) == 0
    assert find_declared(str(file)).declaration == find_declared("table3").declaration
    assert cli._run(["experiment", "copy", "table3", str(file)]) == 2
    assert "there is a file already" in capsys.readouterr().err
