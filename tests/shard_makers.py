"""What a test has the workers of an engine do with shards, as ``tests.shard_makers:NAME``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.errors import MissingPartError


def echoes(setting: Any) -> Callable[[Any], list[bytes]]:
    """The shard as it came, with the process that did it; the first ones take longest."""

    def echo(shard: Any) -> list[bytes]:
        time.sleep(0.3 if shard["n"] == 0 else 0)
        return [shard["text"].encode("utf-8", "surrogatepass"), setting.encode(), str(os.getpid()).encode()]

    return echo


def is_killed(setting: Any) -> Callable[[Any], list[bytes]]:
    """Ends its own process, as the machine does when memory is short: as many times as the shard says."""

    def die(shard: Any) -> list[bytes]:
        seen = Path(setting) / f"{shard['n']}-{time.monotonic_ns()}"
        if len(list(Path(setting).glob(f"{shard['n']}-*"))) < shard["times"]:
            seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [str(shard["n"]).encode()]

    return die


def fails(setting: Any) -> Callable[[Any], list[bytes]]:
    """Raises an error of ours, or has a bug."""

    def fail(shard: Any) -> list[bytes]:
        if shard == "bug":
            raise KeyError("nobody thought of this")
        if shard == "part":
            raise MissingPartError("a part is missing", where="over there", fix="get it")
        return [b"well"]

    if setting == "at the start":
        raise MissingPartError("a part is missing", where="over there", fix="get it")
    return fail
