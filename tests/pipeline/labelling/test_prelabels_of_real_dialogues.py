"""Pre-labels of real dialogues: figures must not fall behind what the documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.simulated_annotators import fill_tasks
from pipeline.benchmarks import run_benchmark, tables_of
from pipeline.benchmarks.measure import Options
from pipeline.chosen_dialogues import Selection
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.files import read_json
from semantic_model.grounded.values import SlotValues
from tests.label_exports import save, states_in

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.fixture(scope="module")
def simmc2(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("simmc2") / "shop")
    import_corpus(made, ImportRequest(shared_data / "simmc2_fashion_mmd", "mmd"))
    ingest_labels(made, IngestRequest())
    return made


@pytest.mark.timeout(900)
def test_simmc2_takes_less_than_half_of_the_actions(simmc2: Workspace):
    untaught, taught = run_benchmark("prelabels", Options(workspace=simmc2.root))["benchmarks"]
    assert (untaught["dialogues"], untaught["turns"]) == (460, 2836)
    assert untaught["ratio"] < 0.50
    assert taught["ratio"] < 0.40
    assert taught["ratio_without_submits"] < 0.30
    assert taught["f1_updates"] > 0.85
    for row in (untaught, taught):
        assert row["final_jga"]["careful"] == {"from_nothing": 1.0, "with_prelabels": 1.0}
        assert row["final_jga"]["hurried"]["with_prelabels"] > row["final_jga"]["hurried"]["from_nothing"]


def test_corrected_prelabels_of_real_dialogues_are_the_gold(simmc2: Workspace, tmp_path: Path):
    gold = states_in(simmc2)
    file = tmp_path / "tasks.json"
    export_for_labelling(simmc2, ExportRequest(Selection(split="valid"), to_file=file, prelabel="lexicon"))
    tasks = read_json(file, error=AssertionError)
    names = {task["data"]["dialogue_id"] for task in tasks}
    assert len(names) == 60
    export = fill_tasks(tasks, gold, simmc2.ontology())
    report = ingest_labels(simmc2, IngestRequest(export=save(tmp_path / "export.json", export)))
    assert states_in(simmc2) == gold
    counted = report.as_json()["untouched"]
    assert counted["prelabelled"] == len(tasks)
    assert 0 < counted["untouched"] < len(tasks)


def test_models_and_prelabels_share_one_matcher(simmc2: Workspace):
    values = SlotValues(simmc2.ontology())
    found = {
        values.values[column].value: negated for column, negated in values.mentions("No red T-shirts, XL dresses!")
    }
    assert found == {"red": True, "tshirt": True, "XL": False, "dress": False}


def test_labels_teach_the_tracker_to_read_states(simmc2: Workspace):
    rows = run_benchmark("states", Options(workspace=simmc2.root, rounds=1, sizes=(20, 80)))["benchmarks"]
    figures = {(row["design"], row["labelled"]): row for row in rows}
    assert figures.keys() == {(design, size) for design in ("valid", "folds") for size in (0, 20, 80)}
    assert figures["valid", 0]["turns"] == 362
    assert figures["folds", 0]["turns"] == 2836
    assert figures["valid", 0]["value_f1"] >= 0.79
    assert figures["folds", 0]["value_f1"] >= 0.77
    assert figures["folds", 80]["value_f1"] >= figures["folds", 0]["value_f1"] + 0.03
    assert figures["folds", 80]["jga"] >= figures["folds", 0]["jga"] + 0.08
    for _, columns, lines in tables_of("states", rows):
        assert all(len(line) == len(columns) for line in lines)
