"""``semctl studio connect`` with the real Label Studio and the real server: an opened task is filled in."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from annotate.annotations.annotation import read_annotations
from annotate.label_studio.address import reserved_but_this_machine
from annotate.label_studio.environment import environment_folder, installed_version
from annotate.label_studio.gateway import connect
from annotate.label_studio.model_calls import ModelServer, ReservedAddressError
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.serving.app import AppSettings
from pipeline.serving.server import KEY
from pipeline.workspace import Workspace
from tests.served import client, in_thread, served, trained_workspace
from tests.skipping import skip_or_fail
from tests.studio_fixtures import RunningStudio, free_port

PROJECT = "asks the run"
SECRET = "0123456789abcdef-secret"
CHOSEN = Selection(split="test", limit=4)


@pytest.fixture
def workspace(tmp_path: Path, studio_variables: RunningStudio) -> Workspace:
    made = trained_workspace(tmp_path)
    export_for_labelling(made, ExportRequest(CHOSEN, project=PROJECT, window=3))
    return made


@pytest.fixture
def page(studio_server: RunningStudio) -> Iterator[httpx.Client]:
    """What the pages of Label Studio ask it."""
    headers = {"Authorization": f"Token {studio_server.token}"}
    with httpx.Client(base_url=studio_server.url, headers=headers, timeout=120, trust_env=False) as found:
        yield found


def asked(page: httpx.Client, path: str, **sent: Any) -> Any:
    answer = page.post(path, json=sent) if sent else page.get(path)
    assert answer.is_success, answer.text
    return answer.json()


def exported(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Task -> its prediction, as an export with pre-labels of the run has it."""
    file = workspace.root / "prelabelled.json"
    export_for_labelling(workspace, ExportRequest(CHOSEN, to_file=file, window=3, prelabel="run:latest"))
    return {task["data"]["uid"]: task["predictions"][0] for task in json.loads(file.read_text())}


def run(workspace: Workspace, *words: str) -> int:
    return _run(["-w", str(workspace.root), "studio", "connect", *words])


@pytest.mark.studio
@pytest.mark.slow
def test_an_opened_task_is_filled_in_by_the_run_and_answers_say_so(
    workspace: Workspace, page: httpx.Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    gateway = connect(workspace.root)
    project = gateway.require_project(PROJECT)
    tasks = list(gateway.tasks(project))
    expected = exported(workspace)
    assert len(tasks) == len(expected) > 4
    version = next(iter(expected.values()))["model_version"]
    assert version == f"run:{next(path.name for path in workspace.runs.iterdir())}"

    with served(workspace) as address:
        assert run(workspace, "--address", address, "--json") == 0
        first = json.loads(capsys.readouterr().out)
        assert (first["version"], first["address"], first["key"]) == (version, address.rstrip("/"), False)
        assert [(each["project"], each["state"], each["predictions"]) for each in first["projects"]] == [
            (PROJECT, "connected", 0)
        ]
        before = [asked(page, path) for path in (f"/api/projects/{project.id}", f"/api/webhooks/?project={project.id}")]
        assert run(workspace, "--project", PROJECT, "--address", address, "--json") == 0
        assert [each["state"] for each in json.loads(capsys.readouterr().out)["projects"]] == ["unchanged"]
        after = [asked(page, path) for path in (f"/api/projects/{project.id}", f"/api/webhooks/?project={project.id}")]
        assert before == after
        (model,) = asked(page, f"/api/ml?project={project.id}")
        assert (model["state"], model["model_version"], model["auth_method"]) == ("CO", version, "NONE")

        filled_in = {}
        for task in tasks[:3]:  # as a click in the list does
            assert gateway.predictions(project) == len(filled_in)
            (found,) = asked(page, f"/api/tasks/{task.id}?project={project.id}")["predictions"]
            filled_in[task.uid] = found
        following = asked(page, f"/api/projects/{project.id}/next")  # as "Label All Tasks" does
        filled_in[following["data"]["uid"]] = following["predictions"][0]
        assert any(found["result"] for found in filled_in.values())
        for uid, found in filled_in.items():
            assert found["result"] == expected[uid]["result"]
            assert (found["model_version"], found["score"]) == (
                version,
                pytest.approx(expected[uid]["score"], abs=1e-3),
            )

        kept = asked(page, f"/api/tasks/{tasks[0].id}")["predictions"]
        assert [each["id"] for each in kept] == [filled_in[tasks[0].uid]["id"]]
        for task in tasks[:2]:
            prediction = filled_in[task.uid]
            added = {"from_name": "note", "to_name": "tail", "type": "textarea", "value": {"text": ["seen"]}}
            result = [*prediction["result"], *([added] if task is tasks[1] else [])]
            more = {"lead_time": 20.0, "parent_prediction": prediction["id"]}
            asked(page, f"/api/tasks/{task.id}/annotations/", result=result, **more)
        with client(address) as us:
            told = us.get("/metrics").text
            assert 'semctl_label_studio_changes_total{action="ANNOTATION_CREATED"} 2.0' in told
            assert 'semctl_label_studio_tasks_total{outcome="predicted"} ' in told
            assert 'outcome="unknown_dialogue"' not in told
        assert _run(["-w", str(workspace.root), "ingest-labels", "--project", PROJECT, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["annotations"]["received"] == report["annotations"]["accepted"] == 2
        assert (report["untouched"]["prelabelled"], report["untouched"]["untouched"]) == (2, 1)
        answers = {each.task_uid: each for each in read_annotations(workspace.annotations) if not each.is_corpus}
        assert {uid: (each.prelabel, each.untouched, each.lead_time) for uid, each in answers.items()} == {
            tasks[0].uid: (version, True, 20.0),
            tasks[1].uid: (version, False, 20.0),
        }
        assert all(each.prelabel_score == filled_in[uid]["score"] for uid, each in answers.items())

    asked(page, f"/api/tasks/{tasks[0].id}")  # a model that is gone disturbs nobody
    assert asked(page, f"/api/tasks/{tasks[-1].id}?project={project.id}")["predictions"] == []
    assert run(workspace, "--address", address) == 4
    assert "serve it with" in capsys.readouterr().err

    settings = AppSettings(api_key=SECRET, hosts=("127.0.0.1",))
    with in_thread(workspace, settings=settings) as (elsewhere, service):
        assert run(workspace, "--address", elsewhere) == 2
        assert "asks for another key" in capsys.readouterr().err
        monkeypatch.setenv(KEY, SECRET)
        assert run(workspace, "--address", elsewhere, "--json") == 0
        assert [each["state"] for each in json.loads(capsys.readouterr().out)["projects"]] == ["updated"]
        (model,) = asked(page, f"/api/ml?project={project.id}")
        (hook,) = asked(page, f"/api/webhooks/?project={project.id}")
        assert (model["state"], model["url"], model["auth_method"]) == ("CO", elsewhere.rstrip("/"), "BASIC_AUTH")
        assert (hook["url"], hook["is_active"]) == (f"{elsewhere}webhook", False)
        assert SECRET not in json.dumps([model, hook])
        assert run(workspace, "--address", elsewhere) == 0
        said = capsys.readouterr()
        assert "unchanged" in said.out
        assert SECRET not in said.out + said.err
        (found,) = asked(page, f"/api/tasks/{tasks[-1].id}?project={project.id}")["predictions"]
        assert found["result"] == expected[tasks[-1].uid]["result"]

        service.run = "another-one"
        assert run(workspace, "--address", elsewhere) == 2
        assert "serves the run 'another-one'" in capsys.readouterr().err

    with pytest.raises(ReservedAddressError, match="asks nothing at"):
        gateway.connect_model(project, ModelServer(f"http://10.0.0.1:{free_port()}", version))


@pytest.mark.studio
def test_a_label_studio_may_ask_this_machine_and_no_other_network_that_it_would_not():
    """Beside the list in Label Studio's own source."""
    environment = environment_folder()
    if installed_version(environment) is None:
        skip_or_fail("studio", f"no Label Studio in {environment}")
    (source,) = environment.glob("lib/python3*/site-packages/label_studio/core/utils/io.py")
    (theirs,) = (
        [str(ast.literal_eval(name)) for name in node.value.elts]
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.List)
        and ast.unparse(node.targets[0]) == "default_banned_subnets"
    )
    from ipaddress import ip_address, ip_network

    ours = [ip_network(name) for name in reserved_but_this_machine()]
    assert not any(ip_address("127.0.0.1") in network for network in ours)
    for other in ("127.0.0.0", "127.0.0.2", "127.255.255.255", "::1", "10.1.2.3", "169.254.169.254", "192.168.0.1"):
        assert any(ip_address(other) in network for network in ours), other
    whole = {str(ip_network(name)) for name in theirs} - {"127.0.0.0/8"}
    assert whole == {str(network) for network in ours} & whole
    assert sum(network.num_addresses for network in ours if network.version == 4) == (
        sum(ip_network(name).num_addresses for name in theirs if ip_network(name).version == 4) - 1
    )
