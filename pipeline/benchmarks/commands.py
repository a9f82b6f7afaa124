"""What a command takes, against the least it could: the interpreter, the libraries it stands on, and its own work.

In processor seconds, on a workspace with 20 dialogues to label. The floor is the sum of two processes' times: one that
only imports the libraries, and the second of two runs of the command within one process, where everything is imported.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.benchmarks.measure import Goal, Options, compared
from schemas.errors import SemctlError

_SCREEN = """import typer, rich.console, rich.table, rich.progress, orjson
app = typer.Typer()
app.command()(lambda: None)
app([], standalone_mode=False)
"""
_SETTINGS = f"{_SCREEN}import pydantic\n"
_TABLES = f"{_SETTINGS}import numpy, pyarrow.parquet\n"
_ROWS = f"{_TABLES}pyarrow.array([''])\n"  # of Python's own values: pyarrow looks whether they are pandas'

COMMANDS: dict[str, tuple[list[str], str]] = {
    "--help": (["--help"], _SCREEN),
    "config show": (["config", "show"], _SETTINGS),
    "ontology show": (["ontology", "show"], _SETTINGS),
    "stats": (["stats"], f"{_ROWS}import pyarrow.compute, pyarrow.dataset, pyarrow.acero"),
    "select": (["select", "-n", "5"], _TABLES),
    "export-for-labelling": (
        ["export-for-labelling", "--to-file", "tasks.json"],
        f"{_TABLES}import jinja2, rapidfuzz.distance, PIL.Image",
    ),
    "progress": (["progress"], _TABLES),
    "ingest-labels": (["ingest-labels"], f"{_ROWS}import ijson"),
    "checks": (["checks"], _TABLES),
    "agreement": (["agreement"], _ROWS),
    "diff": (["diff"], _ROWS),
    "doctor": (["doctor"], f"{_TABLES}import torch; torch.cuda.is_available()"),
}
"""Name -> its arguments, and the code that imports the libraries it cannot do without."""

_WARM = """
import os, sys, time
from pipeline.cli import _run
kept = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
_run(sys.argv[1:])
start = time.process_time()
_run(sys.argv[1:])
took = time.process_time() - start
os.write(kept, str(took).encode())
"""


def benchmark(options: Options) -> list[dict[str, Any]]:
    """One row for each of :data:`COMMANDS`; at most 1.5 times the floor is the goal."""
    rounds = options.rounds or 5
    found = []
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        for made in (
            ["generate", "corpus", "--size", "test", "--seed", "1"],
            ["-w", ".", "import", "corpus", "--format", "mmd"],
        ):
            _processor_seconds("-m", "pipeline.cli", "-q", *made, at=at)
        for name, (arguments, libraries) in options.progress.track(COMMANDS.items(), "commands"):
            command = ["-q", "-w", ".", *arguments]
            seconds, floors = [], []
            for _ in range(rounds):
                seconds.append(_processor_seconds("-m", "pipeline.cli", *command, at=at)[0])
                imports, _said = _processor_seconds("-c", libraries, at=at)
                floors.append(imports + float(_processor_seconds("-c", _WARM, *command, at=at)[1]))
            against = "what its libraries and its own work take"
            found.append(compared(name, against, seconds, floors, Goal("at most", 1.5), faster=False))
    return found


def _processor_seconds(*arguments: str, at: Path) -> tuple[float, str]:
    """Of a Python process, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO_")}
    variables["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=at, env=variables, check=False)
    if ended.returncode not in (0, 3):  # doctor's 3 is an answer
        raise SemctlError(f"a measured command failed: {' '.join(arguments)}: {ended.stderr.strip()[-200:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended.stdout
