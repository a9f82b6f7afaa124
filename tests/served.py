"""Servers for tests: the command in a process of its own, and an app in a thread of this one."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import uvicorn

from pipeline.modelling.train import TrainRequest, train
from pipeline.serving.app import AppSettings, make_app
from pipeline.serving.service import Service
from pipeline.workspace import Workspace
from schemas.progress import Progress, SilentProgress
from tests.generated_workspace import generated_workspace

ROOT = Path(__file__).resolve().parent.parent


def trained_workspace(folder: Path) -> Workspace:
    """The generated workspace with a run that believes in values: a copy, as it is trained once a process."""
    shutil.copytree(_trained(), folder, dirs_exist_ok=True)
    return Workspace(folder / "shop")


@cache
def _trained() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="semctl-served-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    workspace = generated_workspace(folder)
    train(workspace, TrainRequest(labeled_ratio=0.2, preset="tiny", epochs=1, settings=("model.kind=grounded",)))
    return folder


def command(workspace: Workspace, *options: str) -> list[str]:
    """``semctl serve`` on any free port."""
    return [sys.executable, "-m", "pipeline.cli", "-w", str(workspace.root), "serve", "--port", "0", "--json", *options]


@contextmanager
def served(workspace: Workspace, *options: str, **variables: str) -> Iterator[str]:
    """The address of the command's server, which is interrupted at the end and has to end as one does."""
    process = subprocess.Popen(
        command(workspace, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            lines.append(line)
        yield str(json.loads("".join(lines))["address"])
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.communicate()


@contextmanager
def in_thread(
    workspace: Workspace, run: str = "latest", settings: AppSettings | None = None, progress: Progress | None = None
) -> Iterator[tuple[str, Service]]:
    """The address of an app, and what it serves."""
    shown = progress or SilentProgress()
    service = Service(workspace, run, images=True, product_table="float32", progress=shown)
    listening = socket.create_server(("127.0.0.1", 0))
    app = make_app(service, settings or AppSettings(look_every=0.05), shown)
    server = uvicorn.Server(uvicorn.Config(app, interface="asgi3", log_config=None, access_log=False))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", service
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def client(address: str, **more: str) -> httpx.Client:
    """A client of an address."""
    return httpx.Client(base_url=address, timeout=60, trust_env=False, headers=more)


def said(text: str, **more: object) -> dict[str, object]:
    """A request of one utterance."""
    return {"turns": [{"speaker": "user", "text": text}], **more}
