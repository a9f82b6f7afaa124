"""Requests gathered into batches: one thread asks the model, however many clients there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class BusyError(Exception):
    """More requests wait than may."""


@dataclass(frozen=True)
class Limits:
    """How requests are gathered."""

    most: int = 32  # of a batch
    pause: float = 0.002  # seconds that the first one of a batch waits for others
    waiting: int = 256  # requests that may wait; more are refused


class Batcher(Generic[Asked, Answer]):
    """Gathers what is asked at about the same time; used within one event loop, between :meth:`start` and :meth:`stop`.

    While a batch is worked on, the next one gathers by itself; only when nothing runs does the first request wait.

    Args:
        work: answers a batch, in order; called in one thread, never twice at a time. When it fails on several, each is
            asked about alone, so that a request fails by its own fault only.
        limits: how many at a time.
        seen: told the size of each batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Asked]], Sequence[Answer]],
        limits: Limits | None = None,
        seen: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._work = work
        self._limits = limits or Limits()
        self._seen = seen
        self._waiting: asyncio.Queue[tuple[Asked, asyncio.Future[Answer]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semctl-model")
        self._gathering: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._gathering = asyncio.create_task(self._gather())

    async def stop(self) -> None:
        """Answer nothing any more; what still waits is cancelled."""
        if self._gathering is not None:
            self._gathering.cancel()
            with suppress(asyncio.CancelledError):
                await self._gathering
        while not self._waiting.empty():
            self._waiting.get_nowait()[1].cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def runs(self) -> bool:
        """Whether requests are answered."""
        return self._gathering is not None and not self._gathering.done()

    @property
    def waiting(self) -> int:
        """How many requests no batch has taken yet."""
        return self._waiting.qsize()

    async def ask(self, asked: Asked) -> Answer:
        """The answer to one request.

        Raises:
            BusyError: too many wait already.
        """
        if self._waiting.qsize() >= self._limits.waiting:
            raise BusyError
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((asked, answer))
        return await answer

    async def _gather(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            if self._waiting.empty():
                await asyncio.sleep(self._limits.pause)
            while len(batch) < self._limits.most and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            batch = [each for each in batch if not each[1].done()]  # whose client is gone
            if batch:
                self._seen(len(batch))
                await self._answer(batch)

    async def _answer(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, self._work, [asked for asked, _ in batch])
            answered = list(zip(batch, answers, strict=True))
        except asyncio.CancelledError:
            for _, waits in batch:
                waits.cancel()
            raise
        except Exception as problem:  # every kind belongs to who asked
            if len(batch) > 1:
                for each in batch:
                    await self._answer([each])
            elif not batch[0][1].done():
                batch[0][1].set_exception(problem)
            return
        for (_, waits), answer in answered:
            if not waits.done():
                waits.set_result(answer)
