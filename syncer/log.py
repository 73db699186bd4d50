"""The log as a syncer sees it.

The connection ends when it is cut, and is not made again below the syncer's feet: the log on the other end may have
been restored from a backup meanwhile, and must be looked at before anything is sent, or later events would come to
stand before earlier ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import api
from nats.js.errors import NotFoundError

from nervous_system import bus, subjects
from nervous_system.errors import UnavailableError
from nervous_system.inquiries import Inquiry
from nervous_system.outbox.draining import OutboxBatch
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.subjects import StoredSubject

T = TypeVar("T")

# Whose mark says how far the ledger is.
LEDGER_SINK = "ledger"
_KINDS = {"events": subjects.EVENTS, "part": subjects.BLOBS}


class LogChangedError(UnavailableError):
    """The log is not the one that was looked at: made anew, or without its end."""

    def __init__(self) -> None:
        super().__init__("The log was made anew or restored from a backup: it is looked at, and sent what it lacks.")


@dataclass(frozen=True, slots=True)
class Found:
    """A message of the log: under which id it was sent, and in which partition it is."""

    message_id: str
    partition: int


class Log:
    """A connection to the log.

    Raises, from every method: UnavailableError where it does not answer or refuses.
    """

    def __init__(
        self, client: Client, stream: StreamIdentity, cut: asyncio.Event, inquiry: Inquiry | None = None
    ) -> None:
        self.stream = stream
        self._inquiry = inquiry
        self._client = client
        self._context = client.jetstream()
        self._cut = cut
        self._is_changed = False

    @classmethod
    async def open(cls, settings: Settings) -> Log:
        """Connects, and makes the stream where there is none; with credentials of one tenant it must be there.

        Raises:
            AccessError: the credentials are refused.
            SettingsError: no address is set, or the stream has another number of partitions.
        """
        cut = asyncio.Event()
        client = await bus.connect(settings, ended=cut)
        try:
            if settings.nats_tenant:
                inquiry = Inquiry(client, settings.nats_tenant)
                return cls(client, (await _answered(inquiry.log(), cut)).identity, cut, inquiry)
            return cls(client, await _answered(bus.ensure_stream(client.jetstream(), settings), cut), cut)
        except BaseException:
            await client.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether the connection lasts, and leads to the log that was looked at."""
        return self._client.is_connected and not self._is_changed

    def changed(self) -> LogChangedError:
        """The error to raise where the log turns out to be another one; nobody uses this connection from now on."""
        self._is_changed = True
        return LogChangedError()

    async def close(self) -> None:
        """Disconnects."""
        with suppress(nats.errors.Error, OSError):
            await self._client.close()

    async def last_sequence(self) -> int:
        """Where the stream ends; raises LogChangedError where it is another one than at the beginning."""
        stream, last_sequence = await self._end()
        if stream != self.stream:
            raise self.changed()
        return last_sequence

    async def _end(self) -> tuple[StreamIdentity, int]:
        if self._inquiry is not None:
            end = await _answered(self._inquiry.log(), self._cut)
            return end.identity, end.last_sequence
        try:
            info = await _answered(self._context.stream_info(self.stream.name), self._cut)
        except NotFoundError as error:
            raise self.changed() from error
        return bus.identity(info), info.state.last_seq

    async def send(self, project: ProjectName, batch: OutboxBatch) -> api.PubAck:
        """Returns once the batch is on disk in the log, however often it was sent before."""
        headers = {subjects.PART_HASH_HEADER: batch.part_hash} if batch.kind == "part" else None
        subject = subjects.published(project, _KINDS[batch.kind])
        return await _answered(bus.publish(self._context, subject, batch.payload, batch.message_id, headers), self._cut)

    async def find(self, sequence: int) -> Found | None:
        """The message at ``sequence``; None where there is none."""
        if self._inquiry is not None:
            found = await _answered(self._inquiry.message(sequence), self._cut)
            return Found(found.message_id, found.partition) if found.is_there else None
        try:
            message = await _answered(self._context.get_msg(self.stream.name, seq=sequence), self._cut)
        except NotFoundError:
            return None
        message_id = (message.headers or {}).get(api.Header.MSG_ID.value, "")
        return Found(message_id, StoredSubject.parse(str(message.subject)).partition)

    async def landed(self, partition: int) -> int:
        """Up to which sequence the ledger's worker has landed the partition; 0 where there is no worker now."""
        if self._inquiry is not None:
            return await _answered(self._inquiry.landed(partition), self._cut)
        name = subjects.consumer(LEDGER_SINK, partition)
        try:
            info: api.ConsumerInfo = await _answered(self._context.consumer_info(self.stream.name, name), self._cut)
        except NotFoundError:
            return 0
        return info.ack_floor.stream_seq if info.ack_floor else 0


async def _answered(work: Coroutine[Any, Any, T], cut: asyncio.Event) -> T:
    """What the log answers; raises NotFoundError as it is.

    A request of the client library waits on where the connection was cut.
    """
    asking, cutting = asyncio.ensure_future(work), asyncio.ensure_future(cut.wait())
    try:
        await asyncio.wait((asking, cutting), return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
        raise UnavailableError("The connection to the hub was cut.")
    except NotFoundError:
        raise
    except (TimeoutError, nats.errors.Error) as error:
        raise UnavailableError(f"The hub does not answer ({type(error).__name__}): see `enchanted status`.") from error
    finally:
        for task in (asking, cutting):
            task.cancel()
        await asyncio.gather(asking, cutting, return_exceptions=True)
