"""Other workers, a silent log, a full disk: what a process meets, and goes on after."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from prometheus_client import REGISTRY

from infrastructure.local.stack import running_stack
from ingestors.pulling import REQUEST_MESSAGES, Pull
from ingestors.sink import Limits
from nervous_system import bus, subjects
from nervous_system.errors import UnavailableError
from nervous_system.landing import Cursor
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from tests.chaos.disks import fill, small_disk
from tests.integration.command import Enchanted
from tests.integration.pumping import PATIENCE_S, KeptInMemory, log, place, send, until, working
from tests.integration.stack_process import wait_until
from tests.integration.wire import Link, Wire, to_client, to_server

LIMIT_BYTES = 2_000_000
_numbers = itertools.count(1)


@pytest.fixture
def project() -> ProjectName:
    """A project that no other test writes to."""
    return ProjectName("outage", f"p{next(_numbers)}-{random.randrange(10**9)}")


@pytest.fixture
def own_log(tmp_path: Path) -> Iterator[Settings]:
    """A log that no other test writes to."""
    with running_stack(tmp_path / "home", ["nats"]) as settings:
        yield settings


def test_messages_that_another_worker_took_leave_no_hole(servers: Settings, project: ProjectName) -> None:
    """It made the consumer anew and took as many, so that the delivery numbers go on as if nothing had happened."""

    async def run() -> None:
        async with log(servers) as context:
            events = await send(context, project, range(3 * REQUEST_MESSAGES))
            sink = KeptInMemory(Limits(REQUEST_MESSAGES, LIMIT_BYTES, PATIENCE_S), is_open=False)
            async with working(context, servers, project, sink):
                await until(sink.entered.is_set, "the first batch at the store")
                partition, _ = await place(context, servers, project)
                await take_over(context, servers.stream, subjects.consumer(sink.name, partition))
                sink.gate.set()
                await until(lambda: events[-1] in sink.events, "the last event")
                assert sink.events == events

    asyncio.run(run())


def test_what_is_held_is_landed_though_another_worker_takes_over(servers: Settings, project: ProjectName) -> None:
    """Else two that take turns faster than a batch comes of age would never land anything."""

    async def run() -> None:
        async with log(servers) as context:
            events = await send(context, project, [1, 2, 3])
            sink = KeptInMemory(Limits(100, LIMIT_BYTES, 100 * PATIENCE_S))
            async with working(context, servers, project, sink):
                partition, _ = await place(context, servers, project)
                consumer = subjects.consumer(sink.name, partition)
                labels = {"sink": sink.name, "partition": str(partition)}
                await until(
                    lambda: REGISTRY.get_sample_value("enchanted_sink_held_messages", labels) == len(events),
                    "all events with the worker",
                )
                assert sink.events == []
                await take_over(context, servers.stream, consumer)
                await until(lambda: sink.events == events, "what was held")

    asyncio.run(run())


async def take_over(context: JetStreamContext, stream: str, consumer: str) -> None:
    """Makes the consumer anew and reads, as another worker would: as many messages, while there are any."""
    before = await context.consumer_info(stream, consumer)
    assert before.delivered is not None
    await context.delete_consumer(stream, consumer)
    await context.add_consumer(stream, before.config.evolve(opt_start_seq=before.delivered.stream_seq + 1))
    pull = await Pull.open(context._nc, stream, consumer, LIMIT_BYTES)
    taken = 0
    wanted = min(before.delivered.consumer_seq, before.num_pending or 0)
    while taken < wanted:
        taken += len(await pull.fetch(PATIENCE_S))
    await pull.close()


def test_a_message_that_was_lost_on_the_way_is_missed_though_none_follows(
    servers: Settings, project: ProjectName
) -> None:
    """As where a connection is cut before the log has noticed: only its heartbeats say how much it has given."""
    dropped = threading.Event()

    def reply(link: Link, data: bytes) -> None:
        if b"$JS.ACK." in data and second_is_due.is_set() and not dropped.is_set():
            dropped.set()
        else:
            to_client(link, data)

    async def run(settings: Settings) -> None:
        async with log(servers) as direct, log(settings) as context:
            first = await send(direct, project, [1])
            sink = KeptInMemory(Limits(10, LIMIT_BYTES, 0.05))
            async with working(context, settings, project, sink):
                await until(lambda: sink.events == first, "the first event")
                second_is_due.set()
                second = await send(direct, project, [2])
                await until(lambda: sink.events == first + second, "the second event")

    second_is_due = threading.Event()
    with Wire(servers.nats_url, to_server, reply) as wire:
        asyncio.run(run(replace(servers, nats_url=wire.url)))
    assert dropped.is_set()


def test_a_producer_is_told_where_the_log_does_not_answer(servers: Settings, project: ProjectName) -> None:
    """It connects, and then hears nothing: the sentence is ours, not the client's error."""

    def request(link: Link, data: bytes) -> None:
        if b"$JS.API." not in data:
            to_server(link, data)

    with Wire(servers.nats_url, request, to_client) as wire, pytest.raises(UnavailableError, match="does not answer"):
        Publisher(replace(servers, nats_url=wire.url), project)


def test_the_worker_of_snapshots_waits_for_room_on_the_disk(tmp_path: Path) -> None:
    disk, health = tmp_path / "ledger", tmp_path / "health.json"
    with small_disk(disk, size_mb=4) as is_mounted:
        if not is_mounted:
            pytest.skip("this process may not mount a tmpfs, which takes root")
        fill(disk / "filler")
        variables = {"ENCHANTED_LEDGER": f"embedded://{disk}/ledger.sqlite", "ENCHANTED_HEALTH_FILE": str(health)}
        worker = Enchanted(tmp_path / "home", variables).start("snapshots")
        try:
            wait_until(lambda: health.exists() and "is full" in health.read_text(), "the trouble told")
            (disk / "filler").unlink()
            wait_until(lambda: "running" in health.read_text(), "the worker at work")
            assert worker.poll() is None
        finally:
            worker.kill()
            worker.communicate(timeout=30)


@pytest.mark.parametrize(
    ("landed", "may_begin_late", "lands"), [(0, False, 0), (1, True, 0), (0, True, 3), (2, False, 1)]
)
def test_a_store_that_lacks_what_was_removed_from_the_log_lands_nothing(
    own_log: Settings, project: ProjectName, landed: int, may_begin_late: bool, lands: int
) -> None:
    """It was put back to an old copy, or is empty: landing what the log still has would leave a hole for ever."""

    async def run() -> None:
        async with log(own_log) as context:
            await send(context, project, range(3))
            partition, beginning = await place(context, own_log, project)
            await bus.mark_removed(context, own_log.stream, {partition: beginning.sequence + 2})
            await bus.mark_removed(context, own_log.stream, {partition: beginning.sequence + 1})
            sink = KeptInMemory(Limits(20, LIMIT_BYTES, 0.05))
            sink.may_begin_late = may_begin_late
            async with working(context, own_log, project, sink) as worker:
                sink.beginning = Cursor(landed and beginning.sequence + landed, 0)
                if lands:
                    await until(lambda: len(sink.events) == lands, "what the log has")
                else:
                    await until(lambda: "put a younger backup" in worker.progress.trouble, "the refusal")
                    assert not sink.events

    asyncio.run(run())
