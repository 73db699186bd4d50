"""An ingestor as a process: one sink, a worker for each partition, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import Sequence

from nats.aio.client import Client
from nats.errors import Error as NatsError

from ingestors.pump import PartitionWorker
from ingestors.sink import Sink
from nervous_system import bus
from nervous_system.errors import SettingsError
from nervous_system.health import HealthFile
from nervous_system.retries import Backoff
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

logger = logging.getLogger(__name__)

REPORT_EVERY_S = 1.0


async def serve(settings: Settings, sink: Sink, partitions: Sequence[int]) -> None:
    """Lands ``partitions`` in ``sink`` until SIGTERM or SIGINT; what is held then is landed first.

    Raises:
        SettingsError: an address is missing, or the stream was made with another number of partitions.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    health = HealthFile.from_environment()
    health.write("starting", "connecting")
    client = await _until_connected(settings, stopping)
    if client is None:
        return
    try:
        context = client.jetstream()
        stream = await _until_ready(settings, client, sink, stopping, health)
        if stream is None:
            return
        workers = [PartitionWorker(context, stream, partition, sink, stopping) for partition in partitions]
        reporting = asyncio.create_task(_report(health, workers))
        await asyncio.gather(*(worker.run() for worker in workers))
        reporting.cancel()
    finally:
        sink.close()
        with contextlib.suppress(NatsError):
            await client.close()


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
        except SettingsError:
            raise
        except Exception as error:
            failures += 1
            wait_s = Backoff().wait_s(failures, random.random())
            logger.warning("%s is not ready: %s; again in %.1f s", sink.name, error, wait_s)
            health.write("retrying", str(error) or type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), wait_s)
        else:
            return stream
    return None


async def _report(health: HealthFile, workers: Sequence[PartitionWorker]) -> None:
    while True:
        troubles = [worker.progress.trouble for worker in workers if worker.progress.trouble]
        landed = sum(worker.progress.landed_events for worker in workers)
        health.write("retrying" if troubles else "running", "; ".join(troubles) or f"{landed:,} events landed")
        await asyncio.sleep(REPORT_EVERY_S)
