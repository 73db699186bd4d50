"""Waiting until what was published has landed, asked of the log alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import nats.errors
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from nervous_system import bus, subjects
from nervous_system.errors import UnavailableError
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.subjects import StoredSubject

POLL_S = 0.05
# A sink that does not move for this long is in trouble that waiting does not mend.
STANDSTILL_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a sink is with one partition.

    Args:
        marked_sequence: the last sequence that it has landed.
        waiting_messages: how many messages it has not.
    """

    marked_sequence: int
    waiting_messages: int


@dataclass(frozen=True, slots=True)
class _Consumer:
    """The durable consumer through which a sink's worker reads a partition."""

    context: JetStreamContext
    stream: str
    name: str

    async def standing(self) -> Standing | None:
        """None while the worker makes its consumer anew, or the log does not answer."""
        try:
            info: api.ConsumerInfo = await self.context.consumer_info(self.stream, self.name)
        except (NotFoundError, TimeoutError, nats.errors.Error):
            return None
        marked = info.ack_floor.stream_seq if info.ack_floor else 0
        if info.delivered and not info.num_ack_pending:
            # A server that was restarted has forgotten the mark of a consumer that was not used since it was made.
            marked = max(marked, info.delivered.stream_seq)
        return Standing(marked, (info.num_pending or 0) + (info.num_ack_pending or 0))


def wait_until_landed(
    settings: Settings, sinks: Sequence[str], sequence: int, progress: Callable[[str, int], None] = lambda *_: None
) -> None:
    """Returns once each sink has landed the message at ``sequence`` and all before it in its partition.

    Args:
        settings: give the log's address.
        sinks: their names.
        sequence: in the stream.
        progress: called with a sink's name and the number of messages it has yet to land.

    Raises:
        UnavailableError: a sink does not move for STANDSTILL_LIMIT_S.
    """
    asyncio.run(_wait(settings, sinks, sequence, progress))


def last_sequence(settings: Settings, project: ProjectName) -> int:
    """The stream sequence of the project's last batch of events; 0 where nothing was published yet."""
    return asyncio.run(_last_sequence(settings, project))


async def _wait(settings: Settings, sinks: Sequence[str], sequence: int, progress: Callable[[str, int], None]) -> None:
    client = await bus.connect(settings)
    try:
        context = client.jetstream()
        message = await context.get_msg(settings.stream, seq=sequence)
        partition = StoredSubject.parse(str(message.subject)).partition
        for sink in sinks:
            await wait_in(context, settings.stream, (sink, partition), sequence, partial(progress, sink))
    finally:
        await client.close()


async def wait_in(
    context: JetStreamContext, stream: str, place: tuple[str, int], sequence: int, progress: Callable[[int], None]
) -> None:
    """As ``wait_until_landed``, of one sink and partition, on a connection that is open.

    Args:
        context: of the connection.
        stream: its name.
        place: the sink's name and the partition.
        sequence: in the stream.
        progress: called with the number of messages that are yet to land.
    """
    await _wait_for(_Consumer(context, stream, subjects.consumer(*place)), sequence, progress)


async def _wait_for(consumer: _Consumer, sequence: int, progress: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    moved_s, last = loop.time(), Standing(-1, 0)
    while True:
        standing = await consumer.standing()
        # How many wait is no answer: while a consumer is being made, the server says for a moment that none does.
        if standing is not None and standing.marked_sequence >= sequence:
            progress(0)
            return
        if standing is not None and standing != last:
            moved_s, last = loop.time(), standing
            progress(standing.waiting_messages)
        if loop.time() - moved_s > STANDSTILL_LIMIT_S:
            raise UnavailableError(
                f"Everything is safe in the log, but {consumer.name} has not landed anything for "
                f"{STANDSTILL_LIMIT_S:.0f} s: see `enchanted status`. It goes on by itself once its trouble is over."
            )
        await asyncio.sleep(POLL_S)


async def _last_sequence(settings: Settings, project: ProjectName) -> int:
    client = await bus.connect(settings)
    try:
        context = client.jetstream()
        await bus.ensure_stream(context, settings)
        found = 0
        for partition in range(settings.partitions):
            try:
                message = await context.get_last_msg(
                    settings.stream, subjects.stored(project, subjects.EVENTS, partition)
                )
            except NotFoundError:
                continue
            found = max(found, message.seq or 0)
        return found
    finally:
        await client.close()
