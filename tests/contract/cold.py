"""What an archive holds, in a file beside a ledger: enough for the ledger to read through its stubs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import IO, NamedTuple

from nervous_system.errors import NotFoundError
from nervous_system.landing import LandedEvent, LandedMessage
from nervous_system.ledger.cold import ArchivedRow, Position
from nervous_system.projects import ProjectName
from tests.samples import STREAM


class _Stretch(NamedTuple):
    """Where bytes lie in the file."""

    start: int
    size_bytes: int


def archived_row(message: LandedMessage, landed: LandedEvent) -> ArchivedRow:
    """An event of the sample stream's first partition, as who has archived it says it."""
    position = Position(STREAM, 0, message.sequence, landed.index)
    return ArchivedRow(landed.event.event_id, hashlib.sha256(landed.data).digest(), position, len(landed.data))


class ColdFile:
    """Takes messages as they land, and gives their events and parts again. A ``ColdStore``.

    Args:
        file: empty, to write and read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._events: dict[tuple[ProjectName, Position], _Stretch] = {}
        self._parts: dict[tuple[str, bytes], _Stretch] = {}
        self._rows: dict[ProjectName, list[ArchivedRow]] = {}
        self.asked: list[Position | bytes] = []
        """What was read, one by one."""

    def take(self, messages: Iterable[LandedMessage]) -> None:
        """Keeps what the messages carry."""
        for message in messages:
            assert message.project is not None
            if message.part is not None:
                digest = hashlib.sha256(message.part).digest()
                self._parts[message.project.tenant, digest] = self._append(message.part)
            for landed in message.events:
                row = archived_row(message, landed)
                self._events[message.project, row.position] = self._append(landed.data)
                self._rows.setdefault(message.project, []).append(row)

    def rows(self, project: ProjectName) -> list[ArchivedRow]:
        """Every event of a project that was taken, in the log's order."""
        return list(self._rows.get(project, []))

    def events(self, project: ProjectName, positions: Sequence[Position]) -> list[bytes]:
        self.asked += positions
        return [self._read(self._events.get((project, position)), f"{project} at {position}") for position in positions]

    def part(self, tenant: str, digest: bytes) -> bytes:
        self.asked.append(digest)
        return self._read(self._parts.get((tenant, digest)), digest.hex())

    def overwrite(self, project: ProjectName, position: Position, data: bytes) -> None:
        """Has something else stand where an event stood."""
        self._events[project, position] = self._append(data)

    def close(self) -> None:
        """Stays open: whoever closes a ledger may open it again."""

    def _append(self, data: bytes) -> _Stretch:
        start = self._file.seek(0, 2)
        self._file.write(data)
        return _Stretch(start, len(data))

    def _read(self, stretch: _Stretch | None, what: str) -> bytes:
        if stretch is None:
            raise NotFoundError(f"There is no {what}.")
        self._file.seek(stretch.start)
        return self._file.read(stretch.size_bytes)
