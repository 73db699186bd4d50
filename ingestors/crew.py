"""The workers of a process, one a partition; which partitions they are may change while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from ingestors.meters import PartitionMeter
from ingestors.pump import Progress
from nervous_system.telemetry import logs


class Worker(Protocol):
    """What lands one partition: a PartitionWorker."""

    meter: PartitionMeter
    progress: Progress

    async def run(self) -> None:
        """Lands until it is told to stop."""


# How soon a task that was cancelled and goes on is cancelled once more.
CANCEL_AGAIN_S = 1.0

Make = Callable[[int, asyncio.Event], Worker]
Shares = AsyncGenerator[Sequence[int], None]


class Crew:
    """Starts and stops workers.

    Args:
        make: a worker for a partition, which lands what it holds and returns once the event is set.
    """

    def __init__(self, make: Make) -> None:
        self.workers: dict[int, Worker] = {}
        """Those at work, by partition."""
        self.meters: list[PartitionMeter] = []
        """Theirs."""
        self._make = make
        self._stops: dict[int, asyncio.Event] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] | None = None

    async def run(self, shares: Shares, stopping: asyncio.Event) -> None:
        """Lands the partitions that ``shares`` gave last, until ``stopping`` is set; what is held then is landed first.

        Raises whatever a worker raises, or ``shares``.
        """
        failed = self._failed = asyncio.get_running_loop().create_future()
        stop = asyncio.ensure_future(stopping.wait())
        follow = asyncio.create_task(self._follow(shares))
        follow.add_done_callback(self._note)
        try:
            await asyncio.wait([stop, failed], return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
        finally:
            stop.cancel()
            # Once is not always enough: in Python 3.11 asyncio.wait_for may lose a cancellation.
            while not follow.done():
                follow.cancel()
                await asyncio.wait([follow], timeout=CANCEL_AGAIN_S)
            await self.take([])

    async def take(self, partitions: Sequence[int]) -> None:
        """Has exactly these landed; returns once workers of others have ended."""
        going = [partition for partition in self.workers if partition not in partitions]
        for partition in going:
            self._stops[partition].set()
        if going:
            # Should this be cancelled they go on, and whoever takes next waits for them.
            await asyncio.wait([self._tasks[partition] for partition in going])
        for partition in going:
            self._dismiss(partition)
        for partition in partitions:
            if partition not in self.workers:
                self._engage(partition)

    async def _follow(self, shares: Shares) -> None:
        async with aclosing(shares):
            async for partitions in shares:
                await self.take(partitions)

    def _engage(self, partition: int) -> None:
        stop = self._stops[partition] = asyncio.Event()
        worker = self.workers[partition] = self._make(partition, stop)
        self.meters.append(worker.meter)
        task = self._tasks[partition] = asyncio.create_task(_work(partition, worker))
        task.add_done_callback(self._note)

    def _note(self, task: asyncio.Task[None]) -> None:
        """A worker returns only where it is told to; one that raises ends all."""
        error = None if task.cancelled() else task.exception()
        if error and self._failed and not self._failed.done():
            self._failed.set_exception(error)

    def _dismiss(self, partition: int) -> None:
        worker = self.workers.pop(partition)
        del self._stops[partition], self._tasks[partition]
        self.meters.remove(worker.meter)
        worker.meter.forget()


async def _work(partition: int, worker: Worker) -> None:
    with logs.concerning(partition=partition):
        await worker.run()
