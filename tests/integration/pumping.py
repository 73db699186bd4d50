"""A worker of the pump in this process, before the real log and a store that a test can shut."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ingestors.pump import PartitionWorker
from ingestors.sink import Limits
from nervous_system import bus, subjects
from nervous_system.contract import SystemSignal
from nervous_system.events import encode_batch, uuid7
from nervous_system.landing import Batch, Cursor, Refusal
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.subjects import StoredSubject
from tests.samples import event

PATIENCE_S = 60.0


class KeptInMemory:
    """A store that takes what it is given once its gate is open, and may fail first."""

    def __init__(self, limits: Limits, *failures: Exception, is_open: bool = True) -> None:
        # Of its own, so that its consumer is.
        self.name = f"memory{random.randrange(10**9)}"
        self.limits = limits
        self.may_begin_late = False
        self.failures = list(failures)
        self.beginning = Cursor()
        self.batches: list[Batch] = []
        self.attempts = self.sessions = 0
        self.gate, self.entered = threading.Event(), threading.Event()
        if is_open:
            self.gate.set()

    def open(self) -> None: ...

    def check(self) -> None: ...

    def close(self) -> None: ...

    def cursor(self, stream: StreamIdentity, partition: int) -> Cursor:
        self.sessions += 1
        return self.batches[-1].cursor if self.batches else self.beginning

    def land(self, batch: Batch) -> Sequence[Refusal]:
        self.attempts += 1
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(batch)
        return ()

    @property
    def events(self) -> list[bytes]:
        return [landed.data for batch in self.batches for message in batch.messages for landed in message.events]


@asynccontextmanager
async def log(settings: Settings) -> AsyncIterator[JetStreamContext]:
    client = await bus.connect(settings)
    context = client.jetstream()
    await bus.ensure_stream(context, settings)
    yield context
    await client.close()


async def send(context: JetStreamContext, project: ProjectName, numbers: Sequence[int], size: int = 1) -> list[bytes]:
    """One message an event."""
    payload = SystemSignal(detail="x" * size)
    events = [event(number, project, system_signal=payload).SerializeToString() for number in numbers]
    for data in events:
        await bus.publish(context, subjects.published(project, subjects.EVENTS), encode_batch([data]), uuid7(1))
    return events


async def place(context: JetStreamContext, settings: Settings, project: ProjectName) -> tuple[int, Cursor]:
    """The project's partition, and a cursor before its first message."""
    first = await context.get_msg(settings.stream, seq=1, subject=subjects.anywhere(project, "events"), next=True)
    return StoredSubject.parse(str(first.subject)).partition, Cursor((first.seq or 1) - 1, 0)


@asynccontextmanager
async def working(
    context: JetStreamContext, settings: Settings, project: ProjectName, sink: KeptInMemory
) -> AsyncIterator[PartitionWorker]:
    """A worker that lands the project's messages in ``sink``."""
    partition, sink.beginning = await place(context, settings, project)
    stream, stopping = bus.identity(await context.stream_info(settings.stream)), asyncio.Event()
    worker = PartitionWorker(context, stream, partition, sink, stopping)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        sink.gate.set()
        stopping.set()
        await asyncio.gather(running, return_exceptions=True)
        # There is none where the worker would not begin.
        with suppress(NotFoundError):
            await context.delete_consumer(settings.stream, subjects.consumer(sink.name, partition))


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + PATIENCE_S
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert loop.time() < deadline_s, f"never came: {what}"
        await asyncio.sleep(0.02)
