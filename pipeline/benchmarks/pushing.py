"""How long it takes to put tasks into a Label Studio project, against the bare bulk import of the same tasks.

A server of its own is started for it and stopped again. What is compared: the seconds on the clock of
``export_for_labelling`` (dialogues read, pages made, project and configuration set up, images connected, tasks pushed,
the batch written) into a new project, and of one plain POST of the finished tasks to the import address of an empty
project. A row beside it: the same export once more, when all tasks are there already and none is pushed.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pyarrow as pa

from annotate.label_studio.plain_http import send
from pipeline.benchmarks.measure import Goal, Options, compared, interleaved
from pipeline.chosen_dialogues import Selection
from pipeline.environment import variables_set
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.workspace import Workspace
from schemas.errors import ServiceError
from schemas.tables import TURNS, read_table, write_table

if TYPE_CHECKING:
    from annotate.label_studio.studio import Studio

GOAL = Goal("at most", 2.0)
"""Half the speed of the bare import, or better."""

TASKS, WINDOW = 10_000, 5

_NAMES = ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")


def benchmark(options: Options) -> list[dict[str, Any]]:
    """Push ``--size`` tasks (10,000), made of the dialogues of a generated corpus over and over.

    Raises:
        ServiceError: Label Studio cannot be installed or started, or an import failed.
    """
    from annotate.label_studio.studio import Studio

    found = []
    with tempfile.TemporaryDirectory(prefix="semctl-") as scratch:
        workspace = _workspace(Path(scratch), options)
        studio = Studio.of_workspace(workspace.root)
        studio.start(_free_port(), options.progress)
        try:
            with _this_server(studio):
                for tasks in options.sizes or (TASKS,):
                    found += _rows(workspace, tasks, options)
        finally:
            studio.stop()
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _this_server(studio: Studio) -> Iterator[None]:
    """Let the environment name the server that was started here, and no other one."""
    credentials, url = studio.credentials(), studio.url()
    if credentials is None or url is None:
        raise ServiceError("Label Studio ended before anything was measured", where=studio.log_file)
    with variables_set(dict(zip(_NAMES, (url, credentials.token), strict=True))):
        yield


def _workspace(scratch: Path, options: Options) -> Workspace:
    from pipeline.corpus.import_corpus import ImportRequest, import_corpus
    from pipeline.generator.corpus import GenerateRequest, generate_corpus

    generate_corpus(scratch / "corpus", GenerateRequest(size="test"), progress=options.progress)
    workspace = Workspace(scratch / "workspace")
    import_corpus(workspace, ImportRequest(scratch / "corpus", "mmd"), progress=options.progress)
    return workspace


def many_dialogues(turns: pa.Table, tasks: int, window: int) -> pa.Table:
    """The dialogues of ``turns`` over and over under new names: ``tasks`` labelling tasks, or a few more.

    Args:
        turns: rows of ``turns.parquet``.
        tasks: how many are wanted.
        window: user turns in one task.
    """
    by_dialogue: dict[str, list[dict[str, Any]]] = {}
    for row in turns.to_pylist():
        by_dialogue.setdefault(row["dialogue_id"], []).append(row)
    rows: list[dict[str, Any]] = []
    made = 0
    for copy in count():
        for dialogue_id, said in by_dialogue.items():
            if made >= tasks:
                return pa.Table.from_pylist(rows, TURNS.columns)
            rows += ({**row, "dialogue_id": f"{copy:06d}-{dialogue_id}"} for row in said)
            made += -(-sum(row["speaker"] == "user" for row in said) // window)
    raise AssertionError  # count() never ends


def _rows(workspace: Workspace, tasks: int, options: Options) -> list[dict[str, Any]]:
    rows = many_dialogues(read_table(workspace.turns, TURNS), tasks, WINDOW).to_pylist()
    many = Workspace(workspace.root.parent / f"workspace-{tasks}")
    shutil.copytree(workspace.root, many.root, ignore=shutil.ignore_patterns(".studio"))
    write_table(many.turns, TURNS, rows)
    made = workspace.root.parent / f"tasks-{tasks}.json"
    export_for_labelling(many, ExportRequest(Selection(split="all"), to_file=made, window=WINDOW))
    body = made.read_bytes()
    pushed = len(orjson.loads(body))
    titles = (f"semctl {tasks} {number}" for number in count())
    latest = ""

    def ours() -> None:
        nonlocal latest
        latest = next(titles)
        again()

    def again() -> None:
        export_for_labelling(many, ExportRequest(Selection(split="all"), project=latest, window=WINDOW))

    def bare() -> None:
        project = _post("/api/projects/", orjson.dumps({"title": next(titles), "label_config": config}))
        _post(f"/api/projects/{project['id']}/import", body)

    config = (many.labelling / "batch-0001" / "label_config.xml").read_text()
    seconds = interleaved(
        {"ours": ours, "bare": bare, "again": again},
        options.rounds or 2,
        progress=options.progress,
        title=f"pushing {pushed:,} tasks",
    )
    against = "the bare import of the same tasks in one request"
    more: dict[str, Any] = {"tasks": pushed, "bytes_each": round(len(body) / pushed)}
    return [
        compared(f"exporting {pushed:,} tasks", against, seconds["ours"], seconds["bare"], GOAL, faster=False, **more),
        compared(
            "the same export again, nothing new", against, seconds["again"], seconds["bare"], faster=False, **more
        ),
    ]


def _post(path: str, body: bytes) -> Any:
    url, token = (os.environ[name] for name in _NAMES)
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    try:
        return orjson.loads(send("POST", f"{url}{path}", 600, content=body, headers=headers).raise_for_status().content)
    except (ConnectionError, httpx.HTTPStatusError) as problem:
        raise ServiceError(f"the bare import failed: {problem}", where=url) from None
