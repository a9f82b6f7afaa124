"""The processes of :mod:`pipeline.corpus.worker_pool`: they read files in MMD's layout and answer with chunks."""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import IO, Any

from pipeline.corpus.chunks import ChunkMaker, Setting
from pipeline.corpus.mmd_dialogues import MmdDialogues
from pipeline.corpus.worker_pool import receive, send


def main() -> None:
    """Hear the setting, fork a process for each pair of pipes on the command line, and wait for them to end."""
    sys.meta_path.insert(0, _NoPandas())
    pipes: list[tuple[int, int]] = json.loads(sys.argv[1])
    known = json.load(sys.stdin.buffer)
    maker = ChunkMaker(Setting.from_json(known["setting"]))
    dialogues = MmdDialogues.from_json(known["dialogues"])
    gc.disable()  # parsed JSON holds no cycles
    gc.freeze()
    for pair in pipes:
        if os.fork() == 0:
            # the others' pipes end only when nobody holds them
            for end in (end for other in pipes if other != pair for end in other):
                os.close(end)
            with suppress(BrokenPipeError):
                _serve(os.fdopen(pair[0], "rb"), os.fdopen(pair[1], "wb"), dialogues, maker)
            os._exit(0)
    for end in (end for pair in pipes for end in pair):
        os.close(end)
    with suppress(ChildProcessError):
        while True:
            os.wait()


class _NoPandas(MetaPathFinder):
    """Nothing here needs pandas, but pyarrow would import it with its first array: 0.2 s and 35 MB a process."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("left out on purpose", name=name)


def _serve(requests: IO[bytes], answers: IO[bytes], dialogues: MmdDialogues, maker: ChunkMaker) -> None:
    while (request := receive(requests)) is not None:
        answer: list[Any]
        try:
            answer = dialogues.chunk(json.loads(request[0]), maker).to_bytes()
        except Exception:
            answer = [traceback.format_exc().encode()]
        send(answers, answer)
