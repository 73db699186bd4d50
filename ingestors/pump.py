"""The one loop behind every sink: fetch, batch, land, mark.

The sink is the cursor. A worker begins where its sink says that it stands, reading through a durable consumer that it
makes anew from there; acknowledgements only move that consumer's mark, by which lag is seen. Whatever fails, the worker
asks the sink again and goes on from its answer, so that nothing is skipped and nothing is landed twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from ingestors.deadletters import bury
from ingestors.gathering import Gathering, Landing
from ingestors.meters import PartitionMeter
from ingestors.pulling import Pull
from ingestors.reading import LogMessage, read
from ingestors.retries import Action, decide
from ingestors.sink import Limits, Sink
from nervous_system import bus, subjects
from nervous_system.errors import EnchantedError
from nervous_system.failpoints import failpoint
from nervous_system.landing import Batch, Cursor, LandedMessage, Refusal
from nervous_system.retries import Backoff
from nervous_system.streams import StreamIdentity
from nervous_system.telemetry import hops, logs

logger = logging.getLogger(__name__)

FETCH_WAIT_S = 5.0
MARK_TIMEOUT_S = 5.0
# How soon a worker that waits for messages notices that its last batch could not be landed.
LANDING_LOOK_S = 0.1

# A worker that comes back makes its consumer anew, so redelivery by time is never waited for; it would only bring back
# messages that a slow sink, such as one that gathers a file, still holds.
ACKNOWLEDGE_WITHIN_S = 3600.0

# Down to a single message, whatever the limits.
MAX_HALVINGS = 30

# The time of a message that is read and of one that is delivered are not rounded alike.
ROUNDING = timedelta(milliseconds=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class DeliveryGapError(EnchantedError):
    """Messages went to another worker, or come a second time: this one starts again from the sink's cursor."""


class RemovedError(EnchantedError):
    """The log no longer has what the sink lacks: the sink was put back to before messages were removed."""


class LogFellBackError(EnchantedError):
    """The log ends before what was landed: it lost its end, and would give the same numbers to other messages."""


@dataclass(slots=True)
class Progress:
    """What a worker last did; read by whoever reports health."""

    failures: int = 0
    trouble: str = ""
    landed_events: int = 0

    def settle(self) -> None:
        """The trouble is over."""
        self.failures, self.trouble = 0, ""


@dataclass(slots=True)
class _Reading:
    """A consumer that is being read: when it was made, and how many messages it has given."""

    pull: Pull
    made: datetime
    delivered: int = 0


class PartitionWorker:
    """Lands one partition in one sink.

    Args:
        context: of a connection to the log.
        stream: what to read.
        partition: which part of it.
        sink: where to land.
        stopping: once set, the worker lands what it holds and returns.
    """

    def __init__(
        self,
        context: JetStreamContext,
        stream: StreamIdentity,
        partition: int,
        sink: Sink,
        stopping: asyncio.Event,
    ) -> None:
        self._context = context
        self._stream = stream
        self._partition = partition
        self._sink = sink
        self._stopping = stopping
        self._consumer = subjects.consumer(sink.name, partition)
        self._halvings = 0
        self.progress = Progress()
        self.meter = PartitionMeter(sink.name, partition)

    async def run(self, backoff: Backoff | None = None, spread: Callable[[], float] = random.random) -> None:
        """Lands messages until ``stopping`` is set; failures are waited out and tried again.

        Raises:
            SettingsError: a person must change a setting.
        """
        backoff = backoff or Backoff()
        while not self._stopping.is_set():
            try:
                await self._session()
            except Exception as error:
                action = decide(error)
                if action is Action.GIVE_UP:
                    raise
                self._halvings = min(self._halvings + (action is Action.SMALLER), MAX_HALVINGS)
                self.meter.failed(error)
                self.progress.failures += 1
                self.progress.trouble = f"partition {self._partition}: {error or type(error).__name__}"
                wait_s = backoff.wait_s(self.progress.failures, spread())
                logger.warning("%s; again in %.1f s", self.progress.trouble, wait_s)
                await self._pause(wait_s)

    async def _session(self) -> None:
        # Asked each time: a stream that was made anew counts from 1 again, so the sink's cursor must be of this one.
        self._stream = bus.identity(await self._context.stream_info(self._stream.name))
        cursor = await asyncio.to_thread(self._sink.cursor, self._stream, self._partition)
        await self._check_past(cursor)
        reading = await self._begin(cursor)
        gathering = Gathering(cursor.sequence, cursor.recorded_us)
        landing = Landing()
        try:
            while not self._stopping.is_set():
                try:
                    await self._gather_more(reading, gathering, landing)
                except Exception:
                    # What is held has no hole. Thrown away, it could come again and again while two workers contend.
                    await self._land_all(gathering, landing)
                    raise
                landing.check()
                if gathering.empty and landing.is_over:
                    # A whole wait in which the server answered and nothing came: all is well again.
                    self.progress.settle()
                elif self._full(gathering):
                    await landing.over()
                    landing.begin(self._land(gathering))
                    gathering = gathering.following()
            await self._land_all(gathering, landing)
        finally:
            await landing.abandon()
            with contextlib.suppress(nats.errors.Error):
                await reading.pull.close()

    async def _land_all(self, gathering: Gathering, landing: Landing) -> None:
        await landing.over()
        if not gathering.empty:
            await self._land(gathering)

    async def _gather_more(self, reading: _Reading, gathering: Gathering, landing: Landing) -> None:
        patience_s = self._patience_s(gathering)
        messages = await self._fetch(reading.pull, patience_s if landing.is_over else min(patience_s, LANDING_LOOK_S))
        # Asked while nothing comes as well: another worker may have taken what was left, and died with it.
        if messages or landing.is_over:
            await self._check_consumer(reading.made)
        for message in messages:
            if message.metadata.sequence.consumer != reading.delivered + 1 or message.metadata.num_delivered != 1:
                raise DeliveryGapError(f"another worker reads consumer {self._consumer}, or it was cut off")
            reading.delivered += 1
            self._gather(gathering, message)
        self.meter.holding(len(gathering.messages))

    async def _begin(self, cursor: Cursor) -> _Reading:
        """Makes the consumer anew behind ``cursor`` and begins to read it."""
        made = await self._make_consumer(cursor)
        await self._check_stream()
        pull = await Pull.open(self._context._nc, self._stream.name, self._consumer, self._limits.max_bytes)
        return _Reading(pull, made)

    async def _make_consumer(self, cursor: Cursor) -> datetime:
        """Gives the time at which it was made, by which it is known again."""
        with contextlib.suppress(NotFoundError):
            await self._context.delete_consumer(self._stream.name, self._consumer)
        info = await self._context.add_consumer(
            self._stream.name,
            api.ConsumerConfig(
                durable_name=self._consumer,
                filter_subject=subjects.partition_filter(self._partition),
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=cursor.sequence + 1,
                ack_policy=api.AckPolicy.ALL,
                ack_wait=ACKNOWLEDGE_WITHIN_S,
                max_ack_pending=-1,
                max_deliver=-1,
            ),
        )
        return info.created

    async def _check_consumer(self, made: datetime) -> None:
        """Raises where another worker has made the consumer anew: what just came may leave a hole.

        The delivery numbers alone would not show it where that worker has taken as many messages as this one.
        """
        info = await self._context.consumer_info(self._stream.name, self._consumer)
        if info.created != made:
            raise DeliveryGapError(f"another worker made consumer {self._consumer} anew")

    async def _check_past(self, cursor: Cursor) -> None:
        """Raises where the log no longer holds what ``cursor`` counts.

        Before the consumer is made anew: its mark tells producers how much the sink has.
        """
        info = await self._context.stream_info(self._stream.name)
        ended_early = info.state.last_seq < cursor.sequence
        if ended_early or await self._is_another(cursor):
            end = f"ends at {info.state.last_seq}" if ended_early else f"has another message at {cursor.sequence}"
            raise LogFellBackError(
                f"The log {end}, but {self._sink.name} has landed up to {cursor.sequence}: the "
                f"log lost its end. Nothing is landed until it is made anew: delete stream {self._stream.name}, and "
                "let its producers send again what is not in the ledger."
            )
        removed = bus.removed_through(info, self._partition)
        if cursor.sequence < removed and (cursor.sequence or not self._sink.may_begin_late):
            raise RemovedError(
                f"The log has nothing of partition {self._partition} up to {removed} any more, and {self._sink.name} "
                f"has landed it up to {cursor.sequence} only: fill an empty one from the archive with `enchanted "
                "rebuild`, or put a younger backup in its place. Nothing is landed until then."
            )

    async def _is_another(self, cursor: Cursor) -> bool:
        """Whether the log took the message at the cursor later than the one that was landed: it lost that one."""
        if not (cursor.sequence and cursor.recorded_us):
            return False
        try:
            message = await self._context.get_msg(self._stream.name, seq=cursor.sequence)
        except NotFoundError:
            return False
        return message.time is not None and message.time - _EPOCH > cursor.recorded_us * _MICROSECOND + ROUNDING

    async def _check_stream(self) -> None:
        """Raises where the consumer, just made, does not read the stream that the cursor counts in."""
        if bus.identity(await self._context.stream_info(self._stream.name)) != self._stream:
            raise DeliveryGapError(f"stream {self._stream.name} was made anew meanwhile")

    async def _fetch(self, pull: Pull, patience_s: float) -> list[Msg]:
        """The next messages; none where none came in time. A stop does not wait for them."""
        fetching = asyncio.ensure_future(pull.fetch(patience_s))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({fetching, stop}, return_when=asyncio.FIRST_COMPLETED)
            return fetching.result() if fetching.done() else []
        finally:
            fetching.cancel()
            stop.cancel()
            await asyncio.gather(fetching, stop, return_exceptions=True)

    @property
    def _limits(self) -> Limits:
        """The sink's, halved each time that it found a batch too much."""
        whole, share = self._sink.limits, 1 << self._halvings
        return replace(whole, max_events=max(whole.max_events // share, 1), max_bytes=max(whole.max_bytes // share, 1))

    def _patience_s(self, gathering: Gathering) -> float:
        if gathering.empty:
            return FETCH_WAIT_S
        left_s = gathering.began_s + self._sink.limits.max_age_s - asyncio.get_running_loop().time()
        return min(max(left_s, 0.01), FETCH_WAIT_S)

    def _gather(self, gathering: Gathering, message: Msg) -> None:
        if gathering.empty:
            gathering.began_s = asyncio.get_running_loop().time()
        landed, refusals = read(_log_message(message), gathering.recorded_us)
        gathering.refusals += refusals
        gathering.last_message = message
        failpoint("after-fetch")
        gathering.messages.append(landed)
        gathering.published_us.append(hops.published_us((message.headers or {}).get(hops.PUBLISHED_HEADER, "")))
        gathering.recorded_us = landed.recorded_us
        gathering.size_bytes += landed.size_bytes
        gathering.events += len(landed.events)

    def _full(self, gathering: Gathering) -> bool:
        limits = self._limits
        age_s = asyncio.get_running_loop().time() - gathering.began_s
        # An empty one has no age: nothing of it can be landed, however long the one before takes.
        return not gathering.empty and (
            gathering.size_bytes >= limits.max_bytes
            or gathering.events >= limits.max_events
            or age_s >= limits.max_age_s
        )

    async def _land(self, gathering: Gathering) -> None:
        assert gathering.last_message is not None
        batch = Batch(self._stream, self._partition, gathering.after, tuple(gathering.messages))
        # What is refused must be safe in the dead-letter stream before the sink's cursor passes it.
        await self._bury(gathering.refusals)
        failpoint("before-land")
        limits, began_s = self._limits, asyncio.get_running_loop().time()
        landed: list[LandedMessage] = []
        for share in batch.split(limits.max_bytes, limits.max_events):
            landed += (await self._land_share(share)).messages
            failpoint("after-share")
            self._halvings = max(self._halvings - 1, 0)
        self.meter.landed(landed, gathering.published_us, asyncio.get_running_loop().time() - began_s)
        failpoint("after-land")
        await self._mark(gathering.last_message)
        failpoint("after-mark")
        self.progress.settle()
        self.progress.landed_events += sum(len(message.events) for message in landed)

    async def _land_share(self, share: Batch) -> Batch:
        """What landed of the share: all that the sink did not refuse."""
        while refusals := await asyncio.to_thread(self._sink.land, share):
            await self._bury([replace(refusal, subject=_subject(share, refusal)) for refusal in refusals])
            share = share.without(refusals)
        return share

    async def _bury(self, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            await bury(self._context, self._sink.name, self._partition, self._stream, refusal)
            self.meter.buried(refusal)
            logger.warning(
                "refused message %d, event %d: %s", refusal.sequence, refusal.index, refusal.code, extra=_facts(refusal)
            )
            failpoint("after-bury")

    async def _mark(self, message: Msg) -> None:
        try:
            await message.ack_sync(timeout=MARK_TIMEOUT_S)
        except (TimeoutError, nats.errors.Error, APIError) as error:
            # The mark is not the truth: the next one takes its place.
            logger.info("partition %d: the mark was not taken: %s", self._partition, error)

    async def _pause(self, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait_s)


def _facts(refusal: Refusal) -> dict[str, object]:
    """What a log line about it says beside its words. The reason may quote what an agent wrote, and is left out."""
    facts = {"stream_sequence": refusal.sequence, "event_index": refusal.index, "reason_code": refusal.code}
    trace_id = logs.trace_id(refusal.data) if refusal.index >= 0 else ""
    return {**facts, "trace_id": trace_id} if trace_id else facts


def _subject(batch: Batch, refusal: Refusal) -> str:
    """What a sink refuses came as an event, so that its project tells its subject."""
    project = next(message.project for message in batch.messages if message.sequence == refusal.sequence)
    return subjects.stored(project, subjects.EVENTS, batch.partition) if project is not None else ""


def _log_message(message: Msg) -> LogMessage:
    metadata = message.metadata
    return LogMessage(
        subject=message.subject,
        sequence=metadata.sequence.stream,
        logged_us=(metadata.timestamp - _EPOCH) // _MICROSECOND,
        headers=dict(message.headers or {}),
        data=message.data,
    )
