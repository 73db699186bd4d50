"""What goes of the log: messages that every store has passed, up to a sequence for each subject.

Each project's last message of events stays, by which is known where the project stands: to whoever imports more of it,
waits for it, or writes only where nothing came between. So does what a dead letter is completed from, and a part of a
large content that the archive does not have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from ingestors.buried import CONSUMER_LIFE_S, PATIENCE_S, DeadLetters
from ingestors.janitor.bounds import Bounds
from ingestors.janitor.plan import StorePlan, Tally
from ingestors.pulling import BUFFER_BYTES, Pull
from ingestors.pump import ROUNDING
from nervous_system import bus, subjects
from nervous_system.archive.manifest import Place
from nervous_system.errors import ContractError, UnavailableError
from nervous_system.events import MESSAGE_LIMIT_BYTES, utc
from nervous_system.failpoints import failpoint
from nervous_system.landing import Cursor
from nervous_system.settings import Settings
from nervous_system.subjects import StoredSubject

STORE = "stream"
REQUEST_WITHIN_S = 60.0

HasPart = Callable[[str, bytes], bool]
"""Whether the archive has a part of a content, by tenant and SHA-256: read back, and hashed."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What may go of one subject.

    Args:
        subject: as the log keeps it.
        tenant: whose it is.
        messages: how many.
        through: all up to this sequence.
        until_us: when the log took the last of it, or later; microseconds since 1970.
        held: why more stays than must; empty where nothing does.
    """

    subject: str
    tenant: str
    messages: int
    through: int
    until_us: int
    held: str = ""


class LogStore:
    """Messages of the log that may go.

    Args:
        client: connected.
        info: of the stream.
        has_part: asks the archive.
    """

    def __init__(self, client: Client, info: api.StreamInfo, has_part: HasPart) -> None:
        self._client = client
        self._context: JetStreamContext = client.jetstream()
        self._name = str(info.config.name)
        self._stream = bus.identity(info)
        self._has_part = has_part

    async def size_bytes(self) -> int:
        """Room that the messages take."""
        return (await self._context.stream_info(self._name)).state.bytes

    async def check(self, cursors: Mapping[Place, Sequence[Cursor]]) -> None:
        """Raises UnavailableError where the log is not the one that the stores have landed: it lost its end.

        Its sequences then lead to messages that nobody has.

        Args:
            cursors: how far every store has landed the partitions.
        """
        end = (await self._context.stream_info(self._name)).state.last_seq
        for (stream, _), known in cursors.items():
            for cursor in known:
                if stream == self._stream and (cursor.sequence > end or await self._is_later(cursor)):
                    raise UnavailableError(
                        f"The log is not the one that was landed up to {cursor.sequence}: it was restored from a "
                        "backup, or lost its end. Nothing of it was removed; see `enchanted status`."
                    )

    async def _check_same(self) -> None:
        """Raises UnavailableError where the log was made anew since it was looked at, or is about to be."""
        info = await self._context.stream_info(self._name)
        if bus.identity(info) != self._stream or bus.closed_partitions(info):
            raise UnavailableError("The log is being made anew: run this again once that is finished.")

    async def _is_later(self, cursor: Cursor) -> bool:
        """Whether the message at a cursor came later than the one that was landed."""
        if not (cursor.sequence and cursor.recorded_us):
            return False
        try:
            message = await self._context.get_msg(self._name, seq=cursor.sequence)
        except NotFoundError:
            return False
        return message.time is not None and message.time > utc(cursor.recorded_us) + ROUNDING

    async def plan(self, bounds: Bounds) -> StorePlan:
        """What may go."""
        state = (await self._context.stream_info(self._name)).state
        tally, held = Tally(), []
        async for each in self._outgoing(bounds):
            tally.add(each.tenant, each.messages, each.until_us)
            held += [each.held] if each.held else []
        shares = tally.shares()
        messages = sum(share.items for share in shares)
        size_bytes = state.bytes * messages // state.messages if state.messages else 0
        return StorePlan(STORE, shares, size_bytes, tuple(held))

    async def remove(self, bounds: Bounds) -> tuple[int, tuple[str, ...]]:
        """Removes what may go: how many messages did, and why others stay."""
        outgoing = [each async for each in self._outgoing(bounds)]
        await self._check_same()
        # Before the first goes: a store that is put back to before that must be found to lack it.
        await bus.mark_removed(self._context, self._name, _through(outgoing))
        failpoint("janitor-after-mark")
        purged, held = 0, []
        for each in outgoing:
            if each.messages:
                # Sequences of a log that was made anew lead to messages that nobody has.
                await self._check_same()
                purged += await self._purge(each.subject, each.through)
                failpoint("janitor-after-purge")
            held += [each.held] if each.held else []
        return purged, tuple(held)

    async def _outgoing(self, bounds: Bounds) -> AsyncIterator[Outgoing]:
        letters = await self._needed_by_letters()
        for stream, partition in bounds.places:
            if stream != self._stream:
                continue
            for subject, count in (await self._subjects(partition)).items():
                try:
                    tenant = StoredSubject.parse(subject).project.tenant
                except ContractError:
                    # Refused, and in the dead letters; it belongs to no tenant.
                    tenant = ""
                limit = bounds.through((stream, partition), tenant)
                # Below every cursor: by the message at its cursor a worker knows the log again.
                found = await self._of_subject(subject, count, limit.sequence - 1, letters)
                if found is not None:
                    messages, through, held = found
                    yield Outgoing(subject, tenant, messages, through, limit.recorded_us, held)

    async def _of_subject(
        self, subject: str, count: int, limit: int, letters: Mapping[str, int]
    ) -> tuple[int, int, str] | None:
        """How many messages may go, up to where, and why others stay; None where none is old enough."""
        kind = subject.rpartition(".")[2]
        if limit < 1 or (kind == subjects.EVENTS and count < 2):
            return None
        first = await _sequence(self._context.get_msg(self._name, seq=1, subject=subject, next=True))
        if not 0 < first <= limit:
            return None
        held = ""
        if kind == subjects.EVENTS:
            last = await _sequence(self._context.get_last_msg(self._name, subject))
            limit = min(limit, last - 1)
        if subject in letters and letters[subject] <= limit:
            limit = letters[subject] - 1
            held = f"{subject}: a dead letter needs message {letters[subject]}; see `enchanted dlq list`."
        if kind == subjects.BLOBS and (missing := await self._missing_part(subject, limit)):
            limit = missing - 1
            held = f"{subject}: the archive lacks the part of a content that message {missing} carries."
        messages = count - await self._count_after(subject, limit)
        return (messages, limit, held) if messages > 0 or held else None

    async def _subjects(self, partition: int) -> dict[str, int]:
        """Every subject of a partition that has messages, with their number."""
        found: dict[str, int] = {}
        while True:
            wanted = {"subjects_filter": subjects.partition_filter(partition), "offset": len(found)}
            answer = await self._ask(f"STREAM.INFO.{self._name}", wanted)
            page = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def _count_after(self, subject: str, sequence: int) -> int:
        """How many messages a subject has behind a sequence."""
        async with self._reader(subject, sequence + 1) as consumer:
            return consumer.num_pending or 0

    async def _missing_part(self, subject: str, limit: int) -> int:
        """The first message up to ``limit`` whose part the archive lacks; 0 where it has all."""
        tenant = StoredSubject.parse(subject).project.tenant
        async with self._reader(subject, 1) as consumer:
            async for message in self._messages(consumer):
                sequence = message.metadata.sequence.stream
                if sequence > limit:
                    return 0
                promised = (message.headers or {}).get(subjects.PART_HASH_HEADER, "")
                if not await self._is_safe(tenant, promised, sequence):
                    return sequence
        return 0

    async def _messages(self, consumer: api.ConsumerInfo) -> AsyncIterator[Msg]:
        """What a consumer has to give as of now."""
        left = consumer.num_pending or 0
        pull = await Pull.open(self._client, self._name, str(consumer.name), BUFFER_BYTES)
        try:
            while left:
                messages = await pull.fetch(PATIENCE_S)
                if not messages:
                    raise UnavailableError("The log was changed while it was read: run this again.")
                for message in messages:
                    left -= 1
                    yield message
        finally:
            await pull.close()

    async def _is_safe(self, tenant: str, promised: str, sequence: int) -> bool:
        """Whether the archive has what a message carries, or nobody ever will, because it is refused."""
        digest = bytes.fromhex(promised) if _is_digest(promised) else b""
        if digest and self._has_part(tenant, digest):
            return True
        try:
            message = await self._context.get_msg(self._name, seq=sequence)
        except NotFoundError:
            return True
        return hashlib.sha256(message.data or b"").digest() != digest

    @asynccontextmanager
    async def _reader(self, subject: str, first: int) -> AsyncIterator[api.ConsumerInfo]:
        """A consumer of a subject's messages from a sequence on, without their bytes."""
        consumer = await self._context.add_consumer(
            self._name,
            api.ConsumerConfig(
                ack_policy=api.AckPolicy.NONE,
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=first,
                filter_subject=subject,
                headers_only=True,
                inactive_threshold=CONSUMER_LIFE_S,
                mem_storage=True,
            ),
        )
        try:
            yield consumer
        finally:
            await self._context.delete_consumer(self._name, str(consumer.name))

    async def _needed_by_letters(self) -> dict[str, int]:
        """For each subject the first message from which a dead letter is completed."""
        found: dict[str, int] = {}
        for letter in await DeadLetters(self._client, self._stream).all():
            is_needed = letter.is_message and letter.stream == self._stream
            is_part = letter.subject.endswith(f".{subjects.BLOBS}")
            if is_needed and (is_part or letter.size_bytes > MESSAGE_LIMIT_BYTES):
                found[letter.subject] = min(letter.sequence, found.get(letter.subject, letter.sequence))
        return found

    async def _purge(self, subject: str, through: int) -> int:
        answer = await self._ask(f"STREAM.PURGE.{self._name}", {"filter": subject, "seq": through + 1})
        return int(answer["purged"])

    async def _ask(self, what: str, wanted: Mapping[str, object]) -> dict[str, Any]:
        reply = await self._client.request(f"$JS.API.{what}", json.dumps(wanted).encode(), timeout=REQUEST_WITHIN_S)
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise APIError.from_error(answer["error"])
        return answer


@asynccontextmanager
async def opened(settings: Settings, has_part: HasPart) -> AsyncIterator[LogStore]:
    """The log.

    Raises:
        UnavailableError: it does not answer.
        AccessError: it refuses the token.
    """
    client = await bus.connect(settings)
    try:
        info = await client.jetstream().stream_info(settings.stream)
        yield LogStore(client, info, has_part)
    except (TimeoutError, nats.errors.Error) as error:
        raise UnavailableError(
            f"The hub does not answer ({type(error).__name__}): see `enchanted status`, then run it again."
        ) from error
    finally:
        await client.close()


def _through(outgoing: Sequence[Outgoing]) -> dict[int, int]:
    """For each partition, up to which sequence messages of it go."""
    found: dict[int, int] = {}
    for each in outgoing:
        if each.messages:
            partition = int(each.subject.split(".")[1])
            found[partition] = max(each.through, found.get(partition, 0))
    return found


async def _sequence(asked: Awaitable[api.RawStreamMsg]) -> int:
    """Of the message that is asked for; 0 where there is none."""
    try:
        return (await asked).seq or 0
    except NotFoundError:
        return 0


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(character in "0123456789abcdef" for character in text)
