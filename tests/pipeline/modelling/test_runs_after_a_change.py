"""Runs trained before a change of the ontology: they rank as they did, in the names of their own model card."""

from __future__ import annotations

import pytest

from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.recommend import RecommendRequest, recommend
from pipeline.modelling.train import TrainRequest, train
from pipeline.workspace import Workspace
from schemas.errors import WorkspaceError
from schemas.progress import SilentProgress
from semantic_model.training.checkpoint import read_card
from tests.generated_workspace import generated_workspace
from tests.pipeline.labelling.test_ontology_changes import change

GROUNDED = ("model.kind=grounded",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("renaming")
    workspace = generated_workspace(folder)
    train(workspace, TrainRequest(labeled_ratio=0.5, preset="tiny", epochs=1, settings=GROUNDED))
    return workspace


class Listening(SilentProgress):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def log(self, message: str) -> None:
        self.messages.append(message)


def commonest(workspace: Workspace, name: str) -> str:
    values = workspace.ontology().slot(name).values
    return max(values, key=lambda value: value.count).value


def test_a_run_ranks_as_before_and_the_rule_over_gold_states_too(trained: Workspace):
    before = evaluate(trained, EvaluateRequest(split="valid", candidates="all"))
    assert before.run is not None
    names = [row.name for row in before.rows]
    assert any("state-rule" in name for name in names)
    made_with = read_card(trained.runs / before.run / "model").ontology
    slot = made_with.slots[1].name
    change(trained, "rename", f"{slot}={commonest(trained, slot)}", "something else")
    change(trained, "rename", slot, "renamed")
    heard = Listening()
    with pytest.raises(WorkspaceError, match=r"changed since the labels were ingested: .* run `semctl ingest-labels`"):
        train(trained, TrainRequest(labeled_ratio=0.5, preset="tiny", epochs=1, settings=GROUNDED))
    stale = evaluate(trained, EvaluateRequest(before.run, split="valid", candidates="all"), progress=heard)
    assert [row.means for row in stale.rows[:1]] == [row.means for row in before.rows[:1]]
    assert any("ontology changed since" in message for message in heard.messages)
    assert any("the rule over gold states is left out" in message for message in heard.messages)
    ingest_labels(trained, IngestRequest())
    after = evaluate(trained, EvaluateRequest(before.run, split="valid", candidates="all"), progress=heard)
    assert "semantic (teacher)" in names
    assert any("teacher is left out: the ontology has changed" in message for message in heard.messages)
    assert [(row.name, row.means) for row in after.rows] == [
        (row.name, row.means) for row in before.rows if row.name != "semantic (teacher)"
    ]
    dialogue = before.rows[0].queries[0][0]
    assert recommend(trained, RecommendRequest(dialogue, run=before.run, top=3)).products
    record = train(trained, TrainRequest(labeled_ratio=0.5, preset="tiny", epochs=1, settings=GROUNDED))
    assert record.run != before.run
    newer = read_card(trained.runs / record.run / "model").ontology
    assert (newer.version, newer.slot(slot).name) == (made_with.version + 2, "renamed")
