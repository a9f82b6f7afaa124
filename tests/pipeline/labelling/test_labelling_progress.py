"""How far the labelling is, asked of a real Label Studio that answers, goes away and comes back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from annotate.label_studio.gateway import Gateway, connect
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.assigned_export import export_assigned
from pipeline.labelling.assignment_record import AssignmentRequest
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.progress import LabellingProgress
from pipeline.workspace import Workspace
from schemas.errors import LabelError
from tests.label_exports import pick, save
from tests.labelling_corpus import dialogue, write_workspace
from tests.studio_fixtures import RunningStudio

ANN, BO = "ann@x.org", "bo@x.org"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [dialogue(f"d{number}", users=3) for number in range(4)])


@pytest.fixture
def title() -> str:
    return f"progress {uuid.uuid4().hex[:6]}"


@pytest.fixture
def http(studio_variables: RunningStudio) -> httpx.Client:
    key = {"Authorization": f"Token {studio_variables.token}"}
    return httpx.Client(base_url=studio_variables.url, headers=key, trust_env=False)


def in_place(gateway: Gateway, place: str) -> dict[str, int]:
    """uid -> number of the task."""
    return {task.uid: task.id for task in gateway.tasks(gateway.require_project(place))}


def as_json(workspace: Workspace, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, object]:
    capsys.readouterr()
    assert _run(["-w", str(workspace.root), "progress", *options, "--json"]) == 0
    shown: dict[str, object] = json.loads(capsys.readouterr().out)
    return shown


def test_nothing_exported_yet_is_said(workspace: Workspace):
    with pytest.raises(LabelError, match="nothing was exported for labelling yet"):
        LabellingProgress(workspace).now()


def test_work_exported_as_files_is_counted_as_ingested(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    export_for_labelling(workspace, ExportRequest(Selection(), to_file=workspace.root / "tasks.json", window=2))
    shown = as_json(workspace, capsys)
    assert shown["source"] == "ingested"
    assert shown["overall"]["tasks"] == {"done": 0, "total": 8}  # type: ignore[index]
    with pytest.raises(LabelError, match="nothing was exported as 'other'"):
        LabellingProgress(workspace, "other").now()


def test_watching_and_json_do_not_go_together(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    assert _run(["-w", str(workspace.root), "progress", "--watch", "--json"]) == 2


@pytest.mark.studio
def test_done_skipped_begun_edited_and_deleted_answers_are_followed(
    workspace: Workspace, title: str, studio_variables: RunningStudio, http: httpx.Client
):
    done = export_assigned(
        workspace,
        ExportRequest(Selection(), assignment=AssignmentRequest([ANN, BO], overlap=0.5), project=title, window=2),
    )  # four dialogues of two windows, 2 + 1 turns; two of them for both
    gateway = connect(workspace.root)
    asking = LabellingProgress(workspace, title)
    ann, bo = asking.now().rows
    assert [(row.annotator, row.tasks.total, row.turns.total) for row in (ann, bo)] == [(ANN, 6, 9), (BO, 6, 9)]
    assert ann.finish is None

    tasks = in_place(gateway, done.parts[0].place)
    first, second, third, fourth = sorted(tasks)[:4]  # of two dialogues
    numbers = {
        uid: gateway.create_annotation(tasks[uid], [], lead_time=seconds)
        for uid, seconds in ((first, 20.0), (second, 7.0), (third, 100_000.0), (fourth, 30.0))
    }
    assert http.patch(f"/api/annotations/{numbers[fourth]}/", json={"was_cancelled": True}).status_code == 200
    draft = {"result": [pick("want_0", "color=black")], "lead_time": 1.0}
    assert http.post(f"/api/tasks/{tasks[fourth]}/drafts", json=draft).status_code == 201
    report = asking.now()
    ann = report.rows[0]
    assert (ann.tasks.done, ann.dialogues.done, ann.turns.done) == (3, 1, 5)
    assert (ann.left, ann.skipped, ann.drafts) == (3, 1, 1)
    assert ann.pace.median == pytest.approx((20 / 2 + 7 / 1) / 2)
    assert (ann.pace.measured, ann.pace.left_open) == (2, 1)
    assert ann.finish is not None
    assert ann.finish.assuming == "working on without a break"
    assert report.rows[1].tasks.done == 0
    assert report.overall.finish is None  # nothing says how fast bo is

    # another process starts from what was kept; an answer deleted, a task deleted
    assert http.delete(f"/api/annotations/{numbers[first]}/").status_code == 204
    assert http.delete(f"/api/tasks/{tasks[second]}/").status_code == 204
    for again in (LabellingProgress(workspace, title), asking):
        ann = again.now().rows[0]
        assert (ann.tasks.done, ann.dialogues.done, ann.turns.done) == (1, 0, 2)
        assert (ann.skipped, ann.drafts) == (1, 1)


@pytest.mark.studio
def test_answers_to_a_project_and_to_a_file_of_the_same_dialogues_are_told_apart(
    workspace: Workspace, title: str, studio_variables: RunningStudio
):
    export_for_labelling(workspace, ExportRequest(Selection(limit=1), project=title))
    file = workspace.root / "tasks.json"
    export_for_labelling(workspace, ExportRequest(Selection(limit=2), to_file=file))
    gateway = connect(workspace.root)
    (task,) = in_place(gateway, title).values()
    gateway.create_annotation(task, [pick("want_0", "color=red")], lead_time=9.0)
    ingest_labels(workspace, IngestRequest(projects=(title,)))
    asking = LabellingProgress(workspace)

    def done() -> list[list[int]]:
        reports = (asking.now(), asking.as_ingested("the server is away"))
        return [[row.tasks.done for row in report.rows if not row.is_share] for report in reports]

    assert done() == [[1, 0], [1, 0]]
    number = gateway.require_project(title).id  # of whichever server the file went to: it counts from 1, too
    answers = [
        {**each, "id": n, "annotations": [{"id": n, "completed_by": BO, "project": number, "result": []}]}
        for n, each in enumerate(json.loads(file.read_text()), 501)
    ]
    ingest_labels(workspace, IngestRequest(export=save(workspace.root / "answers.json", answers)))
    assert done() == [[1, 2], [1, 2]]


@pytest.mark.studio
def test_several_people_in_one_project_each_get_their_own_times(
    workspace: Workspace, title: str, studio_variables: RunningStudio, http: httpx.Client
):
    email = f"cy.{uuid.uuid4().hex[:6]}@x.org"
    cy = http.post("/api/users/", json={"email": email, "username": email[:20]}).json()["id"]
    export_for_labelling(workspace, ExportRequest(Selection(limit=1), project=title, window=2))
    gateway = connect(workspace.root)
    task = in_place(gateway, title)
    uid = min(task)
    gateway.create_annotation(task[uid], [], lead_time=10.0)
    gateway.create_annotation(task[uid], [], lead_time=50.0, completed_by=cy)
    whole, first, second = LabellingProgress(workspace, title).now().rows
    assert (whole.annotator, whole.tasks.done, whole.tasks.total) == (None, 1, 2)
    assert [(row.annotator, row.pace.median, row.is_share) for row in (first, second)] == [
        (email, 25.0, True),
        ("owner@semctl.local", 5.0, True),
    ]


@pytest.mark.studio
def test_without_the_server_it_says_so_and_shows_what_was_ingested(
    workspace: Workspace,
    title: str,
    studio_variables: RunningStudio,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    done = export_assigned(
        workspace, ExportRequest(Selection(), assignment=AssignmentRequest([ANN, BO]), project=title, window=2)
    )
    gateway = connect(workspace.root)
    place = done.parts[0].place
    tasks = in_place(gateway, place)
    gateway.create_annotation(tasks[min(tasks)], [], lead_time=20.0)
    ingest_labels(workspace, IngestRequest(projects=(title,)))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        shown = as_json(workspace, capsys, "--project", title)
    assert shown["source"] == "ingested"
    (note,) = shown["notes"]  # type: ignore[misc]
    assert note.startswith("Label Studio does not answer")
    assert "drafts and skipped tasks are not known" in note
    assert [(row["annotator"], row["tasks"]["done"]) for row in shown["rows"]] == [(ANN, 1), (BO, 0)]  # type: ignore[attr-defined]


class Doorway:
    """A way to the server that can be shut and opened again: bytes in, bytes out."""

    def __init__(self, url: str) -> None:
        self._to = (urlsplit(url).hostname, urlsplit(url).port)
        self._listening: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self.port = 0
        self.open()

    def open(self) -> None:
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", self.port))
        self._listening.listen()
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        assert self._listening is not None
        for each in (self._listening, *self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._connections.clear()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = listening.accept()
                outside = socket.create_connection(self._to)
                self._connections += [inside, outside]
                for one, other in ((inside, outside), (outside, inside)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


@pytest.fixture
def doorway(studio_variables: RunningStudio) -> Iterator[Doorway]:
    door = Doorway(studio_variables.url)
    yield door
    door.shut()


def wait_for(output: Path, text: str, *, after: int = 0) -> int:
    """Until the text was printed behind a place; where it ends."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = output.read_text().find(text, after)
        if found >= 0:
            return found + len(text)
        time.sleep(0.2)
    raise AssertionError(f"{text!r} never came: {output.read_text()[after:]}")


@pytest.mark.studio
def test_watching_survives_a_server_that_goes_away_and_ends_with_ctrl_c(
    workspace: Workspace, title: str, studio_variables: RunningStudio, doorway: Doorway, tmp_path: Path
):
    export_for_labelling(workspace, ExportRequest(Selection(), project=title, window=2))
    gateway = connect(workspace.root)
    tasks = in_place(gateway, title)
    output = tmp_path / "shown"
    environment = {**os.environ, "LABEL_STUDIO_URL": f"http://127.0.0.1:{doorway.port}", "COLUMNS": "160"}
    command = [sys.executable, "-m", "pipeline.cli", "-w", str(workspace.root), "progress", "--watch", "0.5"]
    with output.open("w") as file:
        watching = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, env=environment)
    try:
        at = wait_for(output, "0/8")
        doorway.shut()
        at = wait_for(output, "Label Studio does not answer", after=at)
        at = wait_for(output, "0/8", after=at)  # the last figures stay in sight
        gateway.create_annotation(tasks[min(tasks)], [], lead_time=20.0)
        doorway.open()
        wait_for(output, "1/8", after=at)
        assert watching.poll() is None
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=60)
    finally:
        watching.kill()
    assert watching.returncode == 130
    assert b"Traceback" not in errors
