"""Where shards of work are done, without knowing who does them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol


class Engine(Protocol):
    """Other processes, on this machine or on others, that do shards of work; without one, a stage works here.

    What goes to them is JSON and what comes back is bytes. A stage names a function of its own that makes whoever does
    a shard, so that all it knows stays in its module.
    """

    def map(
        self,
        maker: str,
        setting: Any,
        shards: Sequence[Any],
        *,
        needs: Sequence[Path] = (),
        cores: int = 1,
        gpu: bool = False,
    ) -> Iterator[list[bytes]]:
        """What is made of each shard, in the order of the shards.

        Args:
            maker: ``module:function``, called once in a process with ``setting``; gives the function that is called
                with a shard and returns bytes-like parts. That one gives the same for the same shard whatever it did
                before: a shard may be done twice, and in any order.
            setting: JSON, what all shards have in common.
            shards: each of them JSON.
            needs: files and folders that whoever does a shard has to see.
            cores: how many cores one takes.
            gpu: whether it takes a GPU.

        Raises:
            SemctlError: as whoever did a shard raised it.
            UsageError: one of ``needs`` is not seen there, or there is no GPU.
            ServiceError: the processes cannot be reached, or were killed again and again.
            RuntimeError: a bug while a shard was done.
        """


OpenEngine = Callable[[], AbstractContextManager[Engine | None]]
"""Opens an engine for as long as a block runs; None: the stage works here."""


def no_engine() -> AbstractContextManager[None]:
    """Opens none."""
    return nullcontext()
