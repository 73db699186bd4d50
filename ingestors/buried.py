"""What is in the dead-letter stream: read, completed from the log, and taken out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError
from nats.js.errors import NotFoundError as NoMessageError

from ingestors import deadletters
from ingestors.pulling import BUFFER_BYTES, Pull
from nervous_system import bus, subjects
from nervous_system.errors import ContractError, NotFoundError, UnavailableError
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.subjects import StoredSubject

# What of the stream is asked for may be removed meanwhile by someone else, and then does not come.
PATIENCE_S = 5.0
# A reader that was killed leaves its consumer for this long.
CONSUMER_LIFE_S = 60.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refusal, however often it was buried.

    Args:
        numbers: where the dead-letter stream has it, ascending: several where sinks met it too far apart in time.
        buried_us: when it was buried first, microseconds since 1970.
        sinks: who refused it.
        code: the reason's short stable name.
        reason: a sentence.
        stream: the log that ``sequence`` counts in.
        sequence: of the message that carried it.
        index: the event's place in the message; -1 for the message itself.
        size_bytes: of what was refused; the dead-letter stream may have less of it.
        subject: of the message, as the log keeps it; empty where that is not known.
    """

    numbers: tuple[int, ...]
    buried_us: int
    sinks: tuple[str, ...]
    code: str
    reason: str
    stream: StreamIdentity
    sequence: int
    index: int
    size_bytes: int
    subject: str

    @property
    def id(self) -> int:
        """What a person calls it."""
        return self.numbers[0]

    @property
    def refusal(self) -> tuple[StreamIdentity, int, int, str]:
        """What makes two of them the same."""
        return self.stream, self.sequence, self.index, self.code

    @property
    def is_message(self) -> bool:
        """Whether a whole message was refused, and not one event of it."""
        return self.index < 0

    @property
    def project(self) -> ProjectName | None:
        """Whose subject it came on; None where that names none."""
        try:
            return StoredSubject.parse(self.subject).project
        except ContractError:
            return None


@dataclass(frozen=True, slots=True)
class Original:
    """The message of the log that carried what was refused."""

    subject: str
    headers: dict[str, str]
    data: bytes


class DeadLetters:
    """The dead letters of a hub; see ``opened``.

    Args:
        client: connected to it.
        stream: the log as it is now.
    """

    def __init__(self, client: Client, stream: StreamIdentity) -> None:
        self.context: JetStreamContext = client.jetstream()
        self.stream = stream
        self._client = client

    async def all(self) -> list[DeadLetter]:
        """Every dead letter, the first buried first."""
        found = [letter async for message in self._headers() if (letter := _letter(message)) is not None]
        return [await self._located(letter) for letter in merged(found)]

    async def data(self, letter: DeadLetter) -> bytes:
        """The verbatim bytes that were refused; raises NotFoundError where they are nowhere in full."""
        data = await self.excerpt(letter)
        if len(data) == letter.size_bytes:
            return data
        original = await self.original(letter)
        if original is None or len(original.data) != letter.size_bytes or not original.data.startswith(data):
            raise NotFoundError(
                f"Of dead letter {letter.id} only the first {len(data):,} of {letter.size_bytes:,} bytes are kept: the "
                f"log no longer has message {letter.sequence} of {letter.stream}."
            )
        return original.data

    async def excerpt(self, letter: DeadLetter) -> bytes:
        """The bytes as the dead-letter stream has them: all, or of a large message the beginning."""
        message = await self._message(subjects.DEAD_LETTER_STREAM, letter.id)
        if message is None:
            raise NotFoundError(f"Dead letter {letter.id} was removed meanwhile: see `enchanted dlq list`.")
        return message.data or b""

    async def original(self, letter: DeadLetter) -> Original | None:
        """The message that carried it; None where the log no longer has it."""
        if letter.stream != self.stream:
            return None
        message = await self._message(self.stream.name, letter.sequence)
        if message is None:
            return None
        headers = {name: str(value) for name, value in (message.headers or {}).items()}
        return Original(str(message.subject), headers, message.data or b"")

    async def remove(self, letter: DeadLetter) -> None:
        """Takes it out of the dead-letter stream for good; safe where it is out already."""
        for number in letter.numbers:
            # Not overwritten, which takes six times as long: the log has the same bytes anyway.
            request = json.dumps({"seq": number, "no_erase": True}).encode()
            reply = await self._client.request(
                f"$JS.API.STREAM.MSG.DELETE.{subjects.DEAD_LETTER_STREAM}", request, timeout=bus.ACKNOWLEDGE_TIMEOUT_S
            )
            error = json.loads(reply.data).get("error")
            if error and await self._message(subjects.DEAD_LETTER_STREAM, number) is not None:
                raise APIError.from_error(error)

    async def clear(self, through: int) -> None:
        """Takes out everything up to a number, in one step however much it is."""
        await self.context.purge_stream(subjects.DEAD_LETTER_STREAM, seq=through + 1)

    async def _headers(self) -> AsyncIterator[Msg]:
        """The messages of the dead-letter stream as of now, without their bytes."""
        try:
            last = await self.context.get_last_msg(subjects.DEAD_LETTER_STREAM, subjects.DEAD_LETTER_SUBJECTS)
        except NoMessageError:
            return
        config = api.ConsumerConfig(
            ack_policy=api.AckPolicy.NONE, headers_only=True, inactive_threshold=CONSUMER_LIFE_S, mem_storage=True
        )
        consumer = await self.context.add_consumer(subjects.DEAD_LETTER_STREAM, config)
        pull = await Pull.open(self._client, subjects.DEAD_LETTER_STREAM, str(consumer.name), BUFFER_BYTES)
        try:
            while messages := await pull.fetch(PATIENCE_S):
                for message in messages:
                    yield message
                    if message.metadata.sequence.stream >= (last.seq or 0):
                        return
        finally:
            await pull.close()
            await self.context.delete_consumer(subjects.DEAD_LETTER_STREAM, str(consumer.name))

    async def _located(self, letter: DeadLetter) -> DeadLetter:
        """With its subject, which earlier versions did not keep."""
        if letter.subject:
            return letter
        original = await self.original(letter)
        return letter if original is None else replace(letter, subject=original.subject)

    async def _message(self, stream: str, number: int) -> api.RawStreamMsg | None:
        try:
            return await self.context.get_msg(stream, seq=number)
        except NoMessageError:
            return None


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[DeadLetters]:
    """The hub's dead letters.

    Raises:
        UnavailableError: the hub does not answer.
        AccessError: it refuses the token.
    """
    client = await bus.connect(settings)
    try:
        yield DeadLetters(client, await bus.ensure_stream(client.jetstream(), settings))
    except (TimeoutError, nats.errors.Error) as error:
        raise UnavailableError(
            f"The hub does not answer ({type(error).__name__}): see `enchanted status`, then run it again."
        ) from error
    finally:
        await client.close()


def merged(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """The same, each refusal once, in the order in which they were buried first."""
    found: dict[tuple[StreamIdentity, int, int, str], DeadLetter] = {}
    for letter in letters:
        known = found.setdefault(letter.refusal, letter)
        if known is not letter:
            found[letter.refusal] = replace(
                known,
                numbers=known.numbers + letter.numbers,
                sinks=tuple(dict.fromkeys(known.sinks + letter.sinks)),
                subject=known.subject or letter.subject,
            )
    return list(found.values())


def chosen(letters: Iterable[DeadLetter], ids: Iterable[int]) -> list[DeadLetter]:
    """Those called by ``ids``, each once; raises NotFoundError where there is none."""
    by_number = {number: letter for letter in letters for number in letter.numbers}
    found: dict[DeadLetter, None] = {}
    for number in ids:
        if number not in by_number:
            raise NotFoundError(f"There is no dead letter {number}: take an id from `enchanted dlq list`.")
        found[by_number[number]] = None
    return list(found)


def _letter(message: Msg) -> DeadLetter | None:
    """None for what was not buried by a worker."""
    headers = message.headers or {}
    try:
        return DeadLetter(
            numbers=(message.metadata.sequence.stream,),
            buried_us=(message.metadata.timestamp - _EPOCH) // _MICROSECOND,
            sinks=(message.subject.split(".")[1],),
            code=headers[deadletters.CODE_HEADER],
            reason=headers[deadletters.REASON_HEADER],
            stream=StreamIdentity.parse(headers[deadletters.STREAM_HEADER]),
            sequence=int(headers[deadletters.SEQUENCE_HEADER]),
            index=int(headers[deadletters.INDEX_HEADER]),
            size_bytes=int(headers[deadletters.SIZE_HEADER]),
            subject=headers.get(deadletters.SUBJECT_HEADER, ""),
        )
    except (KeyError, ValueError):
        return None
