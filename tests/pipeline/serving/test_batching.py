from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from pipeline.serving.batching import Batcher, BusyError, Limits


class Doubling:
    """Doubles numbers; holds every batch until it is let go, and fails on those that hold a 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()

    def __call__(self, asked: Sequence[int]) -> list[int]:
        self.batches.append(list(asked))
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(20)
        if 13 in asked:
            raise ValueError("thirteen")
        return [2 * number for number in asked]


def run(work: Doubling, limits: Limits, numbers: Sequence[int]) -> list[object]:
    """The first number is being worked on while all the others come."""

    async def all_of_them() -> list[object]:
        batcher = Batcher(work, limits)
        batcher.start()
        first = asyncio.create_task(batcher.ask(numbers[0]))
        while not work.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.ask(number)) for number in numbers[1:]]
        await asyncio.sleep(0)
        work.gate.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        await batcher.stop()
        assert not batcher.runs
        return found

    return asyncio.run(all_of_them())


def test_what_is_asked_while_a_batch_runs_is_the_next_batch_in_one_thread():
    work = Doubling()
    assert run(work, Limits(most=4, pause=0), range(7)) == [0, 2, 4, 6, 8, 10, 12]
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert len(work.threads) == 1


def test_one_that_fails_fails_alone():
    work = Doubling()
    found = run(work, Limits(most=8, pause=0), [1, 2, 13, 3])
    assert [str(each) for each in found] == ["2", "4", "thirteen", "6"]
    assert work.batches == [[1], [2, 13, 3], [2], [13], [3]]


def test_more_than_may_wait_are_refused_at_once():
    work = Doubling()
    found = run(work, Limits(most=2, pause=0, waiting=2), range(5))
    assert found[:3] == [0, 2, 4]
    assert all(isinstance(each, BusyError) for each in found[3:])


def test_who_went_away_is_not_asked_for():
    work = Doubling()

    async def gone() -> None:
        batcher = Batcher(work, Limits(pause=0))
        batcher.start()
        first = asyncio.create_task(batcher.ask(1))
        while not work.batches:
            await asyncio.sleep(0.001)
        second, third = asyncio.create_task(batcher.ask(2)), asyncio.create_task(batcher.ask(3))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        work.gate.set()
        assert await asyncio.gather(first, third) == [2, 6]
        await batcher.stop()

    asyncio.run(gone())
    assert work.batches == [[1], [3]]


def test_at_the_end_nobody_is_left_waiting():
    work = Doubling()

    async def ends() -> list[object]:
        batcher = Batcher(work, Limits(pause=0))
        batcher.start()
        asked = [asyncio.create_task(batcher.ask(number)) for number in range(3)]
        while not work.batches:
            await asyncio.sleep(0.001)
        asked.append(asyncio.create_task(batcher.ask(9)))
        await asyncio.sleep(0)
        await batcher.stop()
        work.gate.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(each, asyncio.CancelledError) for each in asyncio.run(ends()))


def test_an_answer_too_few_is_an_error_and_not_a_wait():
    async def asked() -> None:
        batcher = Batcher[int, int](lambda numbers: [], Limits(pause=0))
        batcher.start()
        with pytest.raises(ValueError, match="shorter"):
            await batcher.ask(1)
        await batcher.stop()

    asyncio.run(asked())
