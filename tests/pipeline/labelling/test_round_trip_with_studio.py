"""Real dialogues through a real Label Studio: what annotators store is what the belief states say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from annotate.label_studio.gateway import Gateway, connect
from pipeline.chosen_dialogues import Selection
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.ontology import Ontology
from schemas.tables import D_F, STATES, read_table
from tests.studio_fixtures import RunningStudio

pytestmark = [pytest.mark.studio, pytest.mark.realdata]

PROJECT = "round trip"
Wants = dict[str, tuple[str, ...]]


def gold_wants(corpus: Path, dialogue_id: str, ontology: Ontology) -> Iterator[tuple[int, Wants]]:
    """(turn, wants of that turn) of each user turn, straight from the corpus file."""
    (file,) = (corpus / "dialogues").glob(f"*/{dialogue_id}.json")
    for turn, utterance in enumerate(json.loads(file.read_text())):
        assert utterance["speaker"] == ("user" if turn % 2 == 0 else "system")  # nothing to merge in this corpus
        if utterance["speaker"] == "user":
            wants: Wants = {}
            for name, value in utterance["dst"]["slot_values"].items():
                slot = ontology.slot(name)
                values = [str(item) for item in (value if isinstance(value, list) else [value]) if str(item).strip()]
                # "blue, grey" are two values, which annotators mark one by one
                apart = [value.split(", ") if slot.named(value) is None else [value] for value in values]
                if values:
                    wants[slot.name] = tuple(part for parts in apart for part in parts)
            yield turn, wants


def gold_states(corpus: Path, dialogue_id: str, ontology: Ontology) -> dict[int, set[tuple[str, str]]]:
    """Cumulative (slot, value) pairs: a new type starts over, otherwise a slot's newest values hold."""
    held: Wants = {}
    states = {}
    for turn, wants in gold_wants(corpus, dialogue_id, ontology):
        if "type" in wants and held.get("type") not in (None, wants["type"]):
            held = {}
        held = held | wants
        linked = [ontology.link(ontology.slot(slot), value) for slot, values in held.items() for value in values]
        states[turn] = {(item.slot, item.value) for item in linked}
    return states


def answers(data: Mapping[str, Any], corpus: Path, ontology: Ontology, offered: set[str]) -> list[dict[str, Any]]:
    """What a careful annotator submits for a task: picks from the lists, the rest typed."""
    result = []
    held: Wants = {}
    gold = dict(gold_wants(corpus, data["dialogue_id"], ontology))
    rows = {entry["turn"]: index for index, entry in enumerate(data["user_turns"])}
    for turn, wants in gold.items():
        restarts = "type" in wants and held.get("type") not in (None, wants["type"])
        held = (dict(wants) if restarts else held | wants)  # fmt: skip
        if turn not in rows:
            continue
        index = rows[turn]
        marks = [f"{slot}={value}" for slot, values in wants.items() for value in values]
        picked = [mark for mark in marks if mark in offered]
        typed = [mark for mark in marks if mark not in offered]
        fields = [
            ("want", "taxonomy", [[mark] for mark in picked]),
            ("op", "taxonomy", [["flag=new_topic"]] if restarts else []),
            ("free", "textarea", typed),
        ]
        for name, kind, value in fields:
            if value:
                key = "taxonomy" if kind == "taxonomy" else "text"
                target = {"from_name": f"{name}_{index}", "to_name": f"u{index}", "type": kind, "origin": "manual"}
                result.append({**target, "id": f"{name}{index}", "value": {key: value}})
    return result


@pytest.fixture
def labelled(
    tmp_path: Path, shared_data: Path, studio_variables: RunningStudio
) -> tuple[Workspace, Gateway, Path, set[str]]:
    """Twenty real dialogues, exported without their states and labelled through the server's API."""
    corpus = shared_data / "simmc2_fashion_mmd"
    workspace = Workspace(tmp_path / "ws")
    import_corpus(workspace, ImportRequest(corpus, "mmd", ignore_states=True))
    exported = export_for_labelling(workspace, ExportRequest(Selection(limit=20), project=PROJECT, window=3))
    assert exported.dialogues == 20
    gateway = connect(workspace.root)
    project = gateway.require_project(PROJECT)
    ontology = workspace.ontology()
    offered = {f"{slot.name}={value.value}" for slot in ontology.slots for value in slot.values}
    tasks = list(gateway.tasks(project))
    assert len(tasks) == exported.tasks_new > 20
    for task in tasks:
        gateway.create_annotation(task.id, answers(task.data, corpus, ontology, offered), lead_time=10.0)
    return workspace, gateway, corpus, {str(task.data["dialogue_id"]) for task in tasks}


def test_every_state_of_twenty_real_dialogues_comes_back_as_the_gold_says(
    labelled: tuple[Workspace, Gateway, Path, set[str]],
):
    workspace, _, corpus, dialogues = labelled
    report = ingest_labels(workspace, IngestRequest(projects=(PROJECT,))).as_json()
    assert report["annotations"]["received"] == report["annotations"]["accepted"]
    assert report["annotations"]["quarantined"] == 0
    assert report["d_f"]["dialogues"] == 20
    ontology = workspace.ontology()
    states = {
        (row["dialogue_id"], row["turn"]): row["state"] for row in read_table(workspace.states, STATES).to_pylist()
    }
    compared = 0
    for dialogue_id in dialogues:
        for turn, gold in gold_states(corpus, dialogue_id, ontology).items():
            state = states[dialogue_id, turn]
            assert state is not None, (dialogue_id, turn)
            assert {(item["slot"], item["value"]) for item in state} == gold, (dialogue_id, turn)
            assert all(item["polarity"] == "like" for item in state)
            compared += 1
    assert compared == report["d_f"]["turns"] > 100
    assert {row["dialogue_id"] for row in read_table(workspace.d_f, D_F).to_pylist()} == dialogues
    unlabelled = [state for (dialogue_id, _), state in states.items() if dialogue_id not in dialogues]
    assert unlabelled
    assert all(state is None for state in unlabelled)
    tables = (workspace.states, workspace.d_f, workspace.d_p, workspace.annotations)
    before = [table.read_bytes() for table in tables]
    ingest_labels(workspace, IngestRequest(projects=(PROJECT,)))
    assert [table.read_bytes() for table in tables] == before  # the same labels again change nothing
