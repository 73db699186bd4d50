"""The ledger's values, as bytes and back. A first byte names the form wherever another form may come later."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from nervous_system.errors import EnchantedError
from nervous_system.ledger.cold import ContentStub, Position
from nervous_system.ledger.versions import STAMP_BYTES, Version

DIGEST_BYTES = 32
CHUNK_BYTES = 90_000
GENESIS_CHAIN = bytes(DIGEST_BYTES)

# Content from this size on is cut out of its event and stored once for its tenant; below, the key costs more.
LIFT_FROM_BYTES = 256
# Smaller events would gain little, and cost time.
DEFLATE_FROM_BYTES = 512

_EVENT = struct.Struct(">BqII")
_PLAIN, _LIFTED, _REST_DEFLATED = 0, 1, 2
_ARCHIVED = 4
_PATH = struct.Struct(">BIqq32s32s")
_HEAD = struct.Struct(">BQ32sqq")
_ID = struct.Struct(">32s32s")
_CURSOR = struct.Struct(">Qq")
_RAW, _DEFLATED = 0, 1


class DamagedError(EnchantedError):
    """A value in the ledger is not what the ledger wrote. Trying again does not help, so it is no LedgerError."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The ledger is damaged: {what}. Nothing was changed; restore the ledger from a copy.")


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a project's history.

    Args:
        version: of its last event.
        count: how many events it has.
        chain: SHA-256 chained over all event bytes in order.
        first_occurred_us: the earliest time that any event says, microseconds since 1970.
        last_recorded_us: when the log took the last event.
    """

    version: Version
    count: int
    chain: bytes
    first_occurred_us: int
    last_recorded_us: int

    @classmethod
    def decode(cls, data: bytes) -> Head:
        """Reads a value completed at commit."""
        incarnation, count, chain, first_us, last_us = _HEAD.unpack(data[STAMP_BYTES:])
        return cls(Version(incarnation, data[:STAMP_BYTES]), count, chain, first_us, last_us)


def head_suffix(incarnation: int, count: int, chain: bytes, first_occurred_us: int, last_recorded_us: int) -> bytes:
    """What follows the versionstamp in the value of ``("head",)``."""
    return _HEAD.pack(incarnation, count, chain, first_occurred_us, last_recorded_us)


@dataclass(frozen=True, slots=True)
class IdRecord:
    """Where an event id was landed, the SHA-256 of its bytes, and the project's chain once it was added."""

    version: Version
    digest: bytes
    chain: bytes

    @classmethod
    def decode(cls, data: bytes) -> IdRecord:
        """Reads a value completed at commit."""
        return cls(Version(data[STAMP_BYTES], data[:STAMP_BYTES]), *_ID.unpack(data[STAMP_BYTES + 1 :]))


def id_suffix(incarnation: int, digest: bytes, chain: bytes) -> bytes:
    """What follows the versionstamp in the value of ``("id", event_id)``."""
    return bytes((incarnation,)) + digest + chain


def extend_chain(chain: bytes, event: bytes) -> bytes:
    """The chain over all event bytes once ``event`` is added."""
    return hashlib.sha256(chain + event).digest()


class PathChange(NamedTuple):
    """What one event did to one path.

    Args:
        operation: a value of the contract's Operation.
        mode: as in git; 0 where nothing is left.
        occurred_us, recorded_us: the event's two times, microseconds since 1970.
        digest: SHA-256 of the content after; empty where nothing is left.
        previous: SHA-256 of the content before, as the event claims; empty where it claims none.
    """

    operation: int
    mode: int
    occurred_us: int
    recorded_us: int
    digest: bytes
    previous: bytes

    def encode(self) -> bytes:
        """The value of ``("path", resource, version)``."""
        # An empty hash becomes zeros.
        return _PATH.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> PathChange:
        """Reads what ``encode`` wrote."""
        operation, mode, occurred_us, recorded_us, digest, previous = _PATH.unpack(data)
        return cls(operation, mode, occurred_us, recorded_us, _or_empty(digest), _or_empty(previous))


def _or_empty(digest: bytes) -> bytes:
    return b"" if digest == GENESIS_CHAIN else digest


class ContentForm(IntEnum):
    """Where a content is to be had."""

    BLOB = 1
    EVENT = 2
    WHOLE = 3


_FORMS = {form.value: form for form in ContentForm}
_COLD = 0x80


class ContentSource(NamedTuple):
    """A content's source: the tenant's blob of its hash, the event that carries it whole, or one that leads to it.

    The last, in parts or as a diff, is a claim; the others have been found to have the hash. Where ``is_cold``, its
    bytes were replaced by a stub.
    """

    form: ContentForm
    version: Version
    is_cold: bool = False

    @classmethod
    def decode(cls, data: bytes) -> ContentSource:
        """Reads a value completed at commit."""
        form = data[STAMP_BYTES]
        version = Version(data[STAMP_BYTES + 1], data[:STAMP_BYTES])
        return cls(_FORMS[form & ~_COLD], version, bool(form & _COLD))

    def cooled(self) -> ContentSource:
        """The same, cold."""
        return self._replace(is_cold=True)

    def encode(self) -> bytes:
        """The value of ``("content", hash)``."""
        form = self.form | _COLD if self.is_cold else self.form
        return self.version.stamp + content_suffix(form, self.version.incarnation)


def content_suffix(form: int, incarnation: int) -> bytes:
    """What follows the versionstamp in the value of ``("content", hash)``."""
    return bytes((form, incarnation))


class EventRecord(NamedTuple):
    """An event's stored value: its bytes, from which a content may have been cut out.

    Args:
        recorded_us: when the log took it, microseconds since 1970.
        rest: the event's bytes without the content.
        cut_at: where the content belongs in them.
        cut_bytes: the content's size.
        digest: the content's SHA-256; empty where nothing was cut out.
        archived_at: where the log had it, of which the archive has the bytes; None where they are here.
    """

    recorded_us: int
    rest: bytes
    cut_at: int = 0
    cut_bytes: int = 0
    digest: bytes = b""
    archived_at: Position | None = None

    def encode(self) -> bytes:
        """The value of ``("event", version)``, before it is split into chunks."""
        if self.archived_at is not None:
            return _EVENT.pack(_ARCHIVED, self.recorded_us, 0, 0) + self.archived_at.encode()
        form = _LIFTED if self.digest else _PLAIN
        rest = self.rest
        if len(rest) >= DEFLATE_FROM_BYTES:
            deflated = zlib.compress(rest, 1)
            if len(deflated) < len(rest):
                form, rest = form | _REST_DEFLATED, deflated
        return _EVENT.pack(form, self.recorded_us, self.cut_at, self.cut_bytes) + self.digest + rest

    @classmethod
    def decode(cls, data: bytes) -> EventRecord:
        """Reads what ``encode`` wrote; raises DamagedError where it is something else."""
        if len(data) < _EVENT.size or data[0] > _ARCHIVED:
            raise DamagedError("an event's value cannot be read")
        form, recorded_us, cut_at, cut_bytes = _EVENT.unpack_from(data)
        if form == _ARCHIVED:
            return cls(recorded_us, b"", archived_at=_position(data[_EVENT.size :]))
        rest_at = _EVENT.size + (DIGEST_BYTES if form & _LIFTED else 0)
        digest, rest = data[_EVENT.size : rest_at], data[rest_at:]
        if form & _REST_DEFLATED:
            try:
                rest = zlib.decompress(rest)
            except zlib.error as error:
                raise DamagedError("an event's value cannot be inflated") from error
        return cls(recorded_us, rest, cut_at, cut_bytes, digest)

    @classmethod
    def cut(cls, data: bytes, recorded_us: int, content: bytes, digest: bytes) -> EventRecord:
        """Cuts ``content`` out of an event's bytes where it has a digest and is large enough to be stored apart."""
        # Wherever these bytes stand in the event, putting them back there gives the event again.
        cut_at = data.find(content) if digest and len(content) >= LIFT_FROM_BYTES else -1
        if cut_at < 0:
            return cls(recorded_us, data)
        size_bytes = len(content)
        return cls(recorded_us, data[:cut_at] + data[cut_at + size_bytes :], cut_at, size_bytes, digest)

    def whole(self, content: bytes) -> bytes:
        """The event's verbatim bytes, given the content that was cut out."""
        return self.rest[: self.cut_at] + content + self.rest[self.cut_at :]

    def hollow(self) -> bytes:
        """The event's bytes with zeros for the content that was cut out: it can be read without that."""
        return self.whole(bytes(self.cut_bytes))


def _position(data: bytes) -> Position:
    try:
        return Position.decode(data)
    except (struct.error, ValueError) as error:
        raise DamagedError("an event's stub cannot be read") from error


def compress(content: bytes) -> bytes:
    """A content as it is stored: deflated where that makes it smaller."""
    deflated = zlib.compress(content, 6)
    return bytes((_DEFLATED,)) + deflated if len(deflated) < len(content) else bytes((_RAW,)) + content


def decompress(stored: bytes) -> bytes:
    """The content that ``compress`` was given; raises DamagedError where it is not one."""
    if stored[:1] == bytes((_RAW,)):
        return stored[1:]
    try:
        return zlib.decompress(stored[1:])
    except zlib.error as error:
        raise DamagedError("a stored content cannot be inflated") from error


def content_stub(stored: bytes) -> ContentStub | None:
    """The stub that stands for a stored content; None where the content itself is there."""
    try:
        return ContentStub.decode(stored)
    except (struct.error, ValueError) as error:
        raise DamagedError("a stored content's stub cannot be read") from error


def chunks(value: bytes) -> list[bytes]:
    """A value cut into pieces that one key may hold; at least one."""
    if len(value) <= CHUNK_BYTES:
        return [value]
    return [value[start : start + CHUNK_BYTES] for start in range(0, len(value), CHUNK_BYTES)]


def encode_cursor(sequence: int, recorded_us: int) -> bytes:
    """The value of a cursor."""
    return _CURSOR.pack(sequence, recorded_us)


def decode_cursor(data: bytes) -> tuple[int, int]:
    """Sequence and recorded time, as ``encode_cursor`` took them."""
    sequence, recorded_us = _CURSOR.unpack(data)
    return sequence, recorded_us
