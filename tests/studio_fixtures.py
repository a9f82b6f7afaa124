"""One real Label Studio for all tests that need one; its first start takes about a minute."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from annotate.label_studio.environment import environment_folder, installed_version
from annotate.label_studio.gateway import Gateway, Project
from annotate.label_studio.studio import Studio
from tests.skipping import skip_or_fail


@dataclass(frozen=True)
class RunningStudio:
    """A started server.

    Attributes:
        root: the workspace folder it belongs to; its images are those of ``root/labelling/files``.
        url: its address.
        token: a legacy API token.
    """

    root: Path
    url: str
    token: str
    studio: Studio

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which semctl finds it from any workspace."""
        return {"LABEL_STUDIO_URL": self.url, "LABEL_STUDIO_API_KEY": self.token}


def whole_export(gateway: Gateway, project: Project, path: Path) -> Path:
    """Write the JSON export of all tasks of a project to a file."""
    gateway.export_tasks(project, [head.id for head in gateway.task_heads(project)], path)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def studio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A Label Studio started by semctl itself on a free port, stopped for sure at the end."""
    if installed_version(environment_folder()) is None:
        skip_or_fail("studio", f"no Label Studio in {environment_folder()}; set SEMCTL_STUDIO_ENV or start one once")
    root = tmp_path_factory.mktemp("studio")
    studio = Studio.of_workspace(root)
    status = studio.start(free_port())
    credentials = studio.credentials()
    assert credentials is not None
    assert status.url is not None
    assert status.pid is not None
    yield RunningStudio(root, status.url, credentials.token, studio)
    assert studio.stop()
    with pytest.raises(ProcessLookupError):
        os.killpg(status.pid, 0)


@pytest.fixture
def studio_variables(studio_server: RunningStudio, monkeypatch: pytest.MonkeyPatch) -> RunningStudio:
    """The server, named by environment variables."""
    for name, value in studio_server.environment.items():
        monkeypatch.setenv(name, value)
    return studio_server


@pytest.fixture(scope="session")
def personal_token(studio_server: RunningStudio) -> str:
    """A personal access token; the server gives a user only one and never shows it again."""
    headers = {"Authorization": f"Token {studio_server.token}"}
    made = httpx.post(f"{studio_server.url}/api/token/", headers=headers, json={}, trust_env=False)
    assert made.status_code == 201, made.text
    return str(made.json()["token"])
