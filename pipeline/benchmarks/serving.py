"""How ``semctl serve`` holds under load: many clients at once for a minute, beside one request at a time.

A server of its own is started on the workspace's newest run. Clients ask without a pause, each the next of the corpus's
dialogues as far as one of its user turns; all of them share this machine with the server. An answer that is not whole
is an error.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from pipeline.benchmarks.measure import Goal, Options, row
from pipeline.modelling.runs import load_corpus
from pipeline.workspace import Workspace
from schemas.errors import SemctlError

if TYPE_CHECKING:
    import httpx

CLIENTS, SECONDS, TOP = 64, 60.0, 10
GOAL = Goal("at least", 1.0)
NO_ERRORS = Goal("at most", 0)

_ASKED = 2000  # different requests, at most
_PATIENCE = 120.0  # seconds until a client gives an answer up, which is an error
_WARM = 3.0  # seconds before anything counts


@dataclass
class Load:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)  # of each answer
    errors: list[str] = field(default_factory=list)
    took: float = 0.0  # seconds in all

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.took

    def percentile(self, percent: float) -> float:
        """Seconds within which so many of the answers came."""
        return float(np.percentile(self.seconds, percent)) if self.seconds else float("nan")


def benchmark(options: Options) -> list[dict[str, Any]]:
    """``--size`` clients (64) at once for ``--seconds`` (60), and one client for as long; ``--rounds`` times (once).

    Raises:
        WorkspaceError: not a workspace, or nothing was imported.
        ModelError: no run.
        SemctlError: the server did not start.
    """
    from pipeline.serving.server import require_packages

    require_packages()
    workspace = Workspace(options.workspace or Path()).require()
    requests = _requests(workspace)
    lasting = options.seconds or SECONDS
    found = []
    with _server(workspace) as address:
        for clients in options.sizes or (CLIENTS,):
            rounds: list[tuple[Load, Load]] = []
            for _ in options.progress.track(range(options.rounds or 1), f"{clients} clients"):
                asyncio.run(_load(address, requests, clients, min(_WARM, lasting)))
                together = asyncio.run(_load(address, requests, clients, lasting))
                rounds.append((together, asyncio.run(_load(address, requests, 1, lasting))))
            found += _rows(clients, rounds)
    return found


def tables(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[str], list[list[object]]]]:
    """How long answers took."""
    lines: list[list[object]] = [
        [load["clients"], load["answers"], load["errors"], load["rate"], 1000 * load["p50"], 1000 * load["p95"]]
        for each in rows
        for load in each.get("loads", [])
    ]
    yield "Answers", ["clients", "answers", "errors", "a second", "p50 (ms)", "p95 (ms)"], lines


def _rows(clients: int, rounds: Sequence[tuple[Load, Load]]) -> list[dict[str, Any]]:
    ratios = sorted(together.rate / alone.rate for together, alone in rounds)
    loads = [
        {
            "clients": count,
            "answers": sum(len(load.seconds) for load in each),
            "errors": sum(len(load.errors) for load in each),
            "rate": median(load.rate for load in each),
            "p50": median(load.percentile(50) for load in each),
            "p95": median(load.percentile(95) for load in each),
        }
        for count, each in zip((clients, 1), zip(*rounds, strict=True), strict=True)
    ]
    wrong = [error for pair in rounds for load in pair for error in load.errors]
    return [
        row(
            f"answers a second to {clients} clients at once",
            median(ratios),
            "times those to one request at a time",
            GOAL,
            seconds=rounds[0][0].took,
            ratios=[ratios[0], ratios[-1]],
            rounds=len(rounds),
            loads=loads,
        ),
        row("errors", len(wrong), f"of {sum(load['answers'] for load in loads)} answers", NO_ERRORS, first=wrong[:3]),
    ]


def _requests(workspace: Workspace) -> list[bytes]:
    """Dialogues as far as each user turn, as bodies."""
    corpus = load_corpus(workspace)
    found = []
    for dialogue in corpus.splits:
        turns = [
            {
                "speaker": said.speaker,
                "text": said.text,
                "images": [i for i in said.image_ids if i in corpus.image_files],
            }
            for _, said in corpus.utterances(dialogue)
        ]
        found += [
            orjson.dumps({"turns": turns[: end + 1], "top": TOP})
            for end, turn in enumerate(turns[:200])
            if turn["speaker"] == "user" and (str(turn["text"]).strip() or turn["images"])
        ]
    step = max(1, len(found) // _ASKED)
    return found[::step]


async def _load(address: str, requests: Sequence[bytes], clients: int, lasting: float) -> Load:
    import httpx

    found = Load()
    waiting = cycle(requests)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=_PATIENCE, trust_env=False) as client:
        began = time.perf_counter()

        async def asking() -> None:
            while time.perf_counter() < began + lasting:
                await _ask(client, next(waiting), found)

        await asyncio.gather(*(asking() for _ in range(clients)))
        found.took = time.perf_counter() - began
    return found


async def _ask(client: httpx.AsyncClient, body: bytes, load: Load) -> None:
    import httpx

    began = time.perf_counter()
    try:
        answer = await client.post("/recommend", content=body, headers={"Content-Type": "application/json"})
        if answer.status_code != 200 or not orjson.loads(answer.content)["products"]:
            load.errors.append(f"{answer.status_code}: {answer.text[:200]}")
            return
    except (httpx.HTTPError, ValueError, KeyError) as problem:
        load.errors.append(f"{type(problem).__name__}: {problem}")
        return
    load.seconds.append(time.perf_counter() - began)


@contextmanager
def _server(workspace: Workspace) -> Iterator[str]:
    """The address of ``semctl serve`` on any free port."""
    variables = {name: value for name, value in os.environ.items() if name != "SEMCTL_API_KEY"}
    variables["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-m", "pipeline.cli", "-q", "-w", str(workspace.root), "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as server:
        try:
            assert server.stdout is not None
            said = ""
            while not said.endswith("\n}\n"):
                line = server.stdout.readline()
                if not line:
                    raise SemctlError(f"the server did not start: {server.communicate()[1].strip()[-300:]}")
                said += line
            yield str(orjson.loads(said)["address"])
        finally:
            server.send_signal(signal.SIGINT)
