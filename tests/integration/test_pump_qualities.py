"""What the pump is besides exact: bounded, quick to stop, and back by itself whatever breaks off."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from nats.aio.msg import Msg

from ingestors.pulling import REQUEST_MESSAGES, Pull
from ingestors.pump import PartitionWorker
from ingestors.sink import Limits
from nervous_system import bus, subjects
from nervous_system.errors import SettingsError
from nervous_system.landing import Batch, Refusal
from nervous_system.ledger.transaction import LedgerError
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.pumping import PATIENCE_S, KeptInMemory, log, place, send, until, working
from tests.integration.stack_process import wait_until
from tests.integration.stores import in_archive
from tests.integration.wire import Link, Wire, to_client, to_server

PULL = b"$JS.API.CONSUMER.MSG.NEXT."
MESSAGE_BYTES = 400_000
FLOOD_MESSAGES = 60
LIMIT_BYTES = 2_000_000
_numbers = itertools.count(1)


@pytest.fixture
def project() -> ProjectName:
    """A project that no other test writes to."""
    return ProjectName("quality", f"p{next(_numbers)}-{random.randrange(10**9)}")


@pytest.mark.parametrize("size", [MESSAGE_BYTES, 10])
def test_what_a_slow_store_has_not_taken_stays_in_the_log(servers: Settings, project: ProjectName, size: int) -> None:
    """By bytes: of large messages few are held, of small ones many."""

    async def run() -> None:
        async with log(servers) as context:
            events = await send(context, project, range(FLOOD_MESSAGES), size)
            sink = KeptInMemory(Limits(20, LIMIT_BYTES, 0.05), is_open=False)
            async with working(context, servers, project, sink):
                await until(sink.entered.is_set, "the first batch at the store")
                partition, _ = await place(context, servers, project)
                consumer = subjects.consumer(sink.name, partition)
                info = await context.consumer_info(servers.stream, consumer)
                # The server counts what it has handed out; what is asked for twice over is ready to follow.
                held_bytes = (info.delivered.consumer_seq if info.delivered else 0) * size
                # Two batches, each up to a request beyond its limit, and a request.
                assert 0 < held_bytes <= 5 * LIMIT_BYTES
                sink.gate.set()
                await until(lambda: sink.events == events, "all events")
                assert max(sum(m.size_bytes for m in each.messages) for each in sink.batches) <= LIMIT_BYTES
                assert max(len(each.messages) for each in sink.batches) <= 20

    asyncio.run(run())


def test_a_slow_store_is_no_failure_where_nothing_more_comes(
    servers: Settings, project: ProjectName, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    fetch = Pull.fetch

    async def counted(pull: Pull, patience_s: float) -> list[Msg]:
        looks.append(patience_s)
        return await fetch(pull, patience_s)

    async def run() -> None:
        async with log(servers) as context:
            events = await send(context, project, [1])
            sink = KeptInMemory(Limits(1, LIMIT_BYTES, 0.05), is_open=False)
            async with working(context, servers, project, sink) as worker:
                await until(sink.entered.is_set, "the first batch at the store")
                monkeypatch.setattr(Pull, "fetch", counted)
                await until(lambda: len(looks) > 2, "looks for more meanwhile")
                sink.gate.set()
                events += await send(context, project, [2])
                await until(lambda: sink.events == events, "all events")
                assert (worker.progress.failures, sink.sessions) == (0, 1)

    asyncio.run(run())


def test_a_message_above_the_limit_goes_by_itself(servers: Settings, project: ProjectName) -> None:
    async def run() -> None:
        async with log(servers) as context:
            events = [
                data for n in (1, 2, 3, 4) for data in await send(context, project, [n], 300_000 if n % 2 else 10)
            ]
            sink = KeptInMemory(Limits(100, 1_000, 0.05))
            async with working(context, servers, project, sink) as worker:
                await until(lambda: sink.events == events, "all events")
                assert worker.progress.failures == 0

    asyncio.run(run())


def test_a_backlog_is_read_without_asking_the_store_again(servers: Settings, project: ProjectName) -> None:
    """Though the log ends each request once it has given all that was asked for."""

    async def run() -> None:
        async with log(servers) as context:
            events = await send(context, project, range(3 * REQUEST_MESSAGES))
            sink = KeptInMemory(Limits(20, LIMIT_BYTES, 0.05))
            async with working(context, servers, project, sink):
                await until(lambda: sink.events == events, "all events")
                assert sink.sessions == 1

    asyncio.run(run())


def test_a_batch_that_is_too_much_comes_again_in_smaller_ones(servers: Settings, project: ProjectName) -> None:
    class Small(KeptInMemory):
        def land(self, batch: Batch) -> Sequence[Refusal]:
            if len(batch.messages) > 3:
                self.attempts += 1
                raise LedgerError(2101, "Transaction exceeds byte limit")
            return super().land(batch)

    async def run() -> None:
        async with log(servers) as context:
            events = await send(context, project, range(40))
            sink = Small(Limits(32, LIMIT_BYTES, 0.05))
            async with working(context, servers, project, sink):
                await until(lambda: sink.events == events, "all events")

    asyncio.run(run())


def test_a_setting_that_is_wrong_ends_the_worker(servers: Settings, project: ProjectName) -> None:
    async def run() -> None:
        async with log(servers) as context:
            await send(context, project, [1])
            sink = KeptInMemory(Limits(10, 1_000, 0.05), SettingsError("Set it."))
            partition, sink.beginning = await place(context, servers, project)
            stream = bus.identity(await context.stream_info(servers.stream))
            worker = PartitionWorker(context, stream, partition, sink, asyncio.Event())
            with pytest.raises(SettingsError, match=r"Set it\."):
                await asyncio.wait_for(worker.run(), PATIENCE_S)
            assert sink.attempts == 1

    asyncio.run(run())


def test_a_pull_that_falls_silent_is_noticed_and_made_anew(servers: Settings, project: ProjectName) -> None:
    """As after a restart of a server that forgets what it was asked: the request is swallowed, and nothing breaks."""
    swallowed = threading.Event()

    def request(link: Link, data: bytes) -> None:
        # The client writes a pull by itself, for it has nothing else to say just then.
        if PULL in data and not swallowed.is_set():
            swallowed.set()
        else:
            to_server(link, data)

    async def run(settings: Settings) -> None:
        async with log(servers) as direct:
            events = await send(direct, project, [1, 2, 3])
        async with log(settings) as context:
            sink = KeptInMemory(Limits(10, 1_000_000, 0.05))
            async with working(context, settings, project, sink) as worker:
                await until(lambda: bool(worker.progress.trouble), "the silence noticed")
                assert "silent" in worker.progress.trouble
                await until(lambda: sink.events == events, "all events")

    with Wire(servers.nats_url, request, to_client) as wire:
        asyncio.run(run(replace(servers, nats_url=wire.url)))
    assert swallowed.is_set()


def test_a_worker_reconnects_however_often_it_is_cut_off(servers: Settings, project: ProjectName) -> None:
    """More often than the client's own limit of 60 attempts."""
    attempts, is_away = itertools.count(1), threading.Event()
    made: list[int] = []

    def reply(link: Link, data: bytes) -> None:
        if is_away.is_set():
            made.append(next(attempts))
            link.cut()
        else:
            to_client(link, data)

    async def run(settings: Settings) -> None:
        async with log(servers) as direct:
            first = await send(direct, project, [1])
            async with log(settings) as context:
                sink = KeptInMemory(Limits(10, 1_000_000, 0.05))
                async with working(context, settings, project, sink):
                    await until(lambda: sink.events == first, "the first event")
                    context._nc.options["reconnect_time_wait"] = 0.005
                    is_away.set()
                    second = await send(direct, project, [2])
                    await until(lambda: len(made) > 130, "more attempts than any limit allows")
                    is_away.clear()
                    await until(lambda: sink.events == first + second, "the second event")

    with Wire(servers.nats_url, to_server, reply) as wire:
        asyncio.run(run(replace(servers, nats_url=wire.url)))


def test_workers_do_not_come_back_in_step(servers: Settings, project: ProjectName) -> None:
    async def run() -> list[float]:
        waits: list[float] = []

        async def watched(wait_s: float) -> None:
            waits.append(wait_s)

        async with log(servers) as context:
            await send(context, project, [1])
            for _ in range(8):
                sink = KeptInMemory(Limits(10, 1_000_000, 0.05), OSError("away"))
                partition, sink.beginning = await place(context, servers, project)
                stream = bus.identity(await context.stream_info(servers.stream))
                stopping = asyncio.Event()
                worker = PartitionWorker(context, stream, partition, sink, stopping)
                worker._pause = watched  # type: ignore[method-assign]
                running = asyncio.create_task(worker.run())
                await until(lambda: bool(sink.batches), "the event")  # noqa: B023 - awaited within the turn
                stopping.set()
                await running
        return waits

    waits = asyncio.run(run())
    assert len(waits) >= 8
    assert len(set(waits)) == len(waits)


@pytest.fixture
def siphon(servers: Settings) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts ``enchanted ingest siphon`` with files that take an hour; stops what still runs."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = Enchanted(servers.home, {"ENCHANTED_SIPHON_ROLL_AGE_S": "3600"})
        started.append(command.start("ingest", "siphon"))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def test_a_worker_that_is_told_to_stop_lands_what_it_holds(
    servers: Settings, project: ProjectName, siphon: Callable[[], subprocess.Popen[str]]
) -> None:
    async def published() -> tuple[list[bytes], int]:
        async with log(servers) as context:
            events = await send(context, project, range(20))
            partition, _ = await place(context, servers, project)
            return events, partition

    async def fetched() -> bool:
        async with log(servers) as context:
            info = await context.consumer_info(servers.stream, subjects.consumer("siphon", partition))
            return not info.num_pending and bool(info.num_ack_pending)

    def is_held() -> bool:
        try:
            return asyncio.run(fetched())
        except Exception:
            return False

    events, partition = asyncio.run(published())
    worker = siphon()
    wait_until(is_held, "all events with the worker, and none in the archive")
    assert in_archive(servers, project) == []
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=20)
    assert worker.returncode == 0, out + err
    assert in_archive(servers, project) == events


def test_a_consumer_that_is_gone_is_made_anew_from_the_cursor(servers: Settings, project: ProjectName) -> None:
    """As after a restart of a server that lost what it knew of its readers."""

    async def run() -> None:
        async with log(servers) as context:
            first = await send(context, project, [1, 2])
            partition, _ = await place(context, servers, project)
            sink = KeptInMemory(Limits(10, 1_000_000, 0.05))
            async with working(context, servers, project, sink):
                await until(lambda: sink.events == first, "the first events")
                await context.delete_consumer(servers.stream, subjects.consumer(sink.name, partition))
                second = await send(context, project, [3, 4])
                await until(lambda: sink.events == first + second, "the later events")

    asyncio.run(run())
