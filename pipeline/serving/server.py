"""``semctl serve``: a run behind an address, until it is interrupted."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.label_studio.plain_http import is_key, is_loopback
from pipeline.workspace import Workspace
from schemas.errors import MissingPartError, SemctlError, UsageError
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.safe_text import guard

if TYPE_CHECKING:
    from pipeline.serving.app import AppSettings

KEY = "SEMCTL_API_KEY"
"""The environment variable that holds the key."""

_SHORTEST_KEY = 16
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeRequest:
    """What to serve, and where."""

    run: str = "latest"  # a run's id, or ``latest``
    host: str = "127.0.0.1"  # an address of this machine
    port: int = 8090  # 0: any that is free
    images: bool = True  # False leaves every image out
    product_table: str = "float32"  # how exactly encoded products are kept
    keep_corrections: bool = False  # corrections made on the page are kept in the workspace, with their conversations


@dataclass(frozen=True)
class Serving:
    """What is served, once it listens."""

    run: str
    address: str
    products: int
    key: bool  # whether requests need one
    kept_in: str | None = None  # the file that corrections go to; None where nothing is kept

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self)


def serve(
    workspace: Workspace, request: ServeRequest, *, started: Callable[[Serving], None], progress: Progress | None = None
) -> None:
    """Answer requests until the process is interrupted.

    Args:
        started: called once requests are answered.

    Raises:
        MissingPartError: the packages of the extra ``serve`` are not installed.
        UsageError: an address of another machine, a port that is taken, no key where one is needed, or one too short.
        WorkspaceError: not a workspace, or nothing was imported.
        ModelError: no such run, or one that cannot be used.
    """
    require_packages()
    import uvicorn

    from pipeline.serving.app import AppSettings, make_app
    from pipeline.serving.service import Service

    shown = progress or SilentProgress()
    local = is_loopback(request.host)
    key = api_key(required=not local)
    listening = _listen(request)
    with listening:
        service = Service(
            workspace, request.run, images=request.images, product_table=request.product_table, progress=shown
        )
        port = listening.getsockname()[1]
        settings: AppSettings = AppSettings(
            api_key=key, hosts=_LOCAL_NAMES if local else (), keep_corrections=request.keep_corrections
        )
        shown_host = f"[{request.host}]" if ":" in request.host else request.host
        serving = Serving(
            service.run,
            f"http://{shown_host}:{port}/",
            len(service.shop.recommender.corpus.products),
            bool(key),
            str(workspace.page_corrections) if request.keep_corrections else None,
        )

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if self.started:
                    started(serving)

        config = uvicorn.Config(
            make_app(service, settings, shown),
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            limit_concurrency=1024,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            ws="none",
            lifespan="on",
            interface="asgi3",
        )
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # bugs are told by the app
        server = Server(config)
        try:
            server.run(sockets=[listening])
        except SystemExit:  # uvicorn's answer when it cannot begin
            raise SemctlError("the server could not begin to answer", fix="report this") from None


def require_packages() -> None:
    """Refuse to begin without the packages of the extra ``serve``.

    Raises:
        MissingPartError: one is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise MissingPartError(
            f"serving needs packages that are not installed: {', '.join(missing)}", fix="pip install 'semctl[serve]'"
        )


def api_key(*, required: bool) -> str:
    """The key of the environment; empty where there is none and none is needed.

    Raises:
        UsageError: none where one is needed, one that is too short, or one that no header can carry.
    """
    key = os.environ.get(KEY, "").strip()
    guard(key)
    if not key and required:
        raise UsageError(
            "other machines can reach this address, so that a key is needed",
            fix=f"set {KEY} to a long random text, as `openssl rand -hex 24` makes one, or leave --host out",
        )
    if key and not (is_key(key) and len(key) >= _SHORTEST_KEY):
        raise UsageError(
            f"the key in {KEY} is not at least {_SHORTEST_KEY} visible ASCII characters",
            fix="take one that `openssl rand -hex 24` makes",
        )
    return key


def _listen(request: ServeRequest) -> socket.socket:
    """A socket on the address.

    Raises:
        UsageError: it is not of this machine, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            request.host, request.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise UsageError(f"'{request.host}' is no address", fix="give --host an address of this machine") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as problem:
        listening.close()
        raise UsageError(
            f"cannot listen on {request.host}, port {request.port}: {problem.strerror}",
            fix="name another one with --port, or an address of this machine with --host",
        ) from None
    return listening
