"""The command: where it listens, what it asks for, and how it ends."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pipeline.cli import _run
from pipeline.serving import server
from pipeline.serving.server import KEY, ServeRequest, api_key, serve
from pipeline.workspace import Workspace
from schemas.errors import MissingPartError, UsageError
from tests.served import client, said, served, trained_workspace

GOOD = "0123456789abcdef-secret"
BEARER = f"Bearer {GOOD}"


def never(_: object) -> None:
    raise AssertionError("it began to serve")


def refused(request: ServeRequest, tmp_path: Path) -> str:
    with pytest.raises(UsageError) as problem:
        serve(Workspace(tmp_path), request, started=never)
    return str(problem.value)


def test_an_address_that_others_reach_needs_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.invalid"):
        monkeypatch.delenv(KEY, raising=False)
        assert f"set {KEY}" in refused(ServeRequest(host=host), tmp_path)
    for short in ("secret", "0123456789abcde", "0123456789 abcdef", "0123456789abcdéf"):
        monkeypatch.setenv(KEY, short)
        assert "at least 16" in refused(ServeRequest(host="0.0.0.0"), tmp_path)
        assert short not in refused(ServeRequest(), tmp_path)
    monkeypatch.setenv(KEY, GOOD)
    assert api_key(required=True) == api_key(required=False) == GOOD
    assert "address of this machine" in refused(ServeRequest(host="192.0.2.1", port=0), tmp_path)
    assert "no address" in refused(ServeRequest(host="no such host"), tmp_path)


def test_a_port_that_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "name another one with --port" in refused(ServeRequest(port=port), tmp_path)
        assert _run(["-w", str(tmp_path), "serve", "--port", str(port)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_missing_package_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(MissingPartError, match=r"uvicorn; pip install 'semctl\[serve\]'"):
        server.require_packages()
    monkeypatch.chdir(tmp_path)
    assert _run(["demo", "--serve"]) == 2
    assert "pip install" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "nothing was begun"
    assert _run(["demo", "--serve", "--json"]) == 2


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path):
    workspace = trained_workspace(tmp_path)
    with served(workspace, "--no-images", **{KEY: GOOD}) as address, client(address, Authorization=BEARER) as us:
        assert address.startswith("http://127.0.0.1:")
        version = us.get("/version").json()
        assert version["run"] == next(path.name for path in workspace.runs.iterdir())
        assert not version["images"]
        answer = us.post("/recommend", json=said("a dress", top=3, explain=True)).json()
        assert len(answer["products"]) == 3
        assert all(each["why"] for each in answer["products"])
        assert us.get("/version", headers={"Authorization": ""}).status_code == 401
