"""Commands of semctl in forked processes, killed at a file operation: what they import is imported once for all.

``python -m tests.fork_server`` imports, then reads a request a line and forks for each.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("schemas", "annotate", "semantic_model", "pipeline")
_LATE = "fcntl PIL.Image PIL.PngImagePlugin ijson jinja2 pandas pyarrow.parquet safetensors.torch tokenizers torch"
_LATE += " torch.utils.tensorboard torchvision matplotlib.backends.backend_agg matplotlib.pyplot httpx httpcore"
_LATE += " tempfile multiprocessing.pool concurrent.futures.thread concurrent.futures.process scipy.stats rapidfuzz"
"""What semctl imports inside functions."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_PLACES = {
    "os.rename": (0, 1), "os.remove": (0,), "os.mkdir": (0,), "os.rmdir": (0,), "os.link": (0, 1), "open": (0,),
    "os.symlink": (0, 1), "os.chmod": (0,), "os.truncate": (0,),
}  # fmt: skip
"""Audit event -> which of its arguments are paths."""


_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"}
NETWORK = 99
"""Exit code of a command that was to stay offline and did not."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # negative: killed
    operations: int  # files that it opened to write, renamed, removed, .. below its folder; 0 when it was killed
    out: str
    err: str


class ForkServer:
    """A process that has imported everything and forks for each command; made by :func:`fork_server`."""

    def __init__(self, process: subprocess.Popen[str], talk: Path) -> None:
        self._process = process
        self._talk = talk

    def run(self, arguments: Sequence[str], folder: Path, at: int = 0, *, online: bool = True) -> Ended:
        """Run ``semctl ARGUMENTS`` in a folder, killed by ``SIGKILL`` just before its ``at``-th file operation there.

        Args:
            online: False ends it with :data:`NETWORK` as soon as it looks up a name or connects to another machine.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"arguments": [*arguments], "folder": os.path.realpath(folder), "at": at, "online": online}
        self._process.stdin.write(json.dumps({**asked, "talk": str(self._talk)}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the fork server has gone"
        counted = self._talk / "operations"
        operations = int(counted.read_text()) if counted.exists() else 0
        counted.unlink(missing_ok=True)
        out, err = ((self._talk / name).read_text(errors="replace") for name in ("out", "err"))
        return Ended(int(line), operations, out, err)


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    """Start one; it ends with the block."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for name in ("SEMCTL_WORKSPACE", "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "SEMCTL_LLM_URL"):
        variables.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="semctl-forks-") as talk:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=variables,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield ForkServer(process, Path(talk))
        finally:
            process.kill()
            process.communicate()


def _watch(folder: str, at: int, online: bool, counted: Path) -> Any:
    """Count file operations below a folder, and end the process at one of them, or at one of the network."""
    seen, lock = 0, threading.Lock()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if not online and event in _NETWORK and not _is_here(event, arguments):
            os.write(2, f"network: {event} {arguments}\n".encode())
            os._exit(NETWORK)
        places = _PLACES.get(event)
        if places is None or (event == "open" and not (arguments[2] or 0) & _WRITES):
            return
        paths = [os.fsdecode(arguments[i]) for i in places if isinstance(arguments[i], str | bytes | os.PathLike)]
        if any(os.path.abspath(path).startswith(folder) for path in paths):
            with lock:
                seen += 1
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return lambda: counted.write_text(str(seen))


def _is_here(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an event of sockets stays on this machine: a Unix socket, or the numbers of an address to listen on."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
        return isinstance(host, str) and host.replace(".", "").isdecimal()
    return isinstance(arguments[1], str | bytes)


def _child(asked: dict[str, Any]) -> int:
    talk = Path(asked["talk"])
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(talk / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(asked["folder"])
    from pipeline.cli import _run

    if "serve" in asked["arguments"]:
        import uvicorn

        uvicorn.Server.run = lambda self, sockets=None: None  # type: ignore[method-assign]  # ends once it has begun
    tell = _watch(asked["folder"], asked["at"], asked["online"], talk / "operations")
    code = _run(asked["arguments"])
    tell()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _import_all() -> None:
    for package in map(importlib.import_module, _PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in _LATE.split():
        with suppress(ImportError):
            importlib.import_module(name)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _main() -> None:
    _import_all()
    _say("ready")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _child(json.loads(line))
            except BaseException:
                import traceback

                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        _say(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))


if __name__ == "__main__":
    _main()
