"""Answering a file of tasks as simulated annotators."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.simulated_labels import answer_tasks, gold_states
from pipeline.workspace import Workspace
from schemas.belief import SlotValue, state_to_rows
from schemas.errors import LabelError, WorkspaceError
from schemas.ontology import Ontology, Slot, Value
from schemas.tables import STATES, write_table
from tests.labelling_corpus import dialogue, write_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [dialogue("a"), dialogue("b")])


def test_every_task_is_answered_by_as_many_annotators_as_asked(workspace: Workspace, tmp_path: Path):
    export_for_labelling(workspace, ExportRequest(Selection(), to_file=tmp_path / "tasks.json"))
    gold = {("a", 0): (SlotValue("color", "red"),), ("a", 2): (SlotValue("color", "red"),)}
    answer_tasks(workspace, tmp_path / "tasks.json", tmp_path / "export.json", gold, redundancy=2)
    answered = {
        task["data"]["dialogue_id"]: task["annotations"]
        for task in orjson.loads((tmp_path / "export.json").read_bytes())
    }
    assert {name: sorted(one["completed_by"] for one in found) for name, found in answered.items()} == {
        "a": [1, 2],
        "b": [1, 2],
    }
    wanted = [entry["value"] for entry in answered["a"][0]["result"]]
    assert wanted == [{"taxonomy": [["color=red"]]}]  # the second turn changes nothing
    assert [entry["value"] for entry in answered["b"][0]["result"]] == [{"taxonomy": [["flag=unsure"]]}] * 2  # no gold


def test_tasks_without_a_batch_are_refused(workspace: Workspace, tmp_path: Path):
    with pytest.raises(LabelError, match="no batch"):
        answer_tasks(workspace, tmp_path / "tasks.json", tmp_path / "export.json", {})
    assert not (tmp_path / "export.json").exists()


def test_gold_states_take_the_slot_names_of_the_ontology_they_are_for(tmp_path: Path):
    gold = Workspace(tmp_path / "gold").create()
    with pytest.raises(WorkspaceError):
        gold_states(gold, Ontology(version=1, slots=()))
    rows = [
        {"turn": 0, "state": state_to_rows((SlotValue("colors", "red", attribute="color"),))},
        {"turn": 2, "state": None},
    ]
    same = {"dialogue_id": "a", "split": "train", "labelled_slots": [], "annotators": [], "source_annotations": []}
    write_table(gold.states, STATES, [{**same, **row} for row in rows])
    ontology = Ontology(
        version=1, slots=(Slot(name="colour", attribute="color", values=(Value(value="red", count=1),)),)
    )
    found = gold_states(gold, ontology)
    assert found == {("a", 0): (SlotValue("colour", "red", attribute="color"),), ("a", 2): None}
