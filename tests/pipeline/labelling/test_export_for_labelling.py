from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from annotate.annotations.dialogue_index import dialogue_sha256
from annotate.label_studio.gateway import connect
from annotate.tasks.label_config import build, is_intact
from pipeline.chosen_dialogues import Selection, choose_dialogues
from pipeline.labelling.export_for_labelling import ExportRequest, ExportResult, export_for_labelling
from pipeline.workspace import Workspace
from schemas.errors import LabelError, ServiceError, UsageError, WorkspaceError
from schemas.ontology import Ontology, Slot, Value
from tests.labelling_corpus import ONTOLOGY, PIXEL, dialogue, turn, write_workspace
from tests.studio_fixtures import RunningStudio, free_port

FIFTY = [dialogue(f"d{number:02d}") for number in range(50)] + [dialogue("v", split="valid")]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "ws", FIFTY)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def uids(file: Path) -> list[str]:
    return [task["data"]["uid"] for task in read(file)]


def export(workspace: Workspace, name: str = "tasks.json", *, window: int = 0, **selection: Any) -> ExportResult:
    return export_for_labelling(
        workspace, ExportRequest(Selection(**selection), to_file=workspace.root / name, window=window)
    )


def semctl(workspace: Workspace, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", "-w", str(workspace.root), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=120, check=False
    )


def test_a_larger_number_of_dialogues_adds_to_a_smaller_one(workspace: Workspace):
    first = choose_dialogues(workspace.turns, Selection(limit=20))
    assert choose_dialogues(workspace.turns, Selection(limit=40))[:20] == first
    assert choose_dialogues(workspace.turns, Selection(limit=20, seed=1)) != first
    assert first != sorted(first)


def test_the_split_decides_and_all_means_all(workspace: Workspace):
    assert len(choose_dialogues(workspace.turns, Selection())) == 50
    assert choose_dialogues(workspace.turns, Selection(split="valid")) == ["v"]
    assert len(choose_dialogues(workspace.turns, Selection(split="all"))) == 51
    with pytest.raises(LabelError, match=r"no dialogues in the split 'test'.*train, valid"):
        choose_dialogues(workspace.turns, Selection(split="test"))
    with pytest.raises(UsageError, match="unknown split"):
        choose_dialogues(workspace.turns, Selection(split="trian"))


def test_a_list_of_dialogues_keeps_its_order_and_may_leave_the_split(workspace: Workspace, tmp_path: Path):
    listed = tmp_path / "list"
    listed.write_text("v\nd07\n\nd03 \nd07\n")
    assert choose_dialogues(workspace.turns, Selection(named=listed)) == ["v", "d07", "d03"]
    assert choose_dialogues(workspace.turns, Selection(named=listed, limit=2)) == ["v", "d07"]


def test_an_unknown_dialogue_is_refused_and_the_nearest_named(workspace: Workspace, tmp_path: Path):
    listed = tmp_path / "list"
    listed.write_text("d01\nd7\nd8\n")
    with pytest.raises(UsageError, match=r"unknown dialogue 'd7' and 1 more \(.*list, line 2\); did you mean 'd\d7'"):
        choose_dialogues(workspace.turns, Selection(named=listed))


def test_a_batch_holds_tasks_configuration_guideline_and_manifest(workspace: Workspace):
    result = export(workspace, limit=3, window=1)
    folder = workspace.labelling / "batch-0001"
    assert sorted(path.name for path in folder.iterdir()) == [
        "guidelines.md",
        "label_config.xml",
        "manifest.json",
        "tasks.json",
    ]
    xml = (folder / "label_config.xml").read_text()
    assert is_intact(xml)
    manifest = read(folder / "manifest.json")
    chosen = choose_dialogues(workspace.turns, Selection(limit=3))
    assert manifest == {
        "batch": 1,
        "semctl_schema": 1,
        "project": None,
        "project_id": None,
        "url": None,
        "file": str(workspace.root / "tasks.json"),
        "config_sha256": build(ONTOLOGY).sha256,
        "ontology_version": 3,
        "ontology_sha256": ONTOLOGY.sha256(),
        "uids": [f"{name}#{window}" for name in chosen for window in (0, 1)],
        "dialogues": chosen,
        "window": 1,
        "complete": True,
    }
    assert read(folder / "tasks.json") == read(workspace.root / "tasks.json")
    assert (result.tasks_new, result.tasks_present, result.dialogues, result.user_turns) == (6, 0, 3, 6)


def test_every_task_names_its_dialogue_configuration_and_ontology(workspace: Workspace):
    export(workspace, limit=1)
    (task,) = read(workspace.root / "tasks.json")
    data = task["data"]
    assert data["dialogue_sha256"] == dialogue_sha256(dialogue(data["dialogue_id"]))
    assert data["config_sha256"] == build(ONTOLOGY).sha256
    assert data["ontology_version"] == 3


def test_exporting_again_adds_nothing_and_gives_the_same_bytes(workspace: Workspace):
    export(workspace, limit=20)
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    again = export(workspace, limit=20)
    assert (again.tasks_new, again.tasks_present, again.batch) == (0, 20, None)
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before


def test_exporting_more_adds_the_rest_in_a_batch_of_its_own(workspace: Workspace):
    export(workspace, limit=20)
    more = export(workspace, limit=30)
    assert (more.tasks_new, more.tasks_present, more.batch) == (10, 20, 2)
    assert len(uids(workspace.root / "tasks.json")) == 30
    assert len(uids(workspace.labelling / "batch-0002" / "tasks.json")) == 10


def test_another_file_is_another_destination(workspace: Workspace):
    export(workspace, limit=5)
    assert export(workspace, "other.json", limit=5).tasks_new == 5


def test_a_batch_without_a_complete_manifest_is_done_over(workspace: Workspace):
    export(workspace, limit=5)
    (workspace.labelling / "batch-0001" / "manifest.json").unlink()
    (workspace.labelling / "batch-0001" / "junk").touch()
    again = export(workspace, limit=5)
    assert (again.tasks_new, again.batch) == (5, 1)
    assert not (workspace.labelling / "batch-0001" / "junk").exists()


def test_one_destination_keeps_one_window(workspace: Workspace):
    export(workspace, limit=5, window=1)
    assert export(workspace, limit=6).window == 1
    with pytest.raises(LabelError, match=r"holds windows of 1 user turns, 2 were asked for.*--window 1"):
        export(workspace, limit=6, window=2)


def test_a_grown_ontology_makes_new_tasks_with_a_new_configuration(workspace: Workspace):
    export(workspace, limit=5)
    grown = Ontology(version=4, slots=(*ONTOLOGY.slots, Slot(name="size", attribute="size")))
    grown.write(workspace.ontology_file)
    again = export(workspace, limit=5)
    assert (again.tasks_new, again.batch) == (5, 2)
    assert "drop=size" in (workspace.labelling / "batch-0002" / "label_config.xml").read_text()


def test_images_are_linked_where_they_are_served_and_missing_ones_have_a_box(tmp_path: Path):
    rows = [turn(0, "user", "hi"), turn(1, "system", "look", "pixel", "gone", "never heard of"), turn(2, "user", "ok")]
    workspace = write_workspace(tmp_path / "ws", [rows])
    result = export(workspace)
    assert dict(result.images) == {"shown": 1, "missing": 2}
    html = read(workspace.root / "tasks.json")[0]["data"]["user_turns"][1]["html"]
    address = html.split('<img src="/data/local-files/?d=')[1].split('"')[0]
    assert (workspace.labelling / "files" / address).read_bytes() == PIXEL
    assert html.count("image not available") == 2
    assert "Red &lt;Dot&gt;" in html
    linked = [path for path in (workspace.labelling / "files").rglob("*") if path.is_file()]
    assert len(linked) == 1


def test_a_changed_image_is_linked_anew(workspace: Workspace):
    export(workspace, limit=1)
    image = workspace.root / "images" / "pixel.png"
    image.unlink()
    image.write_bytes(PIXEL + b"changed")
    export(workspace, limit=1)
    (linked,) = [path for path in (workspace.labelling / "files").rglob("*") if path.is_file()]
    assert linked.read_bytes() == PIXEL + b"changed"


def test_bad_requests_are_refused_with_nothing_written(workspace: Workspace):
    for arguments, message in [
        (["--to-file", "x.json", "--project", "abc"], "--project NAME or --to-file FILE"),
        ([], "--project NAME or --to-file FILE"),
        (["--to-file", str(workspace.root)], "this is a folder"),
        (["--to-file", str(workspace.root / "x.json"), "--dialogues", "/nowhere"], "cannot read the list"),
        (["--to-file", str(workspace.root / "x.json"), "-n", "0"], "exports nothing"),
    ]:
        done = semctl(workspace, "export-for-labelling", *arguments)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (workspace.root / "x.json").exists()
    assert not list(workspace.labelling.glob("batch-*"))


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path):
    with pytest.raises(WorkspaceError, match="not a semctl workspace"):
        export(Workspace(tmp_path))


def test_the_command_prints_one_json_object(workspace: Workspace):
    target = workspace.root / "out.json"
    done = semctl(workspace, "export-for-labelling", "--to-file", str(target), "-n", "4", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert {"file": str(target), "tasks_new": 4, "tasks_present": 0, "dialogues": 4}.items() <= printed.items()


def test_what_the_ontology_leaves_open_is_listed_until_it_is_decided(tmp_path: Path):
    shades = tuple(Value(value=text, count=1) for text in ("purple", "violet"))
    ontology = Ontology(slots=(Slot(name="color", attribute="color", values=shades),))
    workspace = write_workspace(tmp_path / "open", [dialogue("d1")], ontology=ontology)
    target = ("export-for-labelling", "--to-file", str(tmp_path / "out.json"))
    assert json.loads(semctl(workspace, *target, "--json").stdout)["open_points"] == [
        {
            "about": "color=purple / color=violet",
            "question": "purple and violet mean nearly the same: which one, when?",
            "default": "“purple” or “violet”: mark the one that the user says; else purple.",
        }
    ]
    said = semctl(workspace, *target, COLUMNS="200")
    assert "purple and violet mean nearly" in said.stdout
    assert '"decisions": {"color=purple / color=violet": "what annotators should do"}' in said.stdout + said.stderr
    edited = read(workspace.ontology_file) | {"decisions": {"color=purple / color=violet": "Purple, always."}}
    workspace.ontology_file.write_text(json.dumps(edited))
    (tmp_path / "out.json").unlink()
    elsewhere = ("export-for-labelling", "--to-file", str(tmp_path / "decided.json"), "--json")
    assert json.loads(semctl(workspace, *elsewhere).stdout)["open_points"] == []
    assert "- Purple, always." in (workspace.labelling / "batch-0002" / "guidelines.md").read_text()


def test_a_project_without_a_server_is_a_service_error_and_leaves_no_batch(workspace: Workspace):
    with pytest.raises(ServiceError, match="not running"):
        export_for_labelling(workspace, ExportRequest(Selection(), project="nowhere"))
    dead = {"LABEL_STUDIO_URL": f"http://127.0.0.1:{free_port()}", "LABEL_STUDIO_API_KEY": "secretsecret"}
    done = semctl(workspace, "export-for-labelling", "--project", "nowhere", **dead)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "secretsecret" not in done.stderr + done.stdout
    assert not list(workspace.labelling.glob("batch-*"))


@pytest.mark.studio
def test_twenty_dialogues_are_pushed_once(workspace: Workspace, studio_variables: RunningStudio):
    first = export_for_labelling(workspace, ExportRequest(Selection(limit=20), project="twenty"))
    assert (first.tasks_new, first.tasks_present, first.dialogues) == (20, 0, 20)
    again = export_for_labelling(workspace, ExportRequest(Selection(limit=20), project="twenty"))
    assert (again.tasks_new, again.tasks_present, again.batch) == (0, 20, None)
    more = export_for_labelling(workspace, ExportRequest(Selection(limit=30), project="twenty"))
    assert (more.tasks_new, more.tasks_present, more.batch) == (10, 20, 2)
    gateway = connect(workspace.root)
    project = gateway.require_project("twenty")
    chosen = choose_dialogues(workspace.turns, Selection(limit=30))
    assert [task.data["dialogue_id"] for task in gateway.tasks(project)] == chosen
    manifest = read(workspace.labelling / "batch-0001" / "manifest.json")
    assert (manifest["project"], manifest["project_id"], manifest["url"]) == ("twenty", project.id, gateway.url)


@pytest.mark.studio
def test_what_the_server_has_is_known_without_any_manifest(tmp_path: Path, studio_variables: RunningStudio):
    export_for_labelling(
        write_workspace(tmp_path / "one", FIFTY), ExportRequest(Selection(limit=20), project="two desks")
    )
    elsewhere = write_workspace(tmp_path / "two", FIFTY)
    again = export_for_labelling(elsewhere, ExportRequest(Selection(limit=25), project="two desks"))
    assert (again.tasks_new, again.tasks_present, again.batch) == (5, 20, 1)
    assert len(read(elsewhere.labelling / "batch-0001" / "manifest.json")["uids"]) == 25
    with pytest.raises(LabelError, match="split into tasks of another size"):
        export_for_labelling(
            write_workspace(tmp_path / "three", FIFTY), ExportRequest(Selection(limit=5), project="two desks", window=1)
        )


@pytest.mark.studio
def test_a_changed_dialogue_is_reported_as_outdated(tmp_path: Path, studio_variables: RunningStudio):
    export_for_labelling(
        write_workspace(tmp_path / "ws", [dialogue("d")]), ExportRequest(Selection(), project="outdated")
    )
    reworded = write_workspace(tmp_path / "ws", [dialogue("d", text="I want blue")])
    again = export_for_labelling(reworded, ExportRequest(Selection(), project="outdated"))
    assert (again.tasks_new, again.outdated) == (0, 1)


@pytest.mark.studio
def test_a_hand_edited_project_is_refused_with_nothing_written(workspace: Workspace, studio_variables: RunningStudio):
    gateway = connect(workspace.root)
    project = gateway.ensure_project("meddled", build(ONTOLOGY), "")
    body = json.dumps({"label_config": project.label_config.replace("Drop / flag", "Drop")}).encode()
    headers = {"Authorization": f"Token {studio_variables.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/api/projects/{project.id}", body, headers, method="PATCH")
    urllib.request.urlopen(request, timeout=60).close()
    done = semctl(workspace, "export-for-labelling", "--project", "meddled", **studio_variables.environment)
    assert done.returncode == 2
    assert "edited by hand" in done.stderr
    assert not list(workspace.labelling.glob("batch-*"))
    assert gateway.project(project.id).tasks == 0


@pytest.mark.studio
def test_a_wrong_token_exits_with_four(workspace: Workspace, studio_variables: RunningStudio):
    wrong = {"LABEL_STUDIO_URL": studio_variables.url, "LABEL_STUDIO_API_KEY": "feedfeedfeedfeed"}
    done = semctl(workspace, "export-for-labelling", "--project", "abc", "--json", **wrong)
    assert done.returncode == 4
    assert "feedfeed" not in done.stderr + done.stdout
    assert json.loads(done.stdout)["error"]["kind"] == "ServiceError"


@pytest.mark.studio
def test_a_run_killed_half_way_is_completed_by_the_next(tmp_path: Path, studio_variables: RunningStudio):
    total = 4000
    workspace = write_workspace(tmp_path / "ws", [dialogue(f"d{number}", users=1) for number in range(total)])
    in_small_requests = "from annotate.label_studio import task_calls; task_calls._BATCH_TASKS = 500; "
    command = [sys.executable, "-c", in_small_requests + "from pipeline.cli import main; main()"]
    command += ["-w", str(workspace.root), "export-for-labelling"]
    gateway = connect(workspace.root)
    running = subprocess.Popen([*command, "--project", "killed"], env={**os.environ, **studio_variables.environment})
    try:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            project = gateway.find_project("killed")
            if project is not None and project.tasks:
                break
            time.sleep(0.05)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    half = gateway.require_project("killed").tasks
    assert 0 < half < total
    assert not (workspace.labelling / "batch-0001" / "manifest.json").exists()
    completed = export_for_labelling(workspace, ExportRequest(Selection(), project="killed"))
    assert completed.tasks_new + completed.tasks_present == total
    assert completed.tasks_present >= half
    pushed = [task.uid for task in gateway.tasks(gateway.require_project("killed"))]
    assert len(pushed) == len(set(pushed)) == total
    assert read(workspace.labelling / "batch-0001" / "manifest.json")["complete"] is True
    assert len(read(workspace.labelling / "batch-0001" / "manifest.json")["uids"]) == total
    assert export_for_labelling(workspace, ExportRequest(Selection(), project="killed")).tasks_new == 0


@pytest.mark.studio
def test_images_of_the_studio_workspace_are_served_and_nothing_else(studio_server: RunningStudio):
    workspace = write_workspace(studio_server.root, [dialogue("with image")])
    result = export_for_labelling(workspace, ExportRequest(Selection(), project="with images"))
    assert result.images_problem is None
    links = (workspace.labelling / "files" / "pictures").glob("*/*.png")  # other tests' images are served here too
    (linked,) = (link for link in links if link.read_bytes() == PIXEL)
    address = f"{studio_server.url}/data/local-files/?d={linked.relative_to(workspace.labelling / 'files')}"
    headers = {"Authorization": f"Token {studio_server.token}"}
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
        assert answer.read() == PIXEL
        assert answer.headers["Content-Type"] == "image/png"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(address, timeout=20)
