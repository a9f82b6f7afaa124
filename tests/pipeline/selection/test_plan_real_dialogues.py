"""A plan for real dialogues, held against what as many labels bring in truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.benchmarks import run_benchmark
from pipeline.benchmarks.measure import Options
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace


@pytest.mark.realdata
@pytest.mark.slow
def test_what_a_plan_foretells_comes_true_about_as_often_as_it_says(shared_data: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "shop")
    import_corpus(workspace, ImportRequest(shared_data / "simmc2_fashion_mmd", "mmd"))
    ingest_labels(workspace, IngestRequest())
    rows = run_benchmark("plan", Options(rounds=1, sizes=(80,), workspace=workspace.root))["benchmarks"]
    assert [(row["more"], row["measure"]) for row in rows] == [
        (more, measure) for measure in ("value_f1", "jga") for more in (50, 100)
    ]
    assert sum(row["covered"] for row in rows) >= 3
    assert all(row["measured"] > 0 for row in rows)  # more labels did help
    assert all(row["interval"][1] < 0.2 for row in rows)  # and nothing is promised that no labels could bring
