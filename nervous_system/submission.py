"""Publishing several projects' events all or nothing, on condition that nobody wrote to the projects meanwhile.

Several messages go as JetStream's atomic batch (ADR-50 of nats-architecture-and-design): the server sets them aside,
checks every condition once the last one is there, and keeps all or none. One message needs no batch.

A condition is the stream sequence of a project's last message; the server compares it with the subject as stored, which
has the partition in it. Only the first message of a project can carry one. Messages carry ids: what was sent again
because its acknowledgement was lost is refused as known, and whether it is in the log is found by looking.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from nervous_system import bus, subjects
from nervous_system.errors import ContractError, EnchantedError, UnavailableError
from nervous_system.events import BATCH_LIMIT_BYTES, BATCH_LIMIT_EVENTS, EVENT_LIMIT_BYTES, encode_batch
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

# What the server takes in one atomic batch.
SUBMISSION_LIMIT_MESSAGES = 1_000

# Before it, a condition was compared with the subject as published, under which a transformed message is never found.
_FIRST_CHECKING_VERSION = (2, 12, 8)
_WRONG_LAST_SEQUENCE = (10071, 10164)
# An earlier attempt is still on its way; too many requests; a batch that was given up; too many batches at once.
_PASSING = (10158, 10167, 10176, 10210)


class MovedError(EnchantedError):
    """A project has other events than the caller looked at; nothing was written."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What is to be written to one project.

    Args:
        project: that it is written to.
        events: serialised, in order; at least one.
        parts: of large contents, each within PART_LIMIT_BYTES. They are sent ahead; without events that name them
            they mean nothing, so that they need not be all or nothing.
        expected_sequence: stream sequence of the project's last batch of events when the caller looked, 0 for none
            (see ``landed.last_sequence``); None where it does not matter what others write.
    """

    project: ProjectName
    events: tuple[bytes, ...]
    parts: tuple[bytes, ...] = ()
    expected_sequence: int | None = None


def submit(settings: Settings, submissions: Sequence[Submission]) -> int:
    """Publishes all events of all submissions, or none, and returns once they are on disk in the log.

    Readers meet them as ordinary messages, one project each: those of one project in order and together, those of
    several projects in one sequence of the stream without others between them.

    Args:
        settings: give the log's address.
        submissions: one a project.

    Returns:
        Stream sequence of the last message.

    Raises:
        MovedError: a project was changed since ``expected_sequence``; nothing was written.
        ContractError: it cannot be submitted: nothing, a project twice, or too much; nothing was written.
        UnavailableError: the hub cannot do it, and nothing was written; or it does not acknowledge, and the sentence
            says that it is not known.
        AccessError: the hub refuses the token.
    """
    messages = _messages(submissions)
    return asyncio.run(_submit(settings, submissions, messages))


@dataclass(frozen=True, slots=True)
class _Message:
    project: ProjectName
    payload: bytes
    headers: dict[str, str]

    @property
    def subject(self) -> str:
        return subjects.published(self.project, subjects.EVENTS)

    @property
    def id(self) -> str:
        return self.headers[api.Header.MSG_ID.value]

    def with_headers(self, headers: dict[str, str]) -> _Message:
        return replace(self, headers={**self.headers, **headers})


def _messages(submissions: Sequence[Submission]) -> list[_Message]:
    projects = [submission.project for submission in submissions]
    if not projects or not all(submission.events for submission in submissions):
        raise ContractError("There is nothing to submit: give at least one event for each project.")
    if twice := sorted({str(project) for project in projects if projects.count(project) > 1}):
        raise ContractError(f"{twice[0]} is submitted twice at once: put its events into one submission.")
    messages = [message for submission in submissions for message in _messages_of(submission)]
    if len(messages) > SUBMISSION_LIMIT_MESSAGES:
        raise ContractError(
            f"What is to be written at once takes {len(messages):,} messages, above the {SUBMISSION_LIMIT_MESSAGES:,} "
            "that the hub takes at once: write it in several steps."
        )
    return messages


def _messages_of(submission: Submission) -> Iterator[_Message]:
    expected = submission.expected_sequence
    condition = {} if expected is None else {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(expected)}
    for events in packed(submission.events):
        headers = {api.Header.MSG_ID.value: str(uuid.uuid4()), **condition}
        yield _Message(submission.project, encode_batch(events), headers)
        # The server refuses a condition on what the same batch has written to.
        condition = {}


def packed(events: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The events in order, as many together as one message takes; raises ContractError where one is too large."""
    batch: list[bytes] = []
    size_bytes = 0
    for event in events:
        if len(event) > EVENT_LIMIT_BYTES:
            raise ContractError(f"An event of {len(event):,} bytes is above the {EVENT_LIMIT_BYTES:,} allowed.")
        if batch and (len(batch) >= BATCH_LIMIT_EVENTS or size_bytes + len(event) > BATCH_LIMIT_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(event)
        size_bytes += len(event)
    if batch:
        yield batch


async def _submit(settings: Settings, submissions: Sequence[Submission], messages: list[_Message]) -> int:
    client = await bus.connect(settings)
    try:
        context = client.jetstream()
        info = await _prepare(context, settings)
        _check_server(info, submissions, messages)
        for submission in submissions:
            await _send_parts(context, submission)
        return await _Delivery(client, context, settings.stream, submissions, messages, info.state.last_seq).finish()
    finally:
        await client.close()


async def _prepare(context: JetStreamContext, settings: Settings) -> api.StreamInfo:
    try:
        await bus.ensure_stream(context, settings)
        return await context.stream_info(settings.stream)
    except (TimeoutError, nats.errors.Error) as error:
        raise UnavailableError(
            f"The hub does not answer ({type(error).__name__}); nothing was written. See `enchanted status`, then run "
            "it again."
        ) from error


def _check_server(info: api.StreamInfo, submissions: Sequence[Submission], messages: list[_Message]) -> None:
    """Raises UnavailableError where the server cannot keep all or none, or would not check the conditions."""
    version = bus.server_version(info)
    several = len(messages) > 1
    conditional = any(submission.expected_sequence is not None for submission in submissions)
    # A stream of one replica has always compared one message's condition with the subject as stored.
    checking = several or (conditional and (info.config.num_replicas or 1) > 1)
    if (several and not info.config.allow_atomic) or (checking and version < _FIRST_CHECKING_VERSION):
        raise UnavailableError(
            f"The hub cannot write this all or nothing; nothing was written. It needs nats-server "
            f"{'.'.join(map(str, _FIRST_CHECKING_VERSION))} or later, and a stream with allow_atomic."
        )


async def _send_parts(context: JetStreamContext, submission: Submission) -> None:
    subject = subjects.published(submission.project, subjects.BLOBS)
    named = {hashlib.sha256(part).hexdigest(): part for part in submission.parts}
    for name, part in named.items():
        await bus.publish(context, subject, part, str(uuid.uuid4()), {subjects.PART_HASH_HEADER: name})


@dataclass(slots=True)
class _Delivery:
    """The messages on their way.

    Args:
        before: the stream's last sequence before the first attempt.
        doubtful: whether what would write them was sent, so that they may be in the log.
    """

    client: Client
    context: JetStreamContext
    stream: str
    submissions: Sequence[Submission]
    messages: list[_Message]
    before: int
    doubtful: bool = False

    async def finish(self) -> int:
        """Tries until the messages are in the log, and returns the sequence of the last one."""
        loop = asyncio.get_running_loop()
        deadline_s, wait_s = loop.time() + bus.PUBLISH_DEADLINE_S, 0.05
        refusal: APIError | None = None
        while True:
            try:
                # A refusal may be the answer to a second attempt, because the first one is in the log.
                if self.doubtful and (sequence := await self._written()):
                    return sequence
                if refusal is not None:
                    raise await self._explained(refusal)
                return await self._attempt()
            except (TimeoutError, nats.errors.Error) as error:
                if isinstance(error, nats.errors.MaxPayloadError):
                    raise UnavailableError(bus.too_large(self.messages[-1].subject)) from error
                if isinstance(error, APIError) and not _is_passing(error) and refusal is None:
                    refusal = error
                    continue
                if loop.time() + wait_s > deadline_s:
                    raise UnavailableError(self._silence(error)) from error
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 2.0)

    async def _attempt(self) -> int:
        if len(self.messages) == 1:
            self.doubtful = True
            return _sequence(await self._request(self.messages[0]))
        batch = str(uuid.uuid4())
        for number, message in enumerate(self.messages[:-1], 1):
            # Each is answered, with nothing, once it is set aside: the server is never flooded.
            await self._request(message.with_headers(_batch_headers(batch, number)))
        commit = {**_batch_headers(batch, len(self.messages)), api.Header.BATCH_COMMIT.value: "1"}
        self.doubtful = True
        return _sequence(await self._request(self.messages[-1].with_headers(commit)))

    async def _request(self, message: _Message) -> bytes:
        reply = await self.client.request(
            message.subject, message.payload, timeout=bus.ACKNOWLEDGE_TIMEOUT_S, headers=message.headers
        )
        if reply.data and (error := json.loads(reply.data).get("error")):
            raise APIError.from_error(error)
        return reply.data

    async def _written(self) -> int | None:
        """The sequence of the last message where the log has it; by the rules of a batch it then has all."""
        last, sequence = self.messages[-1], self.before + 1
        filtered = subjects.anywhere(last.project, subjects.EVENTS)
        while True:
            try:
                found = await self.context.get_msg(self.stream, seq=sequence, subject=filtered, next=True)
            except NotFoundError:
                return None
            if (found.headers or {}).get(api.Header.MSG_ID.value) == last.id:
                return found.seq
            sequence = (found.seq or sequence) + 1

    async def _explained(self, refusal: APIError) -> EnchantedError:
        if refusal.err_code not in _WRONG_LAST_SEQUENCE:
            return bus.refusal(self.messages[-1].subject, refusal)
        moved = [each.project for each in self.submissions if await self._moved(each)]
        # None has where the server refused because another message is on its way, and that one came to nothing.
        conditional = [each.project for each in self.submissions if each.expected_sequence is not None]
        names = ", ".join(map(str, moved or conditional))
        return MovedError(f"{names} was changed meanwhile; nothing was written. Run it again.")

    async def _moved(self, submission: Submission) -> bool:
        if submission.expected_sequence is None:
            return False
        filtered = subjects.anywhere(submission.project, subjects.EVENTS)
        try:
            last = (await self.context.get_last_msg(self.stream, filtered)).seq
        except NotFoundError:
            last = 0
        return last != submission.expected_sequence

    def _silence(self, error: Exception) -> str:
        known = "whether it was written is not known" if self.doubtful else "nothing was written"
        return (
            f"The hub did not acknowledge within {bus.PUBLISH_DEADLINE_S:.0f} s ({type(error).__name__}): {known}. See "
            "`enchanted status` and `enchanted timeline`, then run it again where it is missing."
        )


def _batch_headers(batch: str, number: int) -> dict[str, str]:
    return {api.Header.BATCH_ID.value: batch, api.Header.BATCH_SEQUENCE.value: str(number)}


def _sequence(acknowledgement: bytes) -> int:
    return int(json.loads(acknowledgement)["seq"])


def _is_passing(error: APIError) -> bool:
    return bus.is_passing(error) or error.err_code in _PASSING
