"""``semctl report EXPERIMENT``, of files as a grid leaves them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli import _run
from pipeline.experiments.experiment import ExperimentReport
from pipeline.experiments.figure import ratio_figure
from pipeline.experiments.summary import Part, compare, summarise
from pipeline.workspace import Workspace
from schemas.files import write_json
from semantic_model.evaluation.evaluation import Evaluation
from semantic_model.evaluation.metrics import metric_names
from tests.labelling_corpus import PAYLOADS
from tests.pipeline.reports.page_markup import assert_stays_in_its_file

QUERIES = (("d1", 1), ("d1", 3), ("d2", 1))


def measured(name: str, level: float) -> Evaluation:
    return Evaluation(name, QUERIES, {metric: np.array([level, level / 2, level]) for metric in metric_names()}, {})


@pytest.fixture
def grid(tmp_path: Path) -> Workspace:
    """Two ratios with two seeds each in two folds, a baseline, and a run that failed."""
    shop = Workspace(tmp_path / "shop").create()
    rows = []
    for ratio, level in ((0.0, 0.3), (0.5, 0.6)):
        parts = [
            Part(f"run-{ratio}-{seed}-{fold}", seed, fold, measured("m", level + 0.03 * seed), 2, 61.0, 1000, 30.0, 1.5)
            for seed in (0, 1)
            for fold in (1, 2)
        ]
        rows.append(summarise(PAYLOADS[0], ratio, f"{PAYLOADS[0]} r{ratio:g}", parts))
    of_folds = [Part(None, None, fold, measured("bm25", 0.5)) for fold in (1, 2)]
    floor = summarise("bm25", None, "bm25", of_folds, floor=True)
    low, high = rows
    rows = [replace(low, against=compare(low, high)), high, replace(floor, against=compare(floor, high))]
    title = f"2 folds, {PAYLOADS[1]}"
    folder = shop.experiments / "mine"
    drawing = ratio_figure(rows, title)
    assert drawing is not None
    failed = {"run-x": f"out of memory {PAYLOADS[2]}"}
    report = ExperimentReport("mine", folder, title, tuple(rows), rows[1].label, (PAYLOADS[3], "note"), failed, drawing)
    write_json(folder / "results.json", report.as_json())
    (folder / "ratios.svg").write_text(drawing.svg)
    return shop


@pytest.fixture
def semctl(grid: Workspace, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = _run(["-w", str(grid.root), "report", *arguments])
        said = capsys.readouterr()
        return code, said.out, " ".join(said.err.split())

    return run


def test_the_page_shows_table_figure_folds_cost_and_failed_runs(semctl: Any, grid: Workspace):
    code, out, _ = semctl("mine", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["kind"] == "experiment"
    assert found["figures"] == ["ratios.svg"]
    page = (grid.reports / "experiment-mine.html").read_text()
    seen = assert_stays_in_its_file(page)
    for payload in PAYLOADS[:4]:
        assert payload in seen.text
    assert "data:image/svg+xml;base64," in page
    text = " ".join(seen.text.split())
    # ratio 0.5: levels 0.6 and 0.63, of three queries each 1, 1/2 and 1 of it: 0.5 and 0.525, their mean 51.25
    assert "51.2 ± 0.0" in text
    # ahead of it: (0.3 - 0.6) * 5 / 6
    assert "−25.0" in text
    assert "fold 1" in text
    assert "out of memory" in text
    assert "run-0.5-1-2" in text
    assert text.count("1,000") == 2


def test_a_declared_experiment_stands_beside_the_paper(semctl: Any, grid: Workspace):
    file = grid.experiments / "mine" / "results.json"
    results = json.loads(file.read_text())
    told = {
        "asks": "Is it good?",
        "scale": "smoke",
        "table": {
            "headings": ["", "measured", "NDCG@5"],
            "rows": [["MHRED", "here", "51.2"], ["", PAYLOADS[4], "39.1"]],
        },
        "answers": [{"text": "200 more are expected to bring +1.1 ± 0.6 NDCG@5"}],
        "claims": [{"text": f"holds here: {PAYLOADS[5]}"}],
        "footnotes": ["printed as 102.02 %"],
    }
    write_json(file, {**results, **told})
    assert semctl("mine")[0] == 0
    seen = assert_stays_in_its_file((grid.reports / "experiment-mine.html").read_text())
    text = " ".join(seen.text.split())
    for said in ("Is it good?", "scale smoke", "39.1", "+1.1 ± 0.6 NDCG@5", "holds here: ", "printed as 102.02 %"):
        assert said in text
    for payload in PAYLOADS[4:6]:
        assert payload in seen.text


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "not as semctl writes it"), ('{"name": "x"}', "not as semctl writes it"), ("{", "not valid JSON")],
)
def test_damaged_results_are_named_with_the_way_out(semctl: Any, grid: Workspace, content: str, message: str):
    (grid.experiments / "mine" / "results.json").write_text(content)
    code, _, err = semctl("mine")
    assert code == 2
    assert message in err
    assert "experiment grid --name mine" in err


def test_options_of_runs_are_refused_and_other_names_are_guessed(semctl: Any):
    code, _, err = semctl("mine", "--against", "x")
    assert code == 2
    assert "--against is of runs" in err
    code, _, err = semctl("min")
    assert code == 2
    assert "did you mean 'mine'?" in err
