"""``semctl studio connect``: projects of Label Studio ask a run that ``semctl serve`` serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from annotate.label_studio.address import LOOPBACK
from annotate.label_studio.gateway import Gateway, Project, connect
from annotate.label_studio.model_calls import ModelServer, ReservedAddressError
from annotate.label_studio.plain_http import is_loopback, origin, send, server_address
from annotate.label_studio.studio import Studio
from pipeline.batches import read_batches
from pipeline.labelling.assignment_record import projects_of
from pipeline.labelling.live_configuration import known_projects
from pipeline.labelling.prelabelling import run_version
from pipeline.modelling.runs import find_run
from pipeline.serving.server import KEY, api_key
from pipeline.workspace import Workspace
from schemas.errors import LabelError, ModelError, ServiceError, UsageError
from schemas.json_form import json_form

if TYPE_CHECKING:
    import httpx

_SECONDS = 30.0
_LABEL_STUDIO_WAITS = 3.0
"""Seconds, for an answer to ``/setup``."""


@dataclass(frozen=True)
class ConnectRequest:
    """What is to be asked, by whom."""

    run: str = "latest"  # a run's id, or ``latest``
    address: str = "http://127.0.0.1:8090"  # of its server, as Label Studio is to ask it
    projects: Sequence[str] = ()  # names; none: all that this workspace labels in


@dataclass(frozen=True)
class ConnectedProject:
    """A project that asks the run."""

    project: str
    project_id: int
    state: str  # connected, updated or unchanged
    url: str  # at which people open it
    tasks: int
    predictions: int  # that it holds already


@dataclass(frozen=True)
class Connection:
    """Which projects ask which run."""

    run: str
    version: str  # what its predictions are called
    address: str
    key: bool  # whether the server asks for one
    projects: tuple[ConnectedProject, ...]

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self)


def connect_studio(workspace: Workspace, request: ConnectRequest) -> Connection:
    """Let projects ask a run about every task that is opened.

    Every project is checked before the first one is changed.

    Raises:
        ModelError: no such run, or one that predicts no states that can be read.
        UsageError: an address that is none, that serves another run, or that Label Studio cannot mean; a wrong key.
        LabelError: no project, one with another screen, or one that asks another model.
        ServiceError: the run's server or Label Studio does not answer, or the one cannot ask the other.
    """
    run = find_run(workspace, request.run).name
    address = server_address(request.address, "a model's server")
    key = api_key(required=False)
    _check_server(address, key, run)
    gateway = connect(workspace.root)
    own = Studio.of_workspace(workspace.root).address()
    is_own = own is not None and own.url == gateway.url
    if is_loopback(origin(address)[1]) and not is_own and not is_loopback(origin(gateway.url)[1]):
        raise UsageError(
            f"Label Studio at {gateway.url} is another machine: {address} is not this one to it",
            fix="serve with --host and a key, and name this machine's address with --address",
        )
    projects = _projects(workspace, gateway, request.projects)
    for project in projects:
        gateway.check_config(project)
        _check_screen(address, key, project)
    server = ModelServer(address, run_version(run), key)
    found = []
    for project in projects:
        try:
            state = gateway.connect_model(project, server)
        except ReservedAddressError as problem:
            restart = "semctl studio stop, then semctl studio start"
            if own is not None and own.is_open:
                restart += f" with --model-here (and the other options that you gave), for a model at {LOOPBACK}"
            elsewhere = "whoever runs it has to allow that: LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS"
            raise ServiceError(problem.what, where=gateway.url, fix=restart if is_own else elsewhere) from None
        page = f"{gateway.page_url}/projects/{project.id}/data"
        counts = project.tasks, gateway.predictions(project)
        found.append(ConnectedProject(project.title, project.id, state, page, *counts))
    return Connection(run, server.title, address, bool(key), tuple(found))


def _projects(workspace: Workspace, gateway: Gateway, names: Sequence[str]) -> list[Project]:
    """The projects of these names, or all that tasks to label were pushed to and that are on this server."""
    if names:
        titles = dict.fromkeys(title for name in names for title in projects_of(workspace.labelling, name))
        return [gateway.require_project(title) for title in titles]
    known = [project for project in known_projects(read_batches(workspace.labelling)) if project.role == "label"]
    there = gateway.projects_numbered([project.project_id for project in known]) if known else {}
    found = [
        gateway.project(project.project_id)
        for project in known
        if (listed := there.get(project.project_id)) is not None
        and (listed.title == project.title or project.url.rstrip("/") == gateway.url)
    ]
    if not found:
        raise LabelError(
            "this workspace labels in no project of that Label Studio",
            where=gateway.url,
            fix="make one with `semctl export-for-labelling --project NAME`",
        )
    return found


def _check_server(address: str, key: str, run: str) -> None:
    """See that the run is served there.

    Raises:
        ServiceError: nobody answers, or somebody else.
        UsageError: it wants another key, or serves another run.
        ModelError: a run without states that can be read.
    """
    fix = f"serve it with `semctl serve {run}`, or say where it is with --address"
    answer = _ask("GET", f"{address}/version", key, fix)
    if answer.status_code == 401:
        raise UsageError(f"the server at {address} asks for another key", fix=f"set {KEY} as it was set there")
    told = _object(answer)
    if not answer.is_success or not isinstance(told.get("run"), str):
        raise ServiceError("what answers there is not `semctl serve`", where=address, fix=fix)
    if told["run"] != run:
        raise UsageError(
            f"{address} serves the run '{told['run']}', not '{run}'", fix="name that run, or serve this one"
        )
    if told.get("reads_states") is not True:
        raise ModelError(
            f"the run '{run}' predicts no states that can be read",
            fix="serve a run whose preset has grounded states, as `default` has",
        )


def _check_screen(address: str, key: str, project: Project) -> None:
    """See that the server knows a project's screen: Label Studio would only say that it does not.

    Raises:
        LabelError: it does not, with its reason.
        ServiceError: it does not answer, or not in the time that Label Studio waits.
    """
    fix = "see that it is not overloaded, then run this again"
    answer = _ask("POST", f"{address}/setup", key, fix, _LABEL_STUDIO_WAITS, json={"schema": project.label_config})
    if answer.is_success:
        return
    error = _object(answer).get("error")
    told = error if isinstance(error, dict) else {}
    raise LabelError(
        str(told.get("what") or f"the server at {address} refuses this project's screen"),
        where=f"project '{project.title}'",
        fix=told.get("fix") if isinstance(told.get("fix"), str) else None,
    )


def _ask(method: str, url: str, key: str, fix: str, seconds: float = _SECONDS, **request: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        return send(method, url, seconds, headers=headers, **request)
    except ConnectionError:
        raise ServiceError("the run's server does not answer", where=url, fix=fix) from None


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
