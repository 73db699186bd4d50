"""Looks at what workers cannot see while they work: how much is left, and whether the store is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ingestors import meters
from ingestors.meters import PartitionMeter
from ingestors.progress import ProgressTable, taken
from ingestors.sink import Sink
from nervous_system import bus, subjects
from nervous_system.errors import AccessError
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
# Two questions for each partition: a worker that has hundreds asks less often.
LOOK_EACH_S = 0.05
ROWS_EVERY_S = 10.0
ANSWER_WITHIN_S = 5.0


class Watch:
    """Asks the log and the store every few seconds.

    Args:
        settings: name the stream, and the ClickHouse that rows go to.
        context: of a connection to the log.
        sink: whose store is asked.
        meters: are told what the log says of their partitions.
    """

    def __init__(
        self, settings: Settings, context: JetStreamContext, sink: Sink, meters: Sequence[PartitionMeter]
    ) -> None:
        self._stream = settings.stream
        self._context = context
        self._sink = sink
        self._meters = meters
        self._table = ProgressTable(settings)
        # Threads of its own, so that a store which hangs takes none from the landing.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="watch")
        self._asking: dict[str, asyncio.Future[None]] = {}
        self._written_s = time.monotonic()
        self.reasons: tuple[str, ...] = ()
        """What is in the way, in words that anybody may read."""

    async def run(self) -> None:
        """Looks until it is cancelled."""
        try:
            while True:
                log, store = await asyncio.gather(self._look_at_log(), self._check())
                self.reasons = tuple(filter(None, (log, store)))
                await asyncio.sleep(max(LOOK_EVERY_S, LOOK_EACH_S * len(self._meters)))
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._table.close()

    async def _check(self) -> str:
        """Why the store is not ready; empty where it is."""
        try:
            answered = await self._in_thread("check", self._sink.check)
        except Exception as error:
            logger.info("%s: %s", self._sink.name, error)
            return (
                "the store refuses the credentials" if isinstance(error, AccessError) else "the store does not answer"
            )
        return "" if answered else "the store does not answer in time"

    async def _look_at_log(self) -> str:
        """Why the log is not ready; empty where it is."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S + len(self._meters)):
                await self._measure()
        except (TimeoutError, nats.errors.Error) as error:
            logger.debug("the log: %s", error or type(error).__name__)
            return "the log does not answer"
        return ""

    async def _measure(self) -> None:
        info = await self._context.stream_info(self._stream)
        meters.STREAM_MESSAGES.set(info.state.messages)
        meters.STREAM_BYTES.set(info.state.bytes)
        dead = await self._context.stream_info(subjects.DEAD_LETTER_STREAM)
        meters.DEAD_HELD.set(dead.state.messages)
        for meter in list(self._meters):
            with contextlib.suppress(NotFoundError):
                await self._measure_partition(meter)
        if time.monotonic() >= self._written_s + ROWS_EVERY_S:
            self._written_s = time.monotonic()
            await self._write(bus.identity(info))

    async def _write(self, stream: StreamIdentity) -> None:
        self._table.keep(taken(self._meters, self._sink.name, stream))
        await self._in_thread("rows", self._table.write)

    async def _measure_partition(self, meter: PartitionMeter) -> None:
        """Raises NotFoundError where its worker has not made its consumer yet, or is making it anew."""
        consumer = await self._context.consumer_info(self._stream, subjects.consumer(self._sink.name, meter.partition))
        waiting = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        mark = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
        # A consumer that was made anew has no mark yet, and begins behind what is landed.
        first = max(mark + 1, consumer.config.opt_start_seq or 1)
        meter.waiting(waiting, await self._recorded_us(meter.partition, first) if waiting else 0)

    async def _recorded_us(self, partition: int, first: int) -> int:
        """When the log took the partition's first message from sequence ``first`` on; 0 where there is none."""
        message = await self._context.get_msg(
            self._stream, seq=first, subject=subjects.partition_filter(partition), next=True
        )
        return int(message.time.timestamp() * 1e6) if isinstance(message.time, datetime) else 0

    async def _in_thread(self, name: str, work: Callable[[], None]) -> bool:
        """Whether ``work`` was done in time; one that was not is waited for again, and not begun a second time."""
        asked = self._asking.get(name)
        if asked is None:
            asked = self._asking[name] = asyncio.get_running_loop().run_in_executor(self._threads, work)
        await asyncio.wait({asked}, timeout=ANSWER_WITHIN_S)
        if not asked.done():
            return False
        del self._asking[name]
        asked.result()
        return True
