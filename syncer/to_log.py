"""Outboxes to the log: one batch of a project on its way at a time, so that none can overtake another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from nervous_system.errors import UnavailableError
from nervous_system.outbox.draining import Acknowledgement, Drain, OutboxBatch, Sent
from nervous_system.settings import Settings
from syncer.carrying import GROUP_BATCHES, Told, Until
from syncer.log import Log

logger = logging.getLogger(__name__)

# A hub that has just not answered one outbox is not asked again for another one.
GRACE_S = 1.0


class LogCarrier:
    """One connection to the log, shared by all outboxes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._log: Log | None = None
        self._failure: tuple[float, Exception] | None = None

    async def begin(self, drain: Drain) -> LogCarriage:
        """A carriage that has looked; raises EnchantedError where the hub does not answer."""
        carriage = LogCarriage(await self._connected(), drain, self._settings.outbox_keep_s)
        await carriage.look()
        return carriage

    async def close(self) -> None:
        """Disconnects."""
        if self._log is not None:
            await self._log.close()
            self._log = None

    async def _connected(self) -> Log:
        async with self._lock:
            if self._log is not None and self._log.is_open:
                return self._log
            await self.close()
            now_s = asyncio.get_running_loop().time()
            if self._failure is not None and now_s - self._failure[0] < GRACE_S:
                raise self._failure[1]
            try:
                self._log = await Log.open(self._settings)
            except Exception as error:
                self._failure = (asyncio.get_running_loop().time(), error)
                raise
            return self._log


class LogCarriage:
    """See ``Carriage``.

    Args:
        log: a connection that lasts.
        drain: of one outbox.
        keep_s: how long what the ledger has is kept.
    """

    def __init__(self, log: Log, drain: Drain, keep_s: float) -> None:
        self._log = log
        self._drain = drain
        self._keep_s = keep_s
        self._partition: int | None = None
        self._last_sequence = 0

    @property
    def is_open(self) -> bool:
        """Whether the connection lasts."""
        return self._log.is_open

    async def look(self) -> None:
        """Has sent again what the log lacks of what it had acknowledged."""
        end = await self._log.last_sequence()
        last = await asyncio.to_thread(self._drain.last_sent, self._log.stream)
        if last is None or await self._holds(last, end):
            self._last_sequence = last.sequence if last else 0
        else:
            self._last_sequence = await self._last_held(end)
        lost = await asyncio.to_thread(self._drain.rewind, self._log.stream, self._last_sequence if last else end)
        if lost:
            logger.warning(
                "%s: the log was made anew or restored from a backup; it is sent %d batches again",
                self._drain.about.project,
                lost,
            )

    async def send(self, told: Told, until: Until) -> int:
        """Sends what waits, in order."""
        sent = 0
        while not until() and (batches := await asyncio.to_thread(self._drain.pending, GROUP_BATCHES)):
            await self._log.last_sequence()
            sent += await self._send(batches, told, until)
        return sent

    async def cover(self) -> bool:
        """Notes what the ledger has of it, and deletes what it has had for long."""
        last = await asyncio.to_thread(self._drain.last_sent, self._log.stream)
        covered = last if last is None or last.is_covered else await self._cover(last)
        await asyncio.to_thread(self._drain.prune, self._keep_s)
        return covered == last

    async def _cover(self, last: Sent) -> Sent | None:
        """Gives the last batch that the ledger has."""
        partition = await self._partition_of(last)
        # The mark first and then the message: were the log restored in between, that message would be another one.
        landed = await self._log.landed(partition)
        mark = await asyncio.to_thread(self._drain.last_sent, self._log.stream, landed)
        if mark is not None and not mark.is_covered:
            if not await self._holds(mark, landed):
                raise self._log.changed()
            await asyncio.to_thread(self._drain.cover, self._log.stream, mark.sequence)
        return last if mark is not None and mark.number == last.number else mark

    async def _send(self, batches: Sequence[OutboxBatch], told: Told, until: Until) -> int:
        acknowledgements: list[Acknowledgement] = []
        try:
            for batch in batches:
                if until():
                    break
                acknowledgements.append(await self._send_one(batch))
                told(batch)
        finally:
            if acknowledgements:
                await asyncio.to_thread(self._drain.acknowledge, self._log.stream, acknowledgements)
        return len(acknowledgements)

    async def _send_one(self, batch: OutboxBatch) -> Acknowledgement:
        answer = await self._log.send(self._drain.about.project, batch)
        if answer.seq <= self._last_sequence and not answer.duplicate:
            raise self._log.changed()
        self._last_sequence = max(self._last_sequence, answer.seq)
        return Acknowledgement(batch.number, answer.seq)

    async def _holds(self, sent: Sent, end: int) -> bool:
        """Whether the log, which ends at ``end``, has the batch where it said.

        By its message id: a log that was restored may have grown past that sequence again, with other messages.
        """
        if sent.sequence > end:
            return False
        found = await self._log.find(sent.sequence)
        if found is None:
            # The hub may let old messages go; but not before the ledger has them.
            return sent.is_covered
        if found.message_id != sent.message_id:
            return False
        self._partition = found.partition
        return True

    async def _last_held(self, end: int) -> int:
        """The sequence of the last batch that the log has; 0 for none. What it has is a beginning of what it had."""
        sent = await asyncio.to_thread(self._drain.sent, self._log.stream)
        low, high = 0, len(sent)
        while low < high:
            middle = (low + high) // 2
            if await self._holds(sent[middle], end):
                high = middle
            else:
                low = middle + 1
        return sent[low].sequence if low < len(sent) else 0

    async def _partition_of(self, sent: Sent) -> int:
        if self._partition is None:
            # Another project's message says nothing of this one's partition.
            if not await self._holds(sent, sent.sequence):
                raise self._log.changed()
            if self._partition is None:
                raise UnavailableError(f"The log lacks message {sent.sequence}, which it has acknowledged.")
        return self._partition
