"""``semctl report --labels``, of dialogues that three simulated annotators labelled, with slips and broken answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.simulated_labels import answer_tasks, gold_states
from pipeline.workspace import Workspace
from tests.pipeline.reports.page_markup import assert_stays_in_its_file
from tests.pipeline.reports.test_agreement import payload_workspace


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("labels")
    generate_corpus(root / "corpus", GenerateRequest(size="test", seed=0))
    shop, gold = Workspace(root / "shop"), Workspace(root / "gold")
    import_corpus(shop, ImportRequest(root / "corpus", "mmd", ignore_states=True))
    import_corpus(gold, ImportRequest(root / "corpus", "mmd"))
    ingest_labels(gold, IngestRequest())
    export_for_labelling(shop, ExportRequest(Selection(limit=8), to_file=root / "tasks.json"))
    known = gold_states(gold, shop.ontology())
    answer_tasks(
        shop, root / "tasks.json", root / "export.json", known, annotators=(1, 2, 3), redundancy=3, error_rate=0.15
    )
    export = json.loads((root / "export.json").read_text())
    typed = {"from_name": "free_0", "to_name": "u0", "type": "textarea", "value": {"text": ["red please"]}}
    export[0]["annotations"][1]["result"].append({**typed, "id": "typed"})
    export[1]["annotations"][1]["result"][0]["from_name"] = "rating_0"
    (root / "export.json").write_text(json.dumps(export))
    ingest_labels(shop, IngestRequest(export=root / "export.json"))
    return shop


@pytest.fixture
def semctl(labelled: Workspace, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> Any:
        assert _run(["-q", "-w", str(labelled.root), *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_the_facts_are_those_of_the_commands_that_find_them(semctl: Any, labelled: Workspace):
    found = semctl("report", "--labels")
    assert found["agreement"] == semctl("agreement")
    assert found["coverage"] == semctl("stats")
    assert found["checks"]["findings"] == semctl("checks")["findings"]
    assert found["ledger"] == json.loads(labelled.label_ledger.read_text())
    assert {each["reason"]: each["times"] for each in found["quarantine"]} == {
        "malformed_free_text": 1,
        "unknown_control": 1,
    }
    assert found["requeue"] == labelled.requeue.read_text().split()
    overall = found["progress"]["overall"]
    assert overall["turns"] == {"done": 82, "total": 82}
    assert [row["annotator"] for row in found["progress"]["rows"]] == [None, "user:1", "user:2", "user:3"]
    chosen = semctl("select", "-n", "10", "--out", str(labelled.root / "chosen.txt"))
    assert found["next"]["chosen"]["dialogues"] == chosen["dialogues"]
    assert not labelled.selection.exists(), "a report selects nothing"


def test_the_page_holds_every_part_and_no_place_of_this_machine(semctl: Any, labelled: Workspace):
    found = semctl("report", "--labels")
    page = Path(found["file"]).read_text()
    seen = assert_stays_in_its_file(page)
    assert {"progress", "agreement", "coverage", "ledger", "quarantine", "findings", "requeue", "next"} <= set(seen.ids)
    assert "no control of the labelling screen is named 'rating_0'" in seen.text
    assert "82 of 82 user turns are answered" in seen.text
    assert "tasks.json" in seen.text
    assert str(labelled.root.parent) not in page
    assert page.count("user:2") > 1


def test_names_can_be_left_out_everywhere(semctl: Any, labelled: Workspace):
    found = semctl("report", "--labels", "--no-names", "--out", str(labelled.root / "page.html"))
    page = Path(found["file"]).read_text()
    told = json.dumps({name: value for name, value in found.items() if name != "file"})
    for text in (page, told):
        assert "user:" not in text
        assert "annotator 3" in text
    assert {name[:10] for each in found["agreement"]["pairs"] for name in each["annotators"]} == {"annotator "}


def test_hostile_names_and_texts_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shop = payload_workspace(tmp_path / "shop<script>")
    from schemas.tables import RECOMMENDATIONS, write_table

    write_table(shop.recommendations, RECOMMENDATIONS, [])
    ingest_labels(shop, IngestRequest())
    assert _run(["-q", "-w", str(shop.root), "report", "--labels"]) == 0
    page = (shop.reports / "labels.html").read_text()
    seen = assert_stays_in_its_file(page)
    assert "<b>ann</b>" in seen.text
    assert "<script>window.fired = 1</script>" in seen.text
    assert "shop<script>" in seen.text
    assert _run(["-q", "-w", str(shop.root), "report", "--labels", "--no-names"]) == 0
    assert "<b>ann</b>" not in assert_stays_in_its_file((shop.reports / "labels.html").read_text()).text


def test_a_damaged_ledger_is_named(labelled: Workspace, capsys: pytest.CaptureFixture[str]):
    kept = labelled.label_ledger.read_bytes()
    try:
        for damaged in (b"[]", b'{"d_f": 3}', b"{"):
            labelled.label_ledger.write_bytes(damaged)
            assert _run(["-w", str(labelled.root), "report", "--labels"]) == 2
            assert "ledger.json" in "".join(capsys.readouterr().err.split())
    finally:
        labelled.label_ledger.write_bytes(kept)
