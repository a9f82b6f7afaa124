"""The checks on 460 and 655 real dialogues with their gold states, and on slips put into one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotate.simulated_annotators import fill_tasks
from pipeline.cli import _run
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.tables import FINDINGS, read_table
from tests.label_exports import save, states_in

pytestmark = pytest.mark.realdata


def imported(root: Path, folder: Path, kind: str, *more: str) -> Workspace:
    assert _run(["-q", "-w", str(root), "import", str(folder), "--format", kind, *more, "--json"]) == 0
    return Workspace(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "kind", "found", "again"),
    [
        (
            "simmc2_fashion_mmd",
            "mmd",
            {
                "contradicts_recommendation": 18,
                "outdated_want": 19,
                "unsatisfiable_state": 11,
                "blank_turn": 5,
                "unavailable": 132,
                "without_product": 477,
            },
            33,
        ),
        (
            "simmc1_fashion",
            "simmc1",
            {
                "wanted_and_disliked": 1,
                "contradicts_recommendation": 50,
                "outdated_want": 59,
                "wrong_slot": 9,
                "near_miss": 74,
                "value_not_in_catalogue": 263,
                "blank_turn": 80,
                "without_product": 191,
                "alias_used": 235,
            },
            327,
        ),
    ],
)
def test_what_the_gold_states_of_real_dialogues_give(
    shared_data: Path, tmp_path: Path, folder: str, kind: str, found: dict[str, int], again: int
):
    workspace = imported(tmp_path / "shop", shared_data / folder, kind)
    report = ingest_labels(workspace, IngestRequest())
    assert report.checked.findings == found
    assert report.checked.requeue == again == len(workspace.requeue.read_text().splitlines())
    rows = read_table(workspace.findings, FINDINGS).to_pylist()
    assert [(row["dialogue_id"], row["turn"] or 0) for row in rows] == sorted(
        (row["dialogue_id"], row["turn"] or 0) for row in rows
    )


@pytest.mark.slow
def test_slips_put_into_real_answers_are_found_and_nothing_else_is_called_one(shared_data: Path, tmp_path: Path):
    labelled = imported(tmp_path / "labelled", shared_data / "simmc2_fashion_mmd", "mmd")
    ingest_labels(labelled, IngestRequest())
    tasks = tmp_path / "tasks.json"
    arguments = ["export-for-labelling", "--to-file", str(tasks), "--split", "all", "-n", "60", "--window", "17"]
    assert _run(["-q", "-w", str(labelled.root), *arguments, "--json"]) == 0
    answers = fill_tasks(json.loads(tasks.read_bytes()), states_in(labelled), labelled.ontology(), (1,))
    slipped = set()
    for task in answers[:20]:
        (answer,) = task["annotations"]
        for result in answer["result"]:
            entries = result["value"].get("taxonomy", [])
            slips = [[text] for (text,) in entries if text.startswith("type=") and len(text) > 10]
            if slips:
                entries.remove(slips[0])
                text = slips[0][0]
                entries.append([text[:-2] + text[-1] + text[-2]])  # the last two letters swapped
                slipped.add((task["data"]["dialogue_id"], text))
                break
    ingest_labels(labelled, IngestRequest(export=save(tmp_path / "e.json", answers)))
    rows = read_table(labelled.findings, FINDINGS).to_pylist()
    found = {(row["dialogue_id"], row["suggestion"]) for row in rows if row["code"] == "near_miss"}
    assert len(slipped) > 10
    assert found == slipped
