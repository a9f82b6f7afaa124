"""Changes of the ontology beside a real Label Studio: its projects get the new screen, and old answers stay good."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from annotate.label_studio.gateway import Gateway, connect
from annotate.simulated_annotators import offered_choices
from annotate.tasks.label_config import slots_offered
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.live_configuration import read_interface_versions
from pipeline.workspace import Workspace
from schemas.errors import ServiceError
from schemas.ontology import Ontology, Slot, Value
from tests.label_exports import hashes, marked, pick, states_in
from tests.labelling_corpus import dialogue, write_workspace
from tests.pipeline.labelling.test_ontology_changes import OLD, semctl, with_products
from tests.studio_fixtures import RunningStudio, free_port

pytestmark = pytest.mark.studio

NAMES = ("d1", "d2", "d3")


@pytest.fixture
def workspace(tmp_path: Path, studio_variables: RunningStudio) -> Workspace:
    return with_products(write_workspace(tmp_path / "shop", [dialogue(name) for name in NAMES], ontology=OLD))


@pytest.fixture
def projects(workspace: Workspace, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Two projects with all dialogues: for two annotators, say."""
    titles = (f"{request.node.name[5:35]} A", f"{request.node.name[5:35]} B")
    for title in titles:
        export_for_labelling(workspace, ExportRequest(Selection(split="all"), project=title, window=2))
    return titles


def label(gateway: Gateway, title: str, uid: str, *result: object) -> int:
    task = next(task for task in gateway.tasks(gateway.require_project(title)) if task.uid == uid)
    return gateway.create_annotation(task.id, list(result), lead_time=0.001)  # type: ignore[arg-type]


def configurations(gateway: Gateway, titles: tuple[str, ...]) -> list[str]:
    return [gateway.require_project(title).label_config for title in titles]


def test_both_projects_get_the_new_screen_and_all_answers_one_vocabulary(
    workspace: Workspace, projects: tuple[str, str], capsys: pytest.CaptureFixture[str]
):
    gateway = connect(workspace.root)
    label(gateway, projects[0], "d1#0", pick("want_0", "color=red"), pick("dislike_1", "color=jet black"))
    label(gateway, projects[1], "d2#0", pick("want_0", "color=black"), pick("op_1", "drop=color"))
    before = configurations(gateway, projects)
    rename = ("ontology", "rename", "color=red", "crimson", "--json")
    assert semctl(workspace, *rename, "--dry-run") == 0
    assert [project["state"] for project in json.loads(capsys.readouterr().out)["projects"]] == ["to update"] * 2
    assert configurations(gateway, projects) == before
    assert semctl(workspace, *rename) == 0
    assert [project["state"] for project in json.loads(capsys.readouterr().out)["projects"]] == ["updated"] * 2
    merge = ("ontology", "merge", "color=black", "color=jet black", "--into", "noir", "--json")
    assert semctl(workspace, *merge) == 0
    assert semctl(workspace, "ontology", "rename", "color", "shade", "--json") == 0
    capsys.readouterr()
    for xml in configurations(gateway, projects):
        shades = {text for text in offered_choices(xml) if text.startswith("shade=")}
        assert shades >= {"shade=crimson", "shade=noir"}
        assert not shades & {"shade=red", "shade=black", "shade=jet black"}
        assert 'value="shade=crimson (red)"' in xml  # who looks for the old name finds the new one
        assert 'value="shade=noir (black, jet black)"' in xml or 'value="shade=noir (jet black)"' in xml
        assert slots_offered(xml) == {"shade", "price"}
    label(gateway, projects[0], "d3#0", pick("want_0", "shade=crimson"), pick("dislike_1", "shade=noir"))
    for title in projects:
        report = ingest_labels(workspace, IngestRequest(projects=(title,)))
        assert report.quarantined == {}
    states = states_in(workspace)
    assert {key: marked(state) for key, state in states.items()} == {
        ("d1", 0): {"shade=crimson"},
        ("d1", 2): {"shade=crimson", "!shade=noir"},
        ("d2", 0): {"shade=noir"},
        ("d2", 2): set(),
        ("d3", 0): {"shade=crimson"},
        ("d3", 2): {"shade=crimson", "!shade=noir"},
    }
    assert semctl(workspace, *merge) == 0  # again changes nothing
    said = json.loads(capsys.readouterr().out)
    assert said["step"] is None
    assert [project["state"] for project in said["projects"]] == ["current"] * 2


def test_an_answer_on_the_new_screen_of_an_old_task_is_of_the_new_version(
    workspace: Workspace, projects: tuple[str, str]
):
    gateway = connect(workspace.root)
    label(gateway, projects[0], "d1#0", pick("want_0", "color=blue"))
    assert semctl(workspace, "ontology", "split", "color=blue", "--into", "blue,navy") == 0
    numbers = {(gateway.url, str(gateway.require_project(title).id)) for title in projects}
    assert read_interface_versions(workspace.labelling).switches.keys() == numbers
    label(gateway, projects[0], "d2#0", pick("want_0", "color=blue"))
    ingest_labels(workspace, IngestRequest(projects=(projects[0],)))
    states = states_in(workspace)
    assert marked(states["d2", 0]) == {"color=blue"}  # blue and not navy
    assert marked(states["d1", 0]) == set()  # either of them: the slot is unknown
    assert (workspace.root / "labels" / "requeue-ontology-4.txt").exists() is False  # nothing was ingested by then


def test_a_project_with_a_foreign_answer_is_named_and_nothing_is_changed(
    workspace: Workspace, projects: tuple[str, str], capsys: pytest.CaptureFixture[str]
):
    gateway = connect(workspace.root)
    strange = {**pick("want_0", "color=red"), "from_name": "nope_0", "to_name": "u0"}
    number = label(gateway, projects[1], "d2#0", strange)
    task = next(task for task in gateway.tasks(gateway.require_project(projects[1])) if task.uid == "d2#0")
    before, configs = hashes(workspace.root), configurations(gateway, projects)
    assert semctl(workspace, "ontology", "rename", "color=red", "crimson") == 2
    error = capsys.readouterr().err
    assert f"the project '{projects[1]}' holds answers from a control that is not on the screen: 'nope_0'" in error
    assert f"(tasks {task.id})" in error
    assert error.count("\n") == 1
    assert hashes(workspace.root) == before
    assert configurations(gateway, projects) == configs
    assert number


def test_a_project_edited_by_hand_is_refused_and_nothing_is_changed(
    workspace: Workspace, projects: tuple[str, str], studio_variables: RunningStudio, capsys: pytest.CaptureFixture[str]
):
    gateway = connect(workspace.root)
    found = gateway.require_project(projects[1])
    edited = found.label_config.replace('value="color=red"', 'value="color=rot"')
    key = {"Authorization": f"Token {studio_variables.token}"}
    with httpx.Client(base_url=studio_variables.url, headers=key, trust_env=False) as http:
        assert http.patch(f"/api/projects/{found.id}/", json={"label_config": edited}).status_code == 200
    before, configs = hashes(workspace.root), configurations(gateway, projects)
    assert semctl(workspace, "ontology", "rename", "color=red", "crimson") == 2
    assert f"the project '{projects[1]}' is not semctl's, or was edited by hand" in capsys.readouterr().err
    assert hashes(workspace.root) == before
    assert configurations(gateway, projects) == configs


def test_without_the_server_nothing_changes_unless_offline_and_the_next_export_catches_up(
    workspace: Workspace, projects: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    gateway = connect(workspace.root)
    before, configs = hashes(workspace.root), configurations(gateway, projects)
    with monkeypatch.context() as patch:
        patch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{free_port()}")
        assert semctl(workspace, "ontology", "rename", "color", "shade") == 4
        error = capsys.readouterr().err
        assert "nothing was changed; with --offline" in error
        assert error.count("\n") == 1
        assert hashes(workspace.root) == before
        assert semctl(workspace, "ontology", "rename", "color", "shade", "--dry-run") == 0
        assert hashes(workspace.root) == before
        capsys.readouterr()
        assert semctl(workspace, "ontology", "rename", "color", "shade", "--offline", "--json") == 0
        said = json.loads(capsys.readouterr().out)
        assert [project["state"] for project in said["projects"]] == ["offline"] * 2
    assert configurations(gateway, projects) == configs
    export_for_labelling(workspace, ExportRequest(Selection(split="all"), project=projects[0]))
    assert [slots_offered(xml) for xml in configurations(gateway, projects)] == [{"shade", "price"}, {"color", "price"}]
    assert semctl(workspace, "ontology", "rename", "color", "shade") == 0
    assert [slots_offered(xml) for xml in configurations(gateway, projects)] == [{"shade", "price"}] * 2


def test_cut_short_between_two_projects_the_same_command_does_the_rest(
    workspace: Workspace, projects: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    gateway = connect(workspace.root)
    changed: list[str] = []
    real = Gateway.change_config

    def once(self: Gateway, project: object, *rest: object) -> None:
        if changed:
            raise ServiceError("Label Studio does not answer", where=self.url)
        changed.append("one")
        real(self, project, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Gateway, "change_config", once)
        assert _run(["-w", str(workspace.root), "-q", "ontology", "rename", "color", "shade"]) == 4
    assert workspace.ontology().version == 4
    assert [slots_offered(xml) for xml in configurations(gateway, projects)] == [{"shade", "price"}, {"color", "price"}]
    # answers of both screens are understood meanwhile
    label(gateway, projects[0], "d1#0", pick("want_0", "shade=red"))
    label(gateway, projects[1], "d2#0", pick("want_0", "color=red"))
    assert semctl(workspace, "ontology", "rename", "color", "shade") == 0
    assert workspace.ontology().version == 4
    assert [slots_offered(xml) for xml in configurations(gateway, projects)] == [{"shade", "price"}] * 2
    for title in projects:
        ingest_labels(workspace, IngestRequest(projects=(title,)))
    assert [marked(states_in(workspace)[name, 0]) for name in ("d1", "d2")] == [{"shade=red"}] * 2


def test_a_decision_reaches_the_instructions_of_a_project_and_only_once(
    workspace: Workspace, projects: tuple[str, str], capsys: pytest.CaptureFixture[str]
):
    gateway = connect(workspace.root)
    rule = "“Cheap” means <b>below 25</b> & it's never a guess."
    workspace.ontology().model_copy(update={"decisions": {"price": rule}}).write(workspace.ontology_file)
    change = ("ontology", "rename", "color", "color", "--json")  # nothing but what the projects show
    assert semctl(workspace, *change, "--dry-run") == 0
    assert [project["state"] for project in json.loads(capsys.readouterr().out)["projects"]] == ["to update"] * 2
    export_for_labelling(workspace, ExportRequest(Selection(split="all"), project=projects[0]))
    instructions = [gateway.require_project(title).instruction for title in projects]
    assert ["never a guess" in instruction for instruction in instructions] == [True, False]
    assert semctl(workspace, *change) == 0
    assert [project["state"] for project in json.loads(capsys.readouterr().out)["projects"]] == ["current", "updated"]
    assert semctl(workspace, *change) == 0
    assert [project["state"] for project in json.loads(capsys.readouterr().out)["projects"]] == ["current"] * 2


def test_a_project_with_slots_named_like_its_screen_is_extended_and_its_answers_stay(
    workspace: Workspace, studio_variables: RunningStudio, request: pytest.FixtureRequest
):
    names = ("drop", "flag", "$x", "{{idx}}", "new_topic")
    values = (Value(value="6", count=1), Value(value="unsure", count=1), Value(value="$user_turns", count=1))
    strange = tuple(Slot(name=name, attribute=f"a{place}", values=values) for place, name in enumerate(names))
    Ontology(version=1, slots=(*OLD.slots, *strange)).write(workspace.ontology_file)
    title = request.node.name[5:35]
    export_for_labelling(workspace, ExportRequest(Selection(split="all", limit=1), project=title, window=2))
    gateway = connect(workspace.root)
    first = next(iter(gateway.tasks(gateway.require_project(title))))
    wanted = pick("want_0", "drop=6", "flag=unsure", "$x=$user_turns", "{{idx}}=6", "new_topic=6")
    label(gateway, title, first.uid, wanted, pick("op_1", "drop=drop", "drop=$x", "drop=new_topic"))
    assert semctl(workspace, "ontology", "add", "drop=8") == 0
    export_for_labelling(workspace, ExportRequest(Selection(split="all"), project=title, window=2))
    assert slots_offered(gateway.require_project(title).label_config) == {"color", "price", *names}
    assert ingest_labels(workspace, IngestRequest(projects=(title,))).quarantined == {}
    states = states_in(workspace)
    turns = sorted(turn for name, turn in states if name == first.data["dialogue_id"])
    found = [marked(states[first.data["dialogue_id"], turn]) for turn in turns]
    assert found == [
        {"drop=6", "flag=unsure", "$x=$user_turns", "{{idx}}=6", "new_topic=6"},
        {"flag=unsure", "{{idx}}=6"},
    ]
