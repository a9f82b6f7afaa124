"""Ingest on 460 real dialogues: the corpus' own states, and the same states by way of labelling tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotate.simulated_annotators import fill_tasks, offered_choices
from pipeline.cli import _run
from pipeline.workspace import Workspace
from schemas.folding import fold
from tests.label_exports import hashes, states_in

pytestmark = pytest.mark.realdata


def semctl(capsys: pytest.CaptureFixture[str], workspace: Workspace, *arguments: object) -> dict:
    code = _run(["-w", str(workspace.root), *map(str, arguments), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def as_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.fixture
def corpus(shared_data: Path) -> Path:
    return shared_data / "simmc2_fashion_mmd"


@pytest.mark.slow
def test_every_gold_value_of_a_turn_is_in_its_state(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    workspace = Workspace(tmp_path / "shop")
    semctl(capsys, workspace, "import", corpus, "--format", "mmd")
    report = semctl(capsys, workspace, "ingest-labels")
    assert report["d_f"] == {"dialogues": 460, "turns": 2836}
    assert report["d_p"] == {"dialogues": 0, "turns": 0}
    assert report["annotations"]["accepted"] == report["annotations"]["received"] == 460
    states = states_in(workspace)
    checked = 0
    for file in sorted((corpus / "dialogues").rglob("*.json")):
        for turn, utterance in enumerate(json.loads(file.read_bytes())):
            for slot, value in (utterance.get("dst") or {}).get("slot_values", {}).items():
                state = states[file.stem, turn]
                assert state is not None
                held = {fold(item.value) for item in state if item.slot == slot and item.polarity == "like"}
                parts = [as_text(part) for part in (value if isinstance(value, list) else [value])]
                # several values are also written as one text, with commas between
                named = [part for part in parts if fold(part) not in held]
                lacking = {fold(part) for text in named for part in text.split(",") if part.strip()} - held
                assert not lacking, f"{file.name}, turn {turn}: {slot}={value}"
                checked += any(part.strip() for part in parts)
    assert checked > 3000
    before = hashes(workspace.root)
    assert semctl(capsys, workspace, "ingest-labels") == report
    assert hashes(workspace.root) == before


@pytest.mark.slow
def test_gold_states_come_back_from_annotators_who_see_only_the_tasks(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    labelled, bare = Workspace(tmp_path / "labelled"), Workspace(tmp_path / "bare")
    semctl(capsys, labelled, "import", corpus, "--format", "mmd")
    semctl(capsys, labelled, "ingest-labels")
    gold = states_in(labelled)
    semctl(capsys, bare, "import", corpus, "--format", "mmd", "--ignore-states")
    assert semctl(capsys, bare, "ingest-labels")["d_p"] == {"dialogues": 460, "turns": 2836}
    tasks = tmp_path / "tasks.json"
    semctl(capsys, bare, "export-for-labelling", "--to-file", tasks, "--split", "all", "-n", 100, "--window", 3)
    offered = offered_choices((bare.labelling / "batch-0001" / "label_config.xml").read_text())
    export = fill_tasks(json.loads(tasks.read_bytes()), gold, labelled.ontology(), (1, 2, 3), offered=offered)
    answers = tmp_path / "export.json"
    answers.write_text(json.dumps(export))
    report = semctl(capsys, bare, "ingest-labels", answers)
    assert report["annotations"]["accepted"] == report["annotations"]["received"] == len(export)
    assert report["refused_turns"] == {}
    assert report["d_f"]["dialogues"] == 100
    labelled_again = {key: state for key, state in states_in(bare).items() if state is not None}
    assert len({dialogue_id for dialogue_id, _ in labelled_again}) == 100
    for key, state in labelled_again.items():
        # without states in the corpus, slots are named after the catalogue's attributes
        assert {(item.attribute, item.value, item.polarity) for item in state} == {
            (item.attribute, item.value, item.polarity) for item in gold[key] or ()
        }
