"""One instant of the log, by the log's own clock: what it had taken by then, in every partition at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import nats.errors
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from nervous_system import bus
from nervous_system.errors import UnavailableError
from nervous_system.settings import Settings

ALL_SUBJECTS = ">"
# How long the rest of an atomic batch, of which some is there, may take.
BATCH_LIMIT_S = 5.0
POLL_S = 0.001

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def present(settings: Settings) -> int | None:
    """The log's present, microseconds since 1970; None where it is empty.

    What it has taken was recorded by then, and whatever it takes from now on is recorded later: so that an event and
    what it led to, in whatever project, cannot be parted by it the wrong way. A batch of all or nothing is not parted.
    This rests on the log's clock, which must not fall back meanwhile.

    Raises UnavailableError where the log does not answer.
    """
    try:
        return asyncio.run(_present(settings))
    except (TimeoutError, nats.errors.Error) as error:
        raise UnavailableError(
            f"The hub does not answer ({type(error).__name__}): see `enchanted status`, then run it again."
        ) from error


async def _present(settings: Settings) -> int | None:
    client = await bus.connect(settings)
    try:
        context = client.jetstream()
        await bus.ensure_stream(context, settings)
        try:
            last = await context.get_last_msg(settings.stream, ALL_SUBJECTS)
        except NotFoundError:
            return None
        return _recorded_by(await last_together(context, settings.stream, last))
    finally:
        await client.close()


async def last_together(context: JetStreamContext, stream: str, message: api.RawStreamMsg) -> api.RawStreamMsg:
    """The last message that no instant may part from this one: of the same batch, or of the same microsecond."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + BATCH_LIMIT_S
    while True:
        following = await _following(context, stream, message)
        if following is None and _is_open(message) and loop.time() < deadline_s:
            await asyncio.sleep(POLL_S)
        elif following is None or not _go_together(message, following):
            return message
        else:
            message = following


async def _following(context: JetStreamContext, stream: str, message: api.RawStreamMsg) -> api.RawStreamMsg | None:
    try:
        return await context.get_msg(stream, seq=(message.seq or 0) + 1, subject=ALL_SUBJECTS, next=True)
    except NotFoundError:
        return None


def _go_together(message: api.RawStreamMsg, following: api.RawStreamMsg) -> bool:
    same_batch = bool(_batch(message)) and _batch(message) == _batch(following)
    return same_batch or _logged_us(following) <= _recorded_by(message)


def _batch(message: api.RawStreamMsg) -> str:
    return str((message.headers or {}).get(api.Header.BATCH_ID.value, ""))


def _is_open(message: api.RawStreamMsg) -> bool:
    """Whether more of the message's batch is to come: it is kept whole, but a reader may look in the midst of it."""
    return bool(_batch(message)) and api.Header.BATCH_COMMIT.value not in (message.headers or {})


def _logged_us(message: api.RawStreamMsg) -> int:
    if message.time is None:
        raise UnavailableError("NATS does not say when it took a message: use nats-server 2.10 or later.")
    return (message.time - _EPOCH) // _MICROSECOND


def _recorded_by(message: api.RawStreamMsg) -> int:
    # The time is cut to microseconds here; where a worker reads it, it is rounded.
    return _logged_us(message) + 1
