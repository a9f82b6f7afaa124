"""Label Studio's own Python environment.

The server pins packages (pyarrow below 25, numpy 2.2) that do not go with semctl's, so it is installed apart, once for
all workspaces of a user: ``$SEMCTL_STUDIO_ENV``, else ``$XDG_DATA_HOME/semctl/label-studio-1.23``, else
``~/.local/share/semctl/label-studio-1.23``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from schemas.errors import ServiceError, UsageError
from schemas.files import locked, temporary_folder
from schemas.progress import Progress, SilentProgress, Task

SERIES = "1.23"
REQUIREMENT = "label-studio>=1.23.2,<1.24"
"""Below 1.23.2 Label Studio has known cross-site scripting holes."""

DATABASE = "label_studio.sqlite3"
"""In a server's data folder."""

QUIET = {"COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "false"}
"""Settings with which the server calls nobody."""

_INSTALLED = "lib/python3*/site-packages/*.dist-info/RECORD"
_LOG = "install.log"
_POLL_SECONDS = 0.3
_FOREIGN = (
    "LABEL_STUDIO_",
    "HEARTEX_",
    "HOST",
    "PORT",
    "PIP_REQUIRE_",
    "VIRTUAL_ENV",
    "PYTHONHOME",
    "PYTHONPATH",
    "__PYVENV_LAUNCHER__",
)


def environment_folder() -> Path:
    """Where the server's environment is, or will be."""
    named = os.environ.get("SEMCTL_STUDIO_ENV")
    if named:
        return Path(named).expanduser().resolve()
    data_home = os.environ.get("XDG_DATA_HOME")
    base = Path(data_home) if data_home else Path.home() / ".local" / "share"
    return base / "semctl" / f"label-studio-{SERIES}"


def installed_version(environment: Path) -> str | None:
    """The version of Label Studio that is completely installed in an environment, or None.

    pip installs dependencies first and writes a package's RECORD last, so an interrupted installation has no version.
    """
    if not (environment / "bin" / "label-studio").is_file():
        return None
    for record in environment.glob("lib/python3*/site-packages/label_studio-*.dist-info/RECORD"):
        match = re.fullmatch(r"label_studio-(.+)\.dist-info", record.parent.name)
        if match:
            return match.group(1)
    return None


def install(environment: Path, progress: Progress | None = None) -> str:
    """Install Label Studio unless it is there, and return its version. Safe to run again after an interruption.

    Raises:
        UsageError: the folder holds another version, something that is not an environment, or cannot be written.
        ServiceError: pip could not fetch or install it.
    """
    progress = progress or SilentProgress()
    try:
        environment.parent.mkdir(parents=True, exist_ok=True)
        with locked(environment.parent / f".{environment.name}.lock"):
            version = installed_version(environment)
            if version is None:
                _refuse_foreign_folder(environment)
                _build(environment, progress)
                version = installed_version(environment)
    except OSError as problem:
        raise UsageError(
            f"cannot install Label Studio here: {problem.strerror}", where=environment, fix="set SEMCTL_STUDIO_ENV"
        ) from None
    if version is None:
        raise ServiceError("pip finished, but Label Studio is not installed", where=environment, fix=f"see {_LOG}")
    if not version.startswith(f"{SERIES}."):
        raise UsageError(
            f"this is Label Studio {version}, semctl works with {SERIES}.x",
            where=environment,
            fix="set SEMCTL_STUDIO_ENV to another folder, or unset it",
        )
    return version


def empty_database(environment: Path, progress: Progress | None = None) -> bytes:
    """Label Studio's SQLite database before anybody used it, made once for each installed version.

    Some hundred migrations build it, which takes most of a server's first start; a copy takes none of it.

    Raises:
        ServiceError: Label Studio could not make it.
        OSError: the environment cannot be written.
    """
    progress = progress or SilentProgress()
    kept = environment / f"empty-{installed_version(environment)}.sqlite3"
    with locked(environment.parent / f".{environment.name}.lock"):
        if not kept.is_file():
            progress.log("making Label Studio's database, once for all workspaces; takes about a minute")
            with progress.task("making the database"), temporary_folder(kept) as folder:
                settings = {"LABEL_STUDIO_BASE_DATA_DIR": str(folder), "DJANGO_DB": "sqlite", **QUIET}
                command = [str(environment / "bin" / "label-studio"), "version"]  # migrates before it answers
                done = subprocess.run(
                    command,
                    env=clean_environment() | settings,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    check=False,
                )
                made = folder / DATABASE
                if done.returncode != 0 or not made.is_file():
                    said = next(
                        (line.strip() for line in reversed(done.stdout.splitlines()) if line.strip()), "nothing"
                    )
                    raise ServiceError(f"Label Studio could not make its database: {said}", where=environment)
                made.replace(kept)
        return kept.read_bytes()


def last_line(said: str) -> str:
    """The last line that is not blank; empty where there is none."""
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")


def _refuse_foreign_folder(environment: Path) -> None:
    foreign = environment.exists() and any(path.name != _LOG for path in environment.iterdir())
    if foreign and not (environment / "pyvenv.cfg").is_file():
        raise UsageError(
            "the folder for Label Studio's environment is not empty", where=environment, fix="set SEMCTL_STUDIO_ENV"
        )


def _build(environment: Path, progress: Progress) -> None:
    progress.log(f"installing Label Studio {SERIES} in an environment of its own (about 1.1 GB): {environment}")
    _run([sys.executable, "-m", "venv", str(environment)], environment, progress)
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    _run([str(environment / "bin" / "python"), "-m", "pip", "install", *options, REQUIREMENT], environment, progress)


def _run(command: list[str], environment: Path, progress: Progress) -> None:
    """Run a command of the installation; what it prints goes to ``install.log`` and moves the bars."""
    environment.mkdir(exist_ok=True)
    log = environment / _LOG
    with log.open("ab") as file:
        begin = file.tell()
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=clean_environment()
        )
    try:
        with progress.task("fetching Label Studio's packages") as fetching:
            packages = _watch(process, fetching, lambda: _fetched(log, begin))
        if packages:
            progress.log(f"{packages} packages are fetched; installing them takes up to five minutes")
            before = len([*environment.glob(_INSTALLED)])
            with progress.task("installing them", total=packages) as installing:
                _watch(process, installing, lambda: (len([*environment.glob(_INSTALLED)]) - before, 0))
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code != 0:
        lines = log.read_text(errors="replace").splitlines()
        said = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "no output")
        raise ServiceError(
            f"could not install Label Studio: {said.strip()}", where=log, fix="check the network, then run it again"
        )


def _watch(process: subprocess.Popen[bytes], task: Task, count: Callable[[], tuple[int, int]]) -> int:
    """Move a bar to what ``count`` says, until the process ends or the second number it gives is known; return that."""
    shown = 0
    while True:
        over = process.poll() is not None
        done, found = count()
        task.advance(max(done - shown, 0))
        shown = max(done, shown)
        if over or found:
            return found
        time.sleep(_POLL_SECONDS)


def _fetched(log: Path, begin: int) -> tuple[int, int]:
    """How many packages pip has fetched, and how many it installs, 0 until it says so."""
    with log.open("rb") as file:
        file.seek(begin)
        said = file.read().decode(errors="replace")
    installs = re.search(r"^Installing collected packages: (.+)$", said, re.MULTILINE)
    return len(re.findall(r"^Collecting ", said, re.MULTILINE)), len(installs[1].split(",")) if installs else 0


def clean_environment() -> dict[str, str]:
    """This process's environment without what would leak into the server's: our venv, Label Studio settings, tokens."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
