"""Stubs: what stands in the ledger where bytes stood that the archive holds, and where these are read from.

Of an event a stub says where the log had it; of a stored content, which archived event carries it, or that it is an
object of its own. All else that the ledger knows of an event stays, so that only its bytes are asked of the archive.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

_POSITION = struct.Struct(">IQI")
# First bytes of a stored content's value; those of contents that are there are in ``records``.
_IN_EVENT, _OBJECT = 2, 3


@dataclass(frozen=True, slots=True)
class Position:
    """Where the log had an event.

    Args:
        stream: what the sequence counts in.
        partition: of the stream.
        sequence: of the message that carried it.
        index: its place in the message, from 0.
    """

    stream: StreamIdentity
    partition: int
    sequence: int
    index: int

    def encode(self) -> bytes:
        """The position as bytes."""
        return _POSITION.pack(self.partition, self.sequence, self.index) + str(self.stream).encode()

    @classmethod
    def decode(cls, data: bytes) -> Position:
        """Reads what ``encode`` wrote."""
        partition, sequence, index = _POSITION.unpack_from(data)
        return cls(StreamIdentity.parse(data[_POSITION.size :].decode()), partition, sequence, index)


@dataclass(frozen=True, slots=True)
class ContentStub:
    """Stands for a stored content.

    Args:
        project: of its tenant, whose event carries it whole; empty where it is an object of its own.
        position: of that event; None where it is an object.
    """

    project: str = ""
    position: Position | None = None

    def encode(self) -> bytes:
        """The value of ``("blob", sha256)``."""
        if self.position is None:
            return bytes((_OBJECT,))
        return bytes((_IN_EVENT,)) + self.project.encode() + b"\0" + self.position.encode()

    @classmethod
    def decode(cls, stored: bytes) -> ContentStub | None:
        """Reads what ``encode`` wrote; None where the content itself is there."""
        if stored[:1] == bytes((_OBJECT,)):
            return cls()
        if stored[:1] != bytes((_IN_EVENT,)):
            return None
        project, _, position = stored[1:].partition(b"\0")
        return cls(project.decode(), Position.decode(position))


class ColdStore(Protocol):
    """Where the bytes are that stubs stand for: the archive. Safe to use from several threads."""

    def events(self, project: ProjectName, positions: Sequence[Position]) -> list[bytes]:
        """The verbatim bytes of events of a project, in the order asked for.

        Raises:
            NotFoundError: the archive has no event there.
            ArchiveDamagedError: it cannot be read.
            SettingsError, AccessError, UnavailableError: it cannot be reached.
        """
        ...

    def part(self, tenant: str, digest: bytes) -> bytes:
        """An object's bytes, by their SHA-256; raises as ``events`` does."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ArchivedRow:
    """An event that the archive holds.

    Args:
        event_id: the event.
        digest: SHA-256 of its bytes there.
        position: where the log had it.
        size_bytes: how many bytes they are.
    """

    event_id: str
    digest: bytes
    position: Position
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Offloaded:
    """What came of replacing bytes by stubs.

    Args:
        events: how many of the rows have a stub now, or had one.
        bytes_freed: of values that were there before, less what stands there now.
        kept: how many stay as they are, because what they carry stands in the hot window or no snapshot has them yet.
        differences: ids of events that the ledger does not have, or has with other bytes; they stay as they are.
    """

    events: int = 0
    bytes_freed: int = 0
    kept: int = 0
    differences: tuple[str, ...] = ()

    def __add__(self, other: Offloaded) -> Offloaded:
        return Offloaded(
            self.events + other.events,
            self.bytes_freed + other.bytes_freed,
            self.kept + other.kept,
            self.differences + other.differences,
        )
