"""An ingestor as a process: one sink, a worker for each partition, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from nats.errors import Error as NatsError

from ingestors import desk
from ingestors.crew import Crew, Worker
from ingestors.meters import MAX_AGE
from ingestors.precedence import check_precedence
from ingestors.pump import PartitionWorker
from ingestors.retries import Action, decide
from ingestors.sharing import Roster
from ingestors.sink import Sink
from ingestors.watch import Watch
from nervous_system import bus
from nervous_system.health import HealthFile
from nervous_system.retries import Backoff
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.telemetry import logs
from nervous_system.telemetry.condition import Condition
from nervous_system.telemetry.pages import Pages

logger = logging.getLogger(__name__)

REPORT_EVERY_S = 1.0
# A worker holds many thousands of events, none of them in a cycle: looking for cycles among them as often as Python
# does by itself costs a quarter of reading them and a third of making columns of them.
COLLECT_AFTER_OBJECTS, COLLECT_OLDER_AFTER, COLLECT_ALL_AFTER = 50_000, 20, 100


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a process tells how it is: to its supervisor, and on its pages."""

    health: HealthFile
    condition: Condition


async def serve(settings: Settings, sink: Sink, partitions: Sequence[int] | None) -> None:
    """Lands ``partitions`` in ``sink`` until SIGTERM or SIGINT; what is held then is landed first.

    Args:
        settings: give the addresses.
        sink: where to land.
        partitions: of the log; None for a share of them all, as large as that of each other process of the sink.

    Raises:
        SettingsError: an address is missing or cannot be listened at, or the stream was made with another number of
            partitions.
    """
    gc.set_threshold(COLLECT_AFTER_OBJECTS, COLLECT_OLDER_AFTER, COLLECT_ALL_AFTER)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    standing = Standing(HealthFile.from_environment(), Condition())
    standing.health.write("starting", "connecting")
    beating = asyncio.create_task(_beat(standing.condition))
    try:
        with Pages(settings.metrics_address, standing.condition), logs.concerning(sink=sink.name):
            await _serve(settings, sink, partitions, stopping, standing)
    finally:
        beating.cancel()


async def _serve(
    settings: Settings, sink: Sink, partitions: Sequence[int] | None, stopping: asyncio.Event, standing: Standing
) -> None:
    client = await _until_connected(settings, stopping)
    if client is None:
        return
    try:
        context = client.jetstream()
        if sink.name == desk.SINK:
            await desk.Desk(client, settings).open()
        stream = await _until_ready(settings, client, sink, stopping, standing.health)
        if stream is None:
            return
        MAX_AGE.labels(sink.name).set(sink.limits.max_age_s)
        crew = Crew(lambda partition, stop: PartitionWorker(context, stream, partition, sink, stop))
        watch = Watch(settings, context, sink, crew.meters)
        beside = [
            asyncio.create_task(watch.run()),
            asyncio.create_task(_report(standing, client, crew.workers, watch)),
        ]
        try:
            shares = (
                _once(partitions) if partitions is not None else Roster(client, sink.name).shares(settings.partitions)
            )
            await crew.run(shares, stopping)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
    finally:
        sink.close()
        with contextlib.suppress(NatsError):
            await client.close()


async def _once(partitions: Sequence[int]) -> AsyncGenerator[Sequence[int], None]:
    yield partitions


async def _beat(condition: Condition) -> None:
    while True:
        condition.beat()
        await asyncio.sleep(REPORT_EVERY_S)


async def _until_connected(settings: Settings, stopping: asyncio.Event) -> Client | None:
    connecting = asyncio.ensure_future(bus.connect(settings, patient=True))
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({connecting, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if connecting.done():
        return connecting.result()
    connecting.cancel()
    return None


async def _until_ready(
    settings: Settings, client: Client, sink: Sink, stopping: asyncio.Event, health: HealthFile
) -> StreamIdentity | None:
    """The stream, once it is there and the sink is open; None where the process is stopped before."""
    failures = 0
    while not stopping.is_set():
        try:
            stream = await bus.ensure_stream(client.jetstream(), settings)
            await asyncio.to_thread(sink.open)
            info = await client.jetstream().stream_info(stream.name)
            await asyncio.to_thread(check_precedence, settings, sink, stream, info.state.first_seq)
        except Exception as error:
            if decide(error) is Action.GIVE_UP:
                raise
            failures += 1
            wait_s = Backoff().wait_s(failures, random.random())
            logger.warning("%s is not ready: %s; again in %.1f s", sink.name, error, wait_s)
            health.write("retrying", str(error) or type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), wait_s)
        else:
            return stream
    return None


async def _report(standing: Standing, client: Client, workers: Mapping[int, Worker], watch: Watch) -> None:
    while True:
        troubles = {partition: worker.progress.trouble for partition, worker in workers.items()}
        troubled = {partition: trouble for partition, trouble in troubles.items() if trouble}
        landed = sum(worker.progress.landed_events for worker in workers.values())
        state = "retrying" if troubled else "running"
        standing.health.write(state, "; ".join(troubled.values()) or f"{landed:,} events landed")
        # Not the troubles' words: they may quote addresses and data, and anybody may read the page.
        away = () if client.is_connected else ("the log is not connected",)
        retrying = (f"retrying partition {', '.join(map(str, troubled))}",) if troubled else ()
        standing.condition.settle(*away, *retrying, *watch.reasons)
        await asyncio.sleep(REPORT_EVERY_S)
