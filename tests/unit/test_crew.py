"""A crew has exactly the partitions landed that it was told last, and ends as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest
from prometheus_client import generate_latest

from ingestors.crew import Crew, Worker
from ingestors.meters import PartitionMeter
from ingestors.pump import Progress
from nervous_system.errors import SettingsError

PATIENCE_S = 60.0


class Hand:
    """Works until it is told to stop, and then until its door opens; raises where it is to."""

    def __init__(self, partition: int, stop: asyncio.Event, door: asyncio.Event, error: Exception | None) -> None:
        self.meter = PartitionMeter("crew", partition)
        self.progress = Progress()
        self.ended = False
        self._stop, self._door, self._error = stop, door, error

    async def run(self) -> None:
        self.meter.waiting(7, 0)
        if self._error:
            raise self._error
        await self._stop.wait()
        await self._door.wait()
        self.ended = True


class Hands:
    """Makes them, and remembers all."""

    def __init__(self, *broken: int) -> None:
        self.made: list[Hand] = []
        self.door = asyncio.Event()
        self.door.set()
        self._broken = broken

    def __call__(self, partition: int, stop: asyncio.Event) -> Worker:
        error = SettingsError("Broken.") if partition in self._broken else None
        self.made.append(Hand(partition, stop, self.door, error))
        return self.made[-1]


async def told(queue: asyncio.Queue[Sequence[int]]) -> AsyncGenerator[Sequence[int], None]:
    while True:
        yield await queue.get()


async def until(condition: Callable[[], bool]) -> None:
    deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        if condition():
            return
        assert asyncio.get_running_loop().time() < deadline_s
        await asyncio.sleep(0)


def lags() -> set[str]:
    lines = generate_latest().decode().splitlines()
    return {line for line in lines if line.startswith("enchanted_sink_lag_messages{") and 'sink="crew"' in line}


def test_partitions_are_taken_over_and_given_away() -> None:
    async def run() -> None:
        hands, queue, stopping = Hands(), asyncio.Queue[Sequence[int]](), asyncio.Event()
        crew = Crew(hands)
        running = asyncio.create_task(crew.run(told(queue), stopping))
        queue.put_nowait([0, 1])
        await until(lambda: len(lags()) == 2)
        staying = crew.workers[1]
        queue.put_nowait([1, 2])
        await until(lambda: crew.workers.keys() == {1, 2} and len(lags()) == 2)
        assert crew.workers[1] is staying
        assert [hand.ended for hand in hands.made] == [True, False, False]
        assert [meter.partition for meter in crew.meters] == [1, 2]
        stopping.set()
        await running
        assert all(hand.ended for hand in hands.made)
        assert (crew.workers, crew.meters, lags()) == ({}, [], set())

    asyncio.run(run())


def test_one_that_raises_ends_all() -> None:
    async def run() -> None:
        hands, queue = Hands(1), asyncio.Queue[Sequence[int]]()
        queue.put_nowait([0, 1, 2])
        crew = Crew(hands)
        with pytest.raises(SettingsError, match="Broken"):
            async with asyncio.timeout(PATIENCE_S):
                await crew.run(told(queue), asyncio.Event())
        assert [hand.ended for hand in hands.made] == [True, False, True]

    asyncio.run(run())


def test_what_is_told_to_stop_while_a_partition_is_given_away_lands_all_the_same() -> None:
    async def run() -> None:
        hands, queue, stopping = Hands(), asyncio.Queue[Sequence[int]](), asyncio.Event()
        hands.door.clear()
        crew = Crew(hands)
        running = asyncio.create_task(crew.run(told(queue), stopping))
        queue.put_nowait([0, 1])
        await until(lambda: len(crew.workers) == 2)
        queue.put_nowait([1])
        await until(queue.empty)
        stopping.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not running.done()
        hands.door.set()
        await running
        assert all(hand.ended for hand in hands.made)

    asyncio.run(run())
