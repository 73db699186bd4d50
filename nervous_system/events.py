"""Making and reading events and batches: ids, times, hashes, the cut of a batch into verbatim event bytes."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError

from nervous_system.contract import RawEventBatch, SwarmEvent
from nervous_system.errors import ContractError

# Content up to this size travels inside its event; above it, in parts of this size at most. Both keep a message
# below the megabyte that NATS allows by default.
INLINE_LIMIT_BYTES = 256 * 1024
PART_LIMIT_BYTES = 512 * 1024
BATCH_LIMIT_BYTES = 512 * 1024
BATCH_LIMIT_EVENTS = 1_000
# What one event, or one message, may weigh: with its indexes it must fit one transaction of the ledger.
EVENT_LIMIT_BYTES = 900_000
MESSAGE_LIMIT_BYTES = 1_000_000
# Names of checkpoints and hashes of commits are found again up to this length.
MAX_INDEXED_NAME_BYTES = 256


def content_hash(content: bytes) -> str:
    """SHA-256 of a content, hex: the name of a state."""
    return hashlib.sha256(content).hexdigest()


def now_us() -> int:
    """This machine's clock, microseconds since 1970."""
    return time.time_ns() // 1_000


def uuid7(unix_ms: int, randomness: bytes | None = None) -> str:
    """A UUIDv7 (RFC 9562) of a moment.

    Args:
        unix_ms: milliseconds since 1970.
        randomness: at least 10 bytes to take the rest from; the system's random bytes where absent. Ids that must come
            out the same again take them from a hash.
    """
    tail = int.from_bytes((_random_bytes() if randomness is None else randomness)[:10], "big")
    value = (unix_ms & (1 << 48) - 1) << 80 | tail
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


# Random bytes ahead, since asking the system for some costs more than all else in making an event.
_random: list[bytes] = []
_RANDOM_AHEAD = 128
# A forked process that used its parent's would make its parent's ids.
os.register_at_fork(after_in_child=_random.clear)


def _random_bytes() -> bytes:
    try:
        return _random.pop()
    except IndexError:
        ahead = os.urandom(10 * _RANDOM_AHEAD)
        _random.extend(ahead[start : start + 10] for start in range(10, len(ahead), 10))
        return ahead[:10]


def set_occurred(event: SwarmEvent, occurred_us: int) -> None:
    """Sets when the event happened, microseconds since 1970; protobuf's form has whole seconds and nanoseconds."""
    event.timestamp.seconds, remainder_us = divmod(occurred_us, 1_000_000)
    event.timestamp.nanos = remainder_us * 1_000


def occurred_us(event: SwarmEvent) -> int:
    """When the event happened, by its agent's clock, microseconds since 1970."""
    return event.timestamp.seconds * 1_000_000 + event.timestamp.nanos // 1_000


def utc(moment_us: int) -> datetime:
    """Microseconds since 1970 as an aware UTC time."""
    seconds, remainder_us = divmod(moment_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=remainder_us)


def event_type(event: SwarmEvent) -> str:
    """The payload's name in capitals, such as ``STATE_CHANGE``; raises ContractError where there is no payload."""
    payload = event.WhichOneof("payload")
    if payload is None:
        raise ContractError(f"Event {event.event_id!r} has no payload that this version knows.")
    return str(payload).upper()


def enum_name(enum: Any, number: int) -> str:
    """An enum's name for a number; the number itself where this version has no name for it."""
    try:
        return str(enum.Name(number))
    except ValueError:
        return str(number)


def encode_batch(events: list[bytes]) -> bytes:
    """A SwarmEventBatch of serialised events."""
    return RawEventBatch(events=events).SerializeToString()


def cut_batch(data: bytes) -> list[bytes]:
    """The verbatim bytes of a batch's events; raises ContractError where the bytes are not a batch."""
    try:
        batch = RawEventBatch.FromString(data)
    except DecodeError as error:
        raise ContractError(f"The message is not a SwarmEventBatch: {error}.") from error
    if not batch.events:
        raise ContractError("The message is a SwarmEventBatch without events.")
    return list(batch.events)


def decode(data: bytes) -> SwarmEvent:
    """An event from its bytes; raises ContractError where they are not one."""
    try:
        return SwarmEvent.FromString(data)
    except DecodeError as error:
        raise ContractError(f"The bytes are not a SwarmEvent: {error}.") from error
