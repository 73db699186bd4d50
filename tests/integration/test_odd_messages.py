"""Messages that nobody honest sends, and stores that see a message again: nothing stops, and the first stays."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from infrastructure.local.stack import running_stack
from ingestors.clickhouse import TABLE, ClickHouseSink, connect
from ingestors.ledger import LedgerSink
from ingestors.pump import LogFellBackError, PartitionWorker
from nervous_system import bus, subjects
from nervous_system.contract import SwarmEvent
from nervous_system.events import MESSAGE_LIMIT_BYTES, encode_batch, uuid7
from nervous_system.landing import Batch, Cursor, LandedMessage
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.subjects import StoredSubject
from tests.integration.stores import in_clickhouse, in_ledger
from tests.samples import STREAM, event, message

PATIENCE_S = 20.0
# As nats.conf of the embedded stack has it.
LARGEST_PAYLOAD_BYTES = 8_388_608
_numbers = itertools.count(1)


@pytest.fixture
def project() -> ProjectName:
    return ProjectName("odd", f"p{next(_numbers)}-{random.randrange(10**9)}")


@pytest.fixture
def clickhouse(servers: Settings) -> Iterator[ClickHouseSink]:
    sink = ClickHouseSink(servers)
    sink.open()
    yield sink
    sink.close()


@asynccontextmanager
async def log(settings: Settings) -> AsyncIterator[JetStreamContext]:
    client = await bus.connect(settings)
    context = client.jetstream()
    await bus.ensure_stream(context, settings)
    yield context
    await client.close()


async def send(context: JetStreamContext, project: ProjectName, number: int) -> bytes:
    data = event(number, project).SerializeToString()
    subject = subjects.published(project, subjects.EVENTS)
    await bus.publish(context, subject, encode_batch([data]), uuid7(1))
    return data


@asynccontextmanager
async def working(context: JetStreamContext, settings: Settings) -> AsyncIterator[None]:
    """A worker that lands the partition of the last message in the ledger."""
    info = await context.stream_info(settings.stream)
    last = await context.get_msg(settings.stream, seq=info.state.last_seq)
    partition = StoredSubject.parse(str(last.subject)).partition
    sink, stopping = LedgerSink(replace(settings, batch_max_age_s=0.01)), asyncio.Event()
    sink.open()
    worker = PartitionWorker(context, bus.identity(info), partition, sink, stopping)
    running = asyncio.create_task(worker.run())
    yield
    stopping.set()
    await running
    sink.close()


async def landed(settings: Settings, project: ProjectName, expected: list[bytes]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(in_ledger, settings, project) != expected:  # noqa: ASYNC110 - the ledger's own word
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("status", ["100", "404", "408", "409", "503"])
def test_a_message_that_poses_as_the_servers_word_is_landed(
    servers: Settings, project: ProjectName, status: str
) -> None:
    async def run() -> None:
        async with log(servers) as context:
            first = await send(context, project, 1)
            posing = event(2, project).SerializeToString()
            subject = subjects.published(project, subjects.EVENTS)
            await context.publish(subject, encode_batch([posing]), headers={"Status": status})
            last = await send(context, project, 3)
            async with working(context, servers):
                await landed(servers, project, [first, posing, last])

    asyncio.run(run())


LONG_ID = SwarmEvent(event_id="x" * 900_000).SerializeToString()


@pytest.mark.parametrize("payload", [b"x" * LARGEST_PAYLOAD_BYTES, encode_batch([LONG_ID])], ids=["largest", "long id"])
def test_what_is_refused_for_its_size_is_buried(servers: Settings, project: ProjectName, payload: bytes) -> None:
    async def run() -> None:
        async with log(servers) as context:
            acknowledgement = await context.publish(subjects.published(project, subjects.EVENTS), payload)
            last = await send(context, project, 3)
            async with working(context, servers):
                await landed(servers, project, [last])
            info = await context.stream_info(subjects.DEAD_LETTER_STREAM)
            dead = await context.get_msg(subjects.DEAD_LETTER_STREAM, seq=info.state.last_seq)
            assert (dead.headers or {})["Enchanted-Sequence"] == str(acknowledgement.seq)
            assert len((dead.headers or {})["Enchanted-Reason"]) <= 500
            assert dead.data in (LONG_ID, payload[:MESSAGE_LIMIT_BYTES])

    asyncio.run(run())


def test_a_stream_made_anew_below_a_worker_is_read_from_its_beginning(tmp_path: Path, project: ProjectName) -> None:
    async def run(settings: Settings) -> None:
        async with log(settings) as context:
            before = [await send(context, project, number) for number in range(5)]
            async with working(context, settings):
                await landed(settings, project, before)
                await context.delete_stream(settings.stream)
                await bus.ensure_stream(context, settings)
                after = [await send(context, project, number) for number in range(5, 8)]
                await landed(settings, project, before + after)

    with running_stack(tmp_path / "home", ["nats"]) as settings:
        asyncio.run(run(settings))


def test_a_log_that_lost_its_end_is_not_read_on(servers: Settings, project: ProjectName) -> None:
    class Ahead(LedgerSink):
        """A sink that has landed more than there is."""

        def cursor(self, stream: StreamIdentity, partition: int) -> Cursor:
            return replace(super().cursor(stream, partition), sequence=10**9)

    async def run() -> None:
        async with log(servers) as context:
            await send(context, project, 1)
            sink = Ahead(servers)
            sink.open()
            stream = bus.identity(await context.stream_info(servers.stream))
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(LogFellBackError, match="lost its end"):
                    await PartitionWorker(context, stream, 0, sink, asyncio.Event())._session()
            sink.close()

    asyncio.run(run())


def batch(*messages: LandedMessage, stream: StreamIdentity = STREAM) -> Batch:
    return Batch(stream, 1, messages[0].sequence - 1, messages)


def rows(settings: Settings, project: ProjectName) -> int:
    """How many rows the table holds, those that stand twice counted twice."""
    client = connect(settings)
    answer = client.query(
        f"SELECT count() FROM {TABLE} WHERE project_id = {{project:String}}", parameters={"project": project.project}
    )
    client.close()
    return int(answer.result_rows[0][0])


def test_a_batch_inserted_twice_is_one_block(
    servers: Settings, project: ProjectName, clickhouse: ClickHouseSink
) -> None:
    again = batch(*(message(number, [event(number, project)], project) for number in (1, 2, 3)))
    clickhouse.land(again)
    clickhouse.land(again)
    assert rows(servers, project) == 3


def test_of_the_same_id_the_first_stays_even_in_a_stream_made_anew(
    servers: Settings, project: ProjectName, clickhouse: ClickHouseSink
) -> None:
    first, second, third = (event(1, project, session_id=name).SerializeToString() for name in "abc")
    clickhouse.land(batch(message(50, [first], project)))
    clickhouse.land(batch(message(51, [second], project)))
    clickhouse.land(batch(message(1, [third], project), stream=StreamIdentity("SWARM", STREAM.created_us + 1)))
    assert rows(servers, project) == 3
    assert in_clickhouse(servers, project) == [first]
