"""What goes wrong while pushing: one line, exit code 4 or 2, and the next run completes it: no task lost or doubled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from label_studio_sdk.tokens.client_ext import TokensClientExt

from annotate.label_studio import task_calls as gateway_tasks
from annotate.label_studio.gateway import connect
from annotate.label_studio.session import Session
from annotate.label_studio.studio import Studio
from pipeline.batches import read_batches
from pipeline.cli import _run
from pipeline.workspace import Workspace
from tests.failing_disk import full_disk, read_only
from tests.labelling_corpus import dialogue, write_workspace
from tests.studio_faults import Faults, faulty
from tests.studio_fixtures import RunningStudio, free_port

pytestmark = pytest.mark.studio

TASKS = 300
NAMES = sorted(f"d{number}#0" for number in range(TASKS))


@pytest.fixture(autouse=True)
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A push of several requests without thousands of tasks."""
    monkeypatch.setattr(gateway_tasks, "_BATCH_TASKS", 50)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [dialogue(f"d{number}", users=1) for number in range(TASKS)])


@pytest.fixture
def title(tmp_path: Path) -> str:
    return tmp_path.name[-50:]


@pytest.fixture
def faults(studio_variables: RunningStudio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    with faulty(studio_variables.url) as found:
        monkeypatch.setenv("LABEL_STUDIO_URL", found.url)
        yield found


def push(workspace: Workspace, title: str, *more: str) -> int:
    return _run(["-w", str(workspace.root), "-q", "export-for-labelling", "--project", title, *more])


def on_server(title: str, workspace: Workspace) -> list[str]:
    gateway = connect(workspace.root)
    return sorted(task.uid for task in gateway.tasks(gateway.require_project(title)))


def is_one_line(said: str) -> bool:
    return said.count("\n") == 1 and said.startswith("error: ") and "bug" not in said


def is_complete(workspace: Workspace, title: str) -> bool:
    (batch,) = read_batches(workspace.labelling)
    left = [path.name for path in workspace.root.rglob("*.tmp")]
    return on_server(title, workspace) == sorted(batch.uids) == NAMES and not left


def predictions(url: str, token: str, title: str, workspace: Workspace) -> list[int]:
    """How many pre-labels each task of a project has."""
    asked = {"project": connect(workspace.root).require_project(title).id, "page_size": TASKS}
    headers = {"Authorization": f"Token {token}"}
    answer = httpx.get(f"{url}/api/tasks/", params=asked, headers=headers, trust_env=False, timeout=60)
    return [task["total_predictions"] for task in answer.json()["tasks"]]


@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_a_token_that_ends_in_the_middle_of_a_push(
    kind: str,
    faults: Faults,
    workspace: Workspace,
    title: str,
    studio_variables: RunningStudio,
    personal_token: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    token = personal_token if kind == "personal" else studio_variables.token
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", token)
    said = {"legacy": b'{"detail": "Invalid token."}', "personal": b'{"detail": "Token is expired"}'}[kind]
    faults.set(401, at="/import", after=2, body=said)
    assert push(workspace, title) == 4
    printed = capsys.readouterr()
    assert is_one_line(printed.err), printed.err
    assert {"legacy": "refuses the API key", "personal": "has expired"}[kind] in printed.err
    assert token not in printed.err + printed.out
    assert len(on_server(title, workspace)) == 100
    assert read_batches(workspace.labelling) == []
    faults.set(None)
    assert push(workspace, title, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["tasks_new"], printed["tasks_present"]) == (200, 100)
    assert is_complete(workspace, title)


@pytest.mark.parametrize("renewed", [True, False])
def test_the_short_lived_part_of_a_personal_token_is_renewed_during_a_push_or_the_push_ends(
    renewed: bool,
    faults: Faults,
    workspace: Workspace,
    title: str,
    personal_token: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    token = personal_token
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", token)
    faults.set(None if renewed else 401, at="/api/token/refresh", after=1, body=b'{"detail": "Token is blacklisted"}')
    posted, valid = Session._post, TokensClientExt._is_valid_jwt_token
    pushed: list[str] = []

    def post(session: Session, path: str, content: bytes) -> object:
        pushed.append(path)
        return posted(session, path, content)

    def over_after_the_second_request(tokens: TokensClientExt, given: str, raise_if_expired: bool = False) -> bool:
        return len(pushed) < 3 and valid(tokens, given, raise_if_expired)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_post", post)
        patch.setattr(TokensClientExt, "_is_valid_jwt_token", over_after_the_second_request)
        assert push(workspace, title) == (0 if renewed else 4)
    printed = capsys.readouterr()
    assert token not in printed.err + printed.out
    if renewed:
        assert sum("/api/token/refresh" in path for path in faults.seen) > 4
    else:
        assert is_one_line(printed.err), printed.err
        faults.set(None)
        assert len(on_server(title, workspace)) == 100
        assert push(workspace, title) == 0
    assert is_complete(workspace, title)


@pytest.mark.parametrize(("kind", "said"), [(500, "failed"), ("gone", "does not answer"), ("html", "LABEL_STUDIO_URL")])
def test_a_request_that_fails_in_the_middle_of_a_push(
    kind: str | int, said: str, faults: Faults, workspace: Workspace, title: str, capsys: pytest.CaptureFixture[str]
):
    faults.set(kind, at="/import", after=3)
    assert push(workspace, title) == 4
    printed = capsys.readouterr().err
    assert is_one_line(printed), printed
    assert said in printed
    faults.set(None)
    assert push(workspace, title) == 0
    assert is_complete(workspace, title)


def test_a_server_that_takes_in_fewer_tasks_than_it_was_sent_is_noticed(
    faults: Faults, workspace: Workspace, title: str, capsys: pytest.CaptureFixture[str]
):
    faults.set(201, at="/import", after=5, body=b'{"task_count": 49}')
    assert push(workspace, title) == 4
    printed = capsys.readouterr().err
    assert is_one_line(printed), printed
    assert "took in 49 of 50 tasks" in printed
    faults.set(None)
    assert push(workspace, title) == 0
    assert is_complete(workspace, title)


def test_an_answer_that_is_lost_after_the_tasks_arrived_doubles_nothing(
    faults: Faults, workspace: Workspace, title: str, capsys: pytest.CaptureFixture[str]
):
    faults.set("cut", at="/import", after=1)
    assert push(workspace, title) == 4
    assert is_one_line(capsys.readouterr().err)
    faults.set(None)
    assert len(on_server(title, workspace)) == 100
    assert push(workspace, title) == 0
    assert is_complete(workspace, title)


@pytest.mark.parametrize("more", [(), ("--prelabel", "lexicon")])
def test_a_server_killed_in_the_middle_of_a_push_and_started_again(
    more: tuple[str, ...],
    workspace: Workspace,
    title: str,
    studio_server: RunningStudio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    root = tmp_path / "server"
    shutil.copytree(studio_server.root / ".studio", root / ".studio")  # a server of its own, with users and tokens
    (root / ".studio" / "server.json").unlink()
    studio = Studio.of_workspace(root)
    status = studio.start(free_port())
    assert status.pid is not None
    try:
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio_server.token)
        with faulty(str(status.url)) as faults:
            monkeypatch.setenv("LABEL_STUDIO_URL", faults.url)
            faults.set(None, at="/import", after=3)
            pid = status.pid
            faults.before = lambda: threading.Timer(0.05, os.killpg, (pid, signal.SIGKILL)).start()
            assert push(workspace, title, *more) == 4
        printed = capsys.readouterr().err
        assert is_one_line(printed), printed
        assert read_batches(workspace.labelling) == []
        again = studio.start(free_port())
        monkeypatch.setenv("LABEL_STUDIO_URL", str(again.url))
        half = on_server(title, workspace)
        assert 150 <= len(half) < TASKS  # three requests of 50 are through; the fourth one may be
        assert push(workspace, title, *more) == 0
        assert is_complete(workspace, title)
        if more:
            assert predictions(str(again.url), studio_server.token, title, workspace) == [1] * TASKS
    finally:
        studio.stop()


def test_a_batch_that_cannot_be_written_pushes_nothing(
    workspace: Workspace, title: str, studio_variables: RunningStudio, capsys: pytest.CaptureFixture[str]
):
    workspace.labelling.mkdir()
    with read_only(workspace.labelling):
        assert push(workspace, title) == 2
    assert is_one_line(capsys.readouterr().err)
    for room in (0, 1_000, 15_000):
        with full_disk(room):
            assert push(workspace, title) == 2
        printed = capsys.readouterr().err
        assert is_one_line(printed), printed
        assert not list(workspace.labelling.glob("batch-*"))
        assert on_server(title, workspace) == []
    assert push(workspace, title) == 0
    assert is_complete(workspace, title)


def test_a_manifest_that_cannot_be_written_is_written_by_the_next_run(
    workspace: Workspace,
    title: str,
    studio_variables: RunningStudio,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    pushed = gateway_tasks.TaskCalls.push
    with monkeypatch.context() as patch, full_disk(10_000_000):
        import resource

        def then_full(self: gateway_tasks.TaskCalls, *given: object) -> None:
            pushed(self, *given)  # type: ignore[arg-type]
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

        patch.setattr(gateway_tasks.TaskCalls, "push", then_full)
        assert push(workspace, title) == 2
    printed = capsys.readouterr().err
    assert is_one_line(printed), printed
    assert "manifest.json" in printed
    assert on_server(title, workspace) == NAMES
    assert push(workspace, title, "--json") == 0
    assert json.loads(capsys.readouterr().out)["tasks_new"] == 0
    assert is_complete(workspace, title)
