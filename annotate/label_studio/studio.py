"""The local Label Studio of a workspace: started on 127.0.0.1, kept to this machine unless asked, stopped for sure.

Its folder is ``WORKSPACE/.studio``, apart from the workspace's data and unreadable for other users::

    credentials.json   login name, password and API token (0600), generated once
    server.json        process id, address and version while it runs
    server.log         what the server printed
    data/              Label Studio's own data: the sqlite database with all projects, and its secret key

Images are served from another folder (see :mod:`annotate.tasks.served_images`) and nothing else of the disk is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from annotate.label_studio import environment as studio_environment
from annotate.label_studio.address import LOOPBACK, ServerAddress
from annotate.label_studio.plain_http import StudioAnswer, ask
from schemas.errors import ServiceError, UsageError, WorkspaceError
from schemas.files import locked, read_json, taken_apart, write_atomic, write_json
from schemas.progress import Progress, SilentProgress
from schemas.safe_text import guard

_START_SECONDS = 300.0
_STOP_SECONDS = 15.0
_USERNAME = "owner@semctl.local"


@dataclass(frozen=True)
class Credentials:
    """How to log in to the local server; the token and password never go into a message or a log."""

    username: str
    password: str
    token: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, password=..., token=...)"


@dataclass(frozen=True)
class StudioStatus:
    """What is known of the local server."""

    running: bool  # whether our server process is alive
    url: str | None  # the address at which semctl asks it
    pid: int | None
    # ``UP`` when it answers, ``DOWN`` when the process lives but does not answer, None when not running
    health: str | None
    version: str | None  # of the running server, else the one installed, or None
    username: str | None
    credentials_file: str
    log: str
    projects: tuple[Mapping[str, Any], ...] = ()  # title and task counts of each project; empty when not running
    page_url: str | None = None  # the address at which people open it
    is_open: bool = False  # whether other machines reach it
    invitation: str | None = None  # where people make an account of their own; whoever has this address can


@dataclass(frozen=True)
class Studio:
    """The local Label Studio of one workspace."""

    folder: Path  # ``WORKSPACE/.studio``
    files: Path  # document root of the images it may serve
    environment: Path  # where Label Studio is installed

    @classmethod
    def of_workspace(cls, root: Path) -> Studio:
        """The studio of the workspace in ``root``."""
        return cls(root / ".studio", root / "labelling" / "files", studio_environment.environment_folder())

    @property
    def credentials_file(self) -> Path:
        return self.folder / "credentials.json"

    @property
    def log_file(self) -> Path:
        return self.folder / "server.log"

    @property
    def _server_file(self) -> Path:
        return self.folder / "server.json"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _database(self) -> Path:
        return self._data / studio_environment.DATABASE

    def start(
        self,
        port: int,
        progress: Progress | None = None,
        *,
        host: str = LOOPBACK,
        public_url: str = "",
        model_here: bool = False,
    ) -> StudioStatus:
        """Install Label Studio if need be, start it detached, and return once it answers.

        A server that already runs is left as it is.

        Args:
            port: where it listens.
            progress: shows how far it is.
            host: the address of this machine on which it listens; ``0.0.0.0``: all of them.
            public_url: the address at which people reach it, where that is another one: a name, or that of a proxy.
            model_here: let it ask a model on this machine even where other machines reach it.

        Raises:
            UsageError: the port is taken, the host is not this machine, the public address is no web address without a
                path, or the server already runs at another address.
            ServiceError: it could not be installed, ended while starting, or did not answer in five minutes.
            WorkspaceError: the database is there but its credentials are not.
        """
        progress = progress or SilentProgress()
        address = ServerAddress.of(host, port, public_url, model_here=model_here)
        studio_environment.install(self.environment, progress)
        self._make_folders()
        with locked(self.folder / "lock"):
            running = self._server()
            if running is not None:
                if _address(running) != address:
                    raise UsageError(
                        f"Label Studio already runs at {_address(running).page_url}",
                        fix="stop it with `semctl studio stop` to change its address",
                    )
                return self.status()
            address.require_free()
            credentials = self._make_credentials()
            self._make_database(progress)
            process = self._launch(address, credentials)
            progress.log("starting Label Studio")
            try:
                with progress.task("starting Label Studio"):
                    version = self._wait(process, address.url, credentials)
            except BaseException:
                _end_group(process.pid)
                process.wait()
                raise
            server = {"pid": process.pid, "born": _born(process.pid), "version": version, "url": address.url}
            write_json(self._server_file, {**server, **asdict(address)})
        return self.status()

    def stop(self) -> bool:
        """End the server and its children; True when one was running. A stale process file is removed."""
        if not self.folder.is_dir():
            return False
        with locked(self.folder / "lock"):
            running = self._server()
            if running is not None:
                _end_group(running["pid"])
            self._server_file.unlink(missing_ok=True)
        return running is not None

    def status(self) -> StudioStatus:
        """What is known of the server now."""
        running = self._server()
        credentials = self.credentials()
        health: str | None = None
        projects: tuple[Mapping[str, Any], ...] = ()
        address = _address(running) if running else None
        invitation = None
        if running is not None:
            health = ask(running["url"], "/health").value("status") or "DOWN"
            if health == "UP" and credentials is not None:
                projects = _projects(running["url"], credentials.token)
                invitation = self.invitation()
        return StudioStatus(
            running=running is not None,
            url=running["url"] if running else None,
            pid=running["pid"] if running else None,
            health=health,
            version=running["version"] if running else studio_environment.installed_version(self.environment),
            username=credentials.username if credentials else None,
            credentials_file=str(self.credentials_file),
            log=str(self.log_file),
            projects=projects,
            page_url=address.page_url if address else None,
            is_open=address is not None and address.is_open,
            invitation=invitation,
        )

    def credentials(self) -> Credentials | None:
        """The generated login, or None before the first start."""
        file = self.credentials_file
        if not file.is_file() or not file.stat().st_size:  # empty: killed while an older semctl made it
            return None
        fix = f"restore it, or move it and {self._data} away to start with an empty server"
        value = read_json(file, error=WorkspaceError, fix=fix)
        with taken_apart(file, error=WorkspaceError, fix=fix):
            found = Credentials(*(_text(value[name]) for name in ("username", "password", "token")))
        guard(found.password)
        guard(found.token)
        return found

    def url(self) -> str | None:
        """The address at which semctl asks the running server, or None."""
        running = self._server()
        return running["url"] if running else None

    def address(self) -> ServerAddress | None:
        """Where the running server listens and is reached, or None."""
        running = self._server()
        return _address(running) if running else None

    def invitation(self, *, new: bool = False) -> str:
        """The address at which people make an account of their own at the running server.

        Args:
            new: make another one, after which the one before invites nobody.

        Raises:
            ServiceError: it does not run, or does not answer.
        """
        running, credentials = self._server(), self.credentials()
        if running is None or credentials is None:
            raise ServiceError("Label Studio is not running", fix="start it with `semctl studio start`")
        path, method = ("/api/invite/reset-token", "POST") if new else ("/api/invite", "GET")
        invited = ask(running["url"], path, token=credentials.token, method=method).value("invite_url")
        if not isinstance(invited, str):
            raise ServiceError("Label Studio gave no invitation", where=running["url"], fix="see its log; try again")
        return _address(running).page_url + invited

    def _make_folders(self) -> None:
        try:
            self.files.mkdir(parents=True, exist_ok=True)
            self._data.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            (self.folder / ".gitignore").write_text("*\n")
        except OSError as problem:
            raise UsageError(f"cannot write the studio's folder: {problem.strerror}", where=self.folder) from None

    def _make_credentials(self) -> Credentials:
        known = self.credentials()
        if known is not None:
            return known
        if self._database.exists():
            raise WorkspaceError(
                "Label Studio's database is there, its credentials are not",
                where=self.credentials_file,
                fix=f"restore that file, or move {self._data} away to start with an empty server",
            )
        made = Credentials(_USERNAME, secrets.token_urlsafe(12), secrets.token_hex(20))
        content = {"username": made.username, "password": made.password, "token": made.token}
        write_json(self.credentials_file, content, mode=0o600)
        return self.credentials() or made

    def _make_database(self, progress: Progress) -> None:
        if self._database.exists():
            return
        try:
            write_atomic(self._database, studio_environment.empty_database(self.environment, progress), mode=0o600)
        except OSError as problem:  # as in an environment that another user installed: the server makes its own
            progress.log(f"the first start takes about a minute: cannot keep an empty database ({problem.strerror})")

    def _launch(self, address: ServerAddress, credentials: Credentials) -> subprocess.Popen[bytes]:
        settings = {
            **address.settings(),
            "LABEL_STUDIO_BASE_DATA_DIR": str(self._data),
            "LABEL_STUDIO_USERNAME": credentials.username,
            "LABEL_STUDIO_PASSWORD": credentials.password,
            "LABEL_STUDIO_USER_TOKEN": credentials.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self.files),
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            **studio_environment.QUIET,
            "DEBUG": "false",
            "PYTHONUNBUFFERED": "1",
        }
        command = [str(self.environment / "bin" / "label-studio"), "start", "--no-browser"]
        command += ["--internal-host", address.host, "--port", str(address.port)]
        handle = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as log:
            return subprocess.Popen(
                command,
                env=studio_environment.clean_environment() | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )

    def _wait(self, process: subprocess.Popen[bytes], url: str, credentials: Credentials) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServiceError(
                    f"Label Studio ended while starting: {self._last_words() or 'it said nothing'}",
                    where=self.log_file,
                    fix="see its log",
                )
            if ask(url, "/health").value("status") == "UP":
                version = ask(url, "/api/version").value("release")
                # our token proves that it is our server that answers: a port taken meanwhile makes it move to the next
                who = ask(url, "/api/current-user/whoami", token=credentials.token)
                if isinstance(version, str) and who.value("email") == credentials.username:
                    return version
                if who.status in (401, 403):
                    raise ServiceError(
                        "the server at this port does not know our token", where=url, fix="try another --port"
                    )
            time.sleep(0.5)
        raise ServiceError(f"Label Studio did not answer in {_START_SECONDS:.0f} s", where=self.log_file)

    def _last_words(self) -> str:
        try:
            return studio_environment.last_line(self.log_file.read_text(errors="replace"))
        except OSError:
            return ""

    def _server(self) -> dict[str, Any] | None:
        """The record of our server, when that very process is alive."""
        if not self._server_file.is_file():
            return None
        record = read_json(self._server_file, error=WorkspaceError, fix="remove that file")
        with taken_apart(self._server_file, error=WorkspaceError, fix="remove that file"):
            found: dict[str, Any] = {name: _text(record[name]) for name in ("born", "url", "version")}
            found |= {name: int(record[name]) for name in ("pid", "port")}
            found |= {name: str(record[name]) for name in ("host", "public_url") if name in record}  # older: neither
            found["model_here"] = record.get("model_here") is True
        return found if _born(found["pid"]) == found["born"] else None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("no text")
    return value


def _address(record: Mapping[str, Any]) -> ServerAddress:
    return ServerAddress(
        record.get("host", LOOPBACK), record["port"], record.get("public_url", ""), record["model_here"]
    )


def _projects(url: str, token: str) -> tuple[Mapping[str, Any], ...]:
    found: list[Mapping[str, Any]] = []
    page = 1
    while True:
        answer: StudioAnswer = ask(url, f"/api/projects?page={page}&page_size=100", token=token)
        results = answer.value("results")
        if not isinstance(results, list):
            return tuple(found)
        for item in results:
            counts = {"tasks": item.get("task_number") or 0, "annotations": item.get("total_annotations_number") or 0}
            found.append({"id": item.get("id"), "title": item.get("title"), **counts})
        if not answer.value("next"):
            return tuple(found)
        page += 1


def _born(pid: int) -> str | None:
    """When a process started, so that a reused process id is not taken for ours; None when it is gone."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    shown = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    text = shown.stdout.strip()
    return None if not text or text.startswith("Z") else text.split(maxsplit=1)[1]


def _end_group(pid: int) -> None:
    """Ask a process group to end; what is left after a while is killed."""
    _signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while _born(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    deadline = time.monotonic() + _STOP_SECONDS
    while _signal_group(pid, signal.SIGKILL) and time.monotonic() < deadline:
        time.sleep(0.05)


def _signal_group(pid: int, number: int) -> bool:
    """Signal a process group; False when nobody is in it any more."""
    with contextlib.suppress(ChildProcessError):  # only in the process that started it
        os.waitpid(pid, os.WNOHANG)
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
