"""The log: connecting to NATS, the stream and its partitions, publishing one message durably."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Mapping
from datetime import datetime

import nats
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from nervous_system import links, subjects
from nervous_system.errors import AccessError, EnchantedError, SettingsError, UnavailableError
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

logger = logging.getLogger(__name__)


class _CutConnections(logging.Filter):
    """Whoever waits for a connection that is cut is told; asyncio would tell once more when it forgets the future."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ConnectionError))


_CUT_CONNECTIONS = _CutConnections()


class RefusalError(UnavailableError):
    """The log answered that it does not take a message: waiting alone does not mend it."""


# JetStream forgets message ids after this long; beyond it the ledger's index of event ids catches what comes twice.
DUPLICATE_WINDOW_S = 600.0
CONNECT_TIMEOUT_S = 5
ACKNOWLEDGE_TIMEOUT_S = 5.0
PUBLISH_DEADLINE_S = 60.0

# The level of JetStream's API that has batches published all or nothing: nats-server 2.12. A stream's metadata names
# its server's level (ADR-44 of nats-architecture-and-design).
_ATOMIC_API_LEVEL = 2
_API_LEVEL_KEY = "_nats.level"
_VERSION_KEY = "_nats.ver"
# In the metadata of a stream that takes nothing meanwhile: how many partitions it has.
CLOSED_KEY = "enchanted.closed-partitions"
# In a stream's metadata, followed by a partition: up to which sequence messages of it were removed on purpose.
_REMOVED_KEY = "enchanted.removed-"

_INVALID_REQUEST = 10025
_MESSAGE_TOO_LARGE = 10054
_INSUFFICIENT_STORAGE = (10023, 10047, 10077)


async def connect(settings: Settings, *, patient: bool = False, ended: asyncio.Event | None = None) -> Client:
    """A connection that reconnects for ever.

    Args:
        settings: give the addresses and the credentials.
        patient: wait for a server that is not there yet, as a service does; a person is told at once.
        ended: where given, the connection ends when it is cut, and sets this, for who must look at the log again then.

    Raises:
        AccessError: the credentials or the certificates are refused.
        SettingsError: a file that the settings name cannot be read.
        UnavailableError: no server answers.
    """
    url = settings.require("nats_url")
    logging.getLogger("asyncio").addFilter(_CUT_CONNECTIONS)
    credentials = links.nats_options(settings)
    failures: list[Exception] = []

    async def on_error(error: Exception) -> None:
        failures.append(error)
        # A person is told once, in a sentence; a service's log shows every attempt.
        logger.log(logging.WARNING if patient else logging.DEBUG, "nats: %s", error)

    async def on_end() -> None:
        if ended is not None:
            ended.set()

    async def attempt(*, reconnecting: bool) -> Client:
        client = Client()
        await client.connect(
            url.split(","),
            **credentials,
            connect_timeout=CONNECT_TIMEOUT_S,
            allow_reconnect=reconnecting,
            max_reconnect_attempts=-1 if reconnecting else 1,
            reconnect_time_wait=1,
            error_cb=on_error,
            closed_cb=on_end,
            name="enchanted",
        )
        return client

    try:
        if ended is not None:
            return await attempt(reconnecting=False)
        if not patient:
            # A client that may reconnect goes on trying before it says anything; one that may not says it at once.
            await (await attempt(reconnecting=False)).close()
        return await attempt(reconnecting=True)
    except (TimeoutError, OSError, nats.errors.Error) as error:
        raise _connection_failure(url, [error, *failures]) from error


def _connection_failure(url: str, errors: list[Exception]) -> EnchantedError:
    if any("authorization violation" in str(error).lower() for error in errors):
        return AccessError(
            f"NATS at {url} refuses the token: set ENCHANTED_NATS_TOKEN to the hub's token, or ENCHANTED_NATS_USER and "
            "ENCHANTED_NATS_PASSWORD."
        )
    if untrusted := next((error for error in errors if isinstance(error, ssl.SSLError)), None):
        return AccessError(f"NATS at {url} and this machine do not trust each other: {links.told(untrusted)}.")
    return UnavailableError(
        f"The stack is not running: no NATS answers at {url}. Start the embedded stack with `enchanted up`, "
        "or set ENCHANTED_NATS_URL."
    )


async def ensure_stream(context: JetStreamContext, settings: Settings) -> StreamIdentity:
    """Makes the streams where they are not there yet, and says which stream it is.

    The stream takes batches all or nothing where its server can; one that was made without is changed.

    Raises:
        SettingsError: the stream has another number of partitions than the settings ask for. Moving events between
            partitions would break their order, so the number is fixed when the stream is made.
    """
    config = api.StreamConfig(
        name=settings.stream,
        subjects=[subjects.PUBLISHED],
        subject_transform=api.SubjectTransform(src=subjects.PUBLISHED, dest=subjects.partitioning(settings.partitions)),
        storage=api.StorageType.FILE,
        retention=api.RetentionPolicy.LIMITS,
        discard=api.DiscardPolicy.NEW,
        duplicate_window=DUPLICATE_WINDOW_S,
        num_replicas=settings.replicas,
        allow_direct=True,
        allow_atomic=True,
    )
    dead = api.StreamConfig(
        name=subjects.DEAD_LETTER_STREAM,
        subjects=[subjects.DEAD_LETTER_SUBJECTS],
        storage=api.StorageType.FILE,
        duplicate_window=DUPLICATE_WINDOW_S,
        num_replicas=settings.replicas,
    )
    info = await _stream(context, config)
    await _stream(context, dead)
    transform = info.config.subject_transform
    is_ours = transform is not None and transform.dest == subjects.partitioning(settings.partitions)
    # One that takes nothing for now is read to its end by the workers that it has always had.
    if not is_ours and closed_partitions(info) != settings.partitions:
        raise SettingsError(
            f"Stream {settings.stream} was made with another number of partitions than ENCHANTED_PARTITIONS="
            f"{settings.partitions}: set it to the number the stream was made with, or run `enchanted repartition`."
        )
    return identity(info)


def closed_partitions(info: api.StreamInfo) -> int:
    """How many partitions a stream has that takes nothing while they are changed; 0 for any other."""
    return int((info.config.metadata or {}).get(CLOSED_KEY, 0))


def removed_through(info: api.StreamInfo, partition: int) -> int:
    """Up to which sequence messages of a partition were removed because every store had them; 0 where none were."""
    return int((info.config.metadata or {}).get(f"{_REMOVED_KEY}{partition}", 0))


async def mark_removed(context: JetStreamContext, stream: str, through: Mapping[int, int]) -> None:
    """Notes in the stream itself, by partition, up to which sequence messages are about to be removed.

    So that a store which is put back to before that is found to lack them.
    """
    info = await context.stream_info(stream)
    raised = {part: last for part, last in through.items() if last > removed_through(info, part)}
    if raised:
        metadata = (info.config.metadata or {}) | {f"{_REMOVED_KEY}{part}": str(last) for part, last in raised.items()}
        await context.update_stream(info.config.evolve(metadata=metadata))


def identity(info: api.StreamInfo) -> StreamIdentity:
    """The stream's name and the time it was made."""
    created = info.created
    if not isinstance(created, datetime):
        raise UnavailableError("NATS does not say when the stream was made: use nats-server 2.10 or later.")
    return StreamIdentity(str(info.config.name), int(created.timestamp() * 1_000_000))


def server_version(info: api.StreamInfo) -> tuple[int, ...]:
    """The version of the server that keeps the stream, such as (2, 12, 8); empty before 2.11, which does not say."""
    version = re.match(r"\d+(\.\d+)*", (info.config.metadata or {}).get(_VERSION_KEY, ""))
    return tuple(map(int, version[0].split("."))) if version else ()


async def _stream(context: JetStreamContext, config: api.StreamConfig) -> api.StreamInfo:
    try:
        info = await context.stream_info(str(config.name))
    except NotFoundError:
        return await _new_stream(context, config)
    return await _atomic(context, info) if config.allow_atomic else info


async def _new_stream(context: JetStreamContext, config: api.StreamConfig) -> api.StreamInfo:
    try:
        return await context.add_stream(config)
    except APIError as error:
        # A strict server from before 2.12 refuses a setting that it does not know; others overlook it.
        if not config.allow_atomic or error.err_code != _INVALID_REQUEST:
            raise
        return await context.add_stream(config.evolve(allow_atomic=None))


async def _atomic(context: JetStreamContext, info: api.StreamInfo) -> api.StreamInfo:
    """The stream with batches all or nothing, all else as it is; unchanged where its server cannot."""
    level = int((info.config.metadata or {}).get(_API_LEVEL_KEY, 0))
    if info.config.allow_atomic or level < _ATOMIC_API_LEVEL:
        return info
    try:
        return await context.update_stream(info.config.evolve(allow_atomic=True))
    except APIError as error:
        # Only several messages at once need it, and whoever sends them is told.
        logger.warning("stream %s cannot be changed to take batches all or nothing: %s", info.config.name, error)
        return info


async def publish(
    context: JetStreamContext, subject: str, payload: bytes, message_id: str, headers: dict[str, str] | None = None
) -> api.PubAck:
    """Publishes one message and returns once JetStream has it on disk.

    It is sent again under the same ``message_id`` until it is acknowledged, so that it is kept once.

    Raises:
        UnavailableError: no acknowledgement within PUBLISH_DEADLINE_S, or the hub's disk is full.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PUBLISH_DEADLINE_S
    wait_s = 0.05
    while True:
        try:
            return await context.publish(
                subject,
                payload,
                timeout=ACKNOWLEDGE_TIMEOUT_S,
                headers={**(headers or {}), api.Header.MSG_ID.value: message_id},
            )
        except (TimeoutError, nats.errors.Error) as error:
            if isinstance(error, APIError) and not is_passing(error):
                raise refusal(subject, error) from error
            if isinstance(error, nats.errors.MaxPayloadError):
                raise RefusalError(too_large(subject)) from error
            if isinstance(error, nats.errors.ConnectionClosedError):
                raise UnavailableError("The connection to the hub was cut.") from error
            if loop.time() + wait_s > deadline:
                raise UnavailableError(
                    f"The hub did not acknowledge a message on {subject} within {PUBLISH_DEADLINE_S:.0f} s "
                    f"({type(error).__name__}). Nothing after it was sent: see `enchanted status`, then run it again."
                ) from error
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 2.0)


def is_passing(error: APIError) -> bool:
    """Whether waiting mends it: unavailable for a while, as after a restart; every other answer is final."""
    return isinstance(error, ServiceUnavailableError) and error.err_code not in _INSUFFICIENT_STORAGE


def refusal(subject: str, error: APIError) -> EnchantedError:
    """What to tell of an answer of JetStream's that waiting does not mend."""
    if error.err_code in _INSUFFICIENT_STORAGE:
        return RefusalError("The hub's disk is full: free space there and run it again. Nothing was lost.")
    if error.err_code == _MESSAGE_TOO_LARGE:
        return RefusalError(too_large(subject))
    return RefusalError(f"The hub refuses a message on {subject}: {error.description} (code {error.err_code}).")


def too_large(subject: str) -> str:
    """What to tell of a message that the client or the server finds too large."""
    return f"The hub refuses a message on {subject} as too large: raise its max_payload."
