"""What goes wrong while pulling: one line, exit code 4 or 2, nothing lost, and the next run completes it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotate.label_studio.gateway import Gateway, connect
from annotate.label_studio.pull import pull_project
from annotate.label_studio.studio import Studio
from annotate.simulated_annotators import Annotator
from pipeline.batches import read_batches
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.errors import ServiceError
from tests.label_exports import gold_of, hashes, marked, pick, save, simulated, states_in
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace
from tests.studio_faults import Faults, as_anyone, faulty, files_of_at_most
from tests.studio_fixtures import RunningStudio, free_port

ROOT = Path(__file__).resolve().parents[3]
RED = ONTOLOGY.link(ONTOLOGY.slot("color"), "red")
NAMES = [f"d{number}" for number in range(5)]
GOLD = {key: state for name in NAMES for key, state in gold_of(((RED,), (RED,)), name).items()}


def fill(workspace: Workspace) -> str:
    """A project in which everything is answered."""
    gateway = connect(workspace.root)
    title = workspace.root.parent.name[:50]
    export_for_labelling(workspace, ExportRequest(Selection(split="all"), project=title, window=5))
    annotator = Annotator(ONTOLOGY, GOLD)
    for task in gateway.tasks(gateway.require_project(title)):
        if task.annotations == 0:
            gateway.create_annotation(task.id, annotator.result(task.data), lead_time=60.0)
    return title


def project_of(workspace: Workspace) -> str:
    return str(read_batches(workspace.labelling)[0].destination.project)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [dialogue(name) for name in NAMES])


@pytest.fixture
def faults(workspace: Workspace, studio_variables: RunningStudio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    fill(workspace)
    with faulty(studio_variables.url) as found:
        monkeypatch.setenv("LABEL_STUDIO_URL", found.url)
        yield found


def ingest(workspace: Workspace, *more: str) -> int:
    return _run(["-w", str(workspace.root), "ingest-labels", "--project", project_of(workspace), *more])


def kept(workspace: Workspace) -> dict[str, str]:
    return {name: sha for name, sha in hashes(workspace.root).items() if not name.endswith(".lock")}


CASES = {
    "cut": ("cut", "/export", "does not answer"),
    "cut without a length": ("short", "/export", "not Label Studio"),
    "no answer": ("gone", "/export", "does not answer"),
    "a login page": ("html", "/export", "check LABEL_STUDIO_URL"),
    "a login page for the list": ("html", "/api/tasks", "check LABEL_STUDIO_URL"),
    "refused while exporting": (401, "/export", "refuses the API key"),
    "refused while listing": (403, "/api/tasks", "refuses the API key"),
    "failed": (500, "/export", "Label Studio failed"),
    "a broken gateway": (502, "/api/projects/counts", "Label Studio failed"),
    "cut while counting": ("cut", "/api/projects/counts", ""),
    "cut while listing drafts": ("cut", "draft_exists", ""),
}


@pytest.mark.studio
@pytest.mark.parametrize("case", CASES)
def test_a_pull_that_fails_is_one_line_and_the_next_one_completes(
    case: str, faults: Faults, workspace: Workspace, capsys: pytest.CaptureFixture[str]
):
    kind, at, said = CASES[case]
    before = kept(workspace)
    faults.set(kind, at=at)
    capsys.readouterr()
    assert ingest(workspace, "--json") == 4
    shown = capsys.readouterr()
    errors = [line for line in shown.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in shown.err
    assert json.loads(shown.out)["error"]["exit_code"] == 4
    assert kept(workspace) == before
    faults.set(None)
    assert ingest(workspace) == 0
    assert states_in(workspace) == GOLD


@pytest.mark.studio
def test_a_later_pull_that_fails_loses_nothing_of_the_earlier_one(faults: Faults, workspace: Workspace):
    assert ingest(workspace) == 0
    before = kept(workspace)
    gateway = connect(workspace.root)
    (task, *_) = gateway.tasks(gateway.require_project(project_of(workspace)))
    gateway.create_annotation(task.id, [pick("want_0", "color=blue")], lead_time=60.0)
    faults.set("cut")
    assert ingest(workspace) == 4
    assert kept(workspace) == before
    faults.set(None)
    assert ingest(workspace) == 0
    assert marked(states_in(workspace)[task.data["dialogue_id"], 0]) == {"color=blue"}


@pytest.mark.studio
def test_a_server_that_does_not_answer_in_time_is_a_service_error(
    faults: Faults, workspace: Workspace, studio_variables: RunningStudio
):
    gateway = Gateway(faults.url, studio_variables.token, seconds=0.5)
    project = gateway.require_project(project_of(workspace))
    faults.before = lambda: time.sleep(2)
    with pytest.raises(ServiceError, match="did not answer in time"):
        pull_project(gateway, project, None, studio_variables.root / "never.json")


@pytest.mark.studio
@pytest.mark.parametrize("detail", ["Token is expired", "Token is blacklisted"])
def test_a_personal_token_works_and_one_that_ends_in_the_middle_says_so(
    detail: str,
    faults: Faults,
    workspace: Workspace,
    personal_token: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", personal_token)
    refused = json.dumps({"detail": detail, "code": "token_not_valid"}).encode()
    faults.set(401, body=refused)
    capsys.readouterr()
    assert ingest(workspace) == 4
    said = capsys.readouterr().err
    assert "Personal Access Token" in said
    assert personal_token not in said
    # nor can it be renewed
    faults.set(401, at="/api/token/refresh", body=refused)
    assert ingest(workspace) == 4
    assert personal_token not in capsys.readouterr().err
    faults.set(None)
    assert ingest(workspace) == 0
    assert states_in(workspace) == GOLD


@pytest.mark.studio
def test_a_server_killed_while_it_exports_and_started_again(
    workspace: Workspace, studio_server: RunningStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = tmp_path / "server"
    shutil.copytree(studio_server.root / ".studio", root / ".studio")  # a server of its own, with users and tokens
    (root / ".studio" / "server.json").unlink()
    studio = Studio.of_workspace(root)
    status = studio.start(free_port())
    assert status.pid is not None
    try:
        monkeypatch.setenv("LABEL_STUDIO_URL", str(status.url))
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio_server.token)
        title = fill(workspace)
        before = kept(workspace)
        with faulty(str(status.url)) as faults:
            monkeypatch.setenv("LABEL_STUDIO_URL", faults.url)
            pid = status.pid
            faults.before = lambda: threading.Timer(0.01, os.killpg, (pid, signal.SIGKILL)).start()
            with pytest.raises(ServiceError, match="does not answer"):
                ingest_labels(workspace, IngestRequest(projects=(title,)))
        assert kept(workspace) == before
        again = studio.start(free_port())
        monkeypatch.setenv("LABEL_STUDIO_URL", str(again.url))
        report = ingest_labels(workspace, IngestRequest(projects=(title,)))
        assert (report.received, states_in(workspace) == GOLD) == (5, True)
    finally:
        studio.stop()


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
replace, left = os.replace, int(sys.argv[3])
def dying(*paths):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = dying
ingest_labels(Workspace(Path(sys.argv[1])), IngestRequest(projects=(sys.argv[2],)))
print(int(sys.argv[3]) - left)
"""


def killed(workspace: Workspace, renames: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(workspace.root), project_of(workspace), str(renames)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.studio
def test_killed_at_any_rename_of_a_pull_the_next_run_completes_it(faults: Faults, workspace: Workspace, tmp_path: Path):
    shutil.copytree(workspace.root, tmp_path / "whole")
    in_all = int(killed(Workspace(tmp_path / "whole"), 10_000).stdout)
    assert in_all > 15
    # right at the start, right before the pull is remembered, and somewhere between
    for renames in {0, in_all - 1, *random.Random(4).sample(range(1, in_all - 1), 3)}:
        shop = Workspace(tmp_path / f"killed {renames}")
        shutil.copytree(workspace.root, shop.root)
        assert killed(shop, renames).returncode == -signal.SIGKILL
        assert ingest(shop) == 0
        assert states_in(shop) == GOLD
        left = [path for path in (shop.root / "labels").rglob(".*") if path.name != ".lock"]
        assert not left
        whole = kept(Workspace(tmp_path / "whole"))
        assert {name: whole.get(name) for name in kept(shop) if "/." not in name} == whole


def semctl(workspace: Workspace, *arguments: str, preexec: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "-w", str(workspace.root), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=preexec,  # type: ignore[arg-type]
        capture_output=True,
        text=True,
        check=False,
    )


def is_one_line(run: subprocess.CompletedProcess[str], said: str) -> bool:
    errors = [line for line in run.stderr.splitlines() if not line.startswith("reading")]
    return run.returncode == 2 and len(errors) == 1 and said in errors[0]


@pytest.mark.parametrize("limit", [100, 1_000, 3_000])
def test_a_disk_that_fills_up_while_labels_are_written_changes_nothing(
    limit: int, workspace: Workspace, tmp_path: Path
):
    first = save(tmp_path / "1.json", simulated([dialogue("d1")], GOLD))
    ingest_labels(workspace, IngestRequest(export=first))
    before = kept(workspace)
    second = save(tmp_path / "2.json", simulated([dialogue(name) for name in NAMES], GOLD))
    run = semctl(workspace, "ingest-labels", str(second), preexec=files_of_at_most(limit))
    assert is_one_line(run, "cannot"), run.stderr
    assert kept(workspace) == before
    ingest_labels(workspace, IngestRequest(export=second))
    assert states_in(workspace) == GOLD


@pytest.mark.studio
@pytest.mark.parametrize("limit", [500, 3_000])
def test_a_disk_that_fills_up_while_answers_are_fetched_changes_nothing(
    limit: int, faults: Faults, workspace: Workspace
):
    before = kept(workspace)
    run = semctl(workspace, "ingest-labels", "--project", project_of(workspace), preexec=files_of_at_most(limit))
    assert is_one_line(run, "cannot"), run.stderr
    assert kept(workspace) == before
    assert ingest(workspace) == 0
    assert states_in(workspace) == GOLD


@pytest.mark.parametrize("folder", ["labels", "splits"])
def test_a_folder_that_cannot_be_written_to_is_one_error_and_nothing_is_lost(
    folder: str, workspace: Workspace, tmp_path: Path
):
    export = save(tmp_path / "1.json", simulated([dialogue("d1")], GOLD))
    ingest_labels(workspace, IngestRequest(export=export))
    all_of_it = save(tmp_path / "2.json", simulated([dialogue(name) for name in NAMES], GOLD))
    places = [workspace.root / folder, *(path for path in (workspace.root / folder).rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(0o555)
    (workspace.annotations.parent / ".lock").chmod(0o444)
    try:
        run = semctl(workspace, "ingest-labels", str(all_of_it), preexec=as_anyone)
    finally:
        for place in places:
            place.chmod(0o755)
        (workspace.annotations.parent / ".lock").chmod(0o644)
    assert is_one_line(run, "Permission denied"), run.stderr
    assert not [path for path in workspace.root.rglob(".*") if path.name != ".lock"]
    ingest_labels(workspace, IngestRequest(export=all_of_it))
    assert states_in(workspace) == GOLD
