"""Giving the log another number of partitions: closed, landed to its end, and made anew.

Events of one project must not change partitions while any of them wait, or their order would be lost. So the stream
first takes nothing more (producers keep what they have, and try again), then every sink lands what it holds, and then a
stream with the new number takes its place. All of it is in ledger, ClickHouse and archive by then; sinks count the new
stream's sequences apart from the old one's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from nervous_system import bus, subjects
from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.landed import wait_in
from nervous_system.settings import MAX_PARTITIONS, Settings

SINKS = ("ledger", "clickhouse", "siphon")

_PARTITIONS = re.compile(r"partition\((\d+),")

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Repartitioned:
    """From how many partitions to how many, and how many messages the log had ever taken."""

    before: int
    after: int
    messages: int


async def repartition(
    settings: Settings, partitions: int, sinks: Sequence[str] = SINKS, progress: Progress = lambda *_: None
) -> Repartitioned:
    """Makes the stream anew with so many partitions, once each of ``sinks`` has landed all of it.

    Raises:
        SettingsError: there is no stream, or the number is no use.
        UnavailableError: a sink does not move; the stream is as it was.
    """
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise SettingsError(f"A log has 1 to {MAX_PARTITIONS} partitions, not {partitions}.")
    client = await bus.connect(settings)
    try:
        context = client.jetstream()
        try:
            info = await context.stream_info(settings.stream)
        except NotFoundError as error:
            raise SettingsError(
                f"There is no stream {settings.stream} yet: set ENCHANTED_PARTITIONS={partitions}, and it is made so."
            ) from error
        before = bus.closed_partitions(info) or _partitions(info)
        if before == partitions and not bus.closed_partitions(info):
            return Repartitioned(before, partitions, info.state.last_seq)
        closed = await _close(context, info, before)
        try:
            await _land_all(context, replace(settings, partitions=before), sinks, progress)
        except BaseException:
            await _reopen(context, closed, before)
            raise
        await context.delete_stream(settings.stream)
        await bus.ensure_stream(context, replace(settings, partitions=partitions))
        return Repartitioned(before, partitions, closed.state.last_seq)
    finally:
        await client.close()


def _partitions(info: api.StreamInfo) -> int:
    transform = info.config.subject_transform
    found = _PARTITIONS.search(transform.dest or "") if transform is not None else None
    if found is None:
        raise SettingsError(f"Stream {info.config.name} was not made by Enchanted: it has no partitions to change.")
    return int(found[1])


async def _close(context: JetStreamContext, info: api.StreamInfo, partitions: int) -> api.StreamInfo:
    """A stream whose subject nobody publishes to; it remembers its partitions, should this process die."""
    metadata = {**(info.config.metadata or {}), bus.CLOSED_KEY: str(partitions)}
    closed = info.config.evolve(subjects=[f"closed.{info.config.name}.>"], subject_transform=None, metadata=metadata)
    return await context.update_stream(closed)


async def _reopen(context: JetStreamContext, info: api.StreamInfo, partitions: int) -> None:
    metadata = {key: value for key, value in (info.config.metadata or {}).items() if key != bus.CLOSED_KEY}
    transform = api.SubjectTransform(src=subjects.PUBLISHED, dest=subjects.partitioning(partitions))
    await context.update_stream(
        info.config.evolve(subjects=[subjects.PUBLISHED], subject_transform=transform, metadata=metadata)
    )


async def _land_all(context: JetStreamContext, settings: Settings, sinks: Sequence[str], progress: Progress) -> None:
    """Until nothing came meanwhile: what was on its way when the stream was closed is landed, too.

    Raises:
        UnavailableError: somebody who wrote down what the stream was before has opened it again.
    """
    last = -1
    while True:
        info = await context.stream_info(settings.stream)
        if not bus.closed_partitions(info):
            raise UnavailableError("The log was opened again meanwhile: stop the janitor, and run this again.")
        if info.state.last_seq == last:
            return
        last = info.state.last_seq
        await _land(context, settings, sinks, progress)


async def _land(context: JetStreamContext, settings: Settings, sinks: Sequence[str], progress: Progress) -> None:
    for partition in range(settings.partitions):
        try:
            last = await context.get_last_msg(settings.stream, subjects.partition_filter(partition))
        except NotFoundError:
            continue
        for sink in sinks:
            await wait_in(context, settings.stream, (sink, partition), last.seq or 0, partial(progress, sink))
