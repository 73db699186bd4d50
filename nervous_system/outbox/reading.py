"""Reading an outbox without draining it: its rows in order, for use where there is no hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from nervous_system.outbox.opened import OpenOutbox
from nervous_system.outbox.sentences import sentences

_PAGE_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class StoredRow:
    """An event, or a part of a large content, as it stands in the outbox.

    Args:
        number: its place in the order, rising.
        kind: ``event`` or ``part``.
        event_id: empty for a part.
        resource: what the event is about, such as a path; a part's SHA-256, hex.
        data: the event's bytes, or the part's.
    """

    number: int
    kind: Literal["event", "part"]
    event_id: str
    resource: str
    data: bytes


class OutboxReader(OpenOutbox):
    """A reader of one outbox, for one thread at a time. Recorders and a drainer may go on meanwhile.

    Raises, from every method: UnavailableError where the disk fails.
    """

    def rows(self, after: int = 0) -> Iterator[StoredRow]:
        """Events and parts in the order they were recorded, from behind number ``after`` up to the last one."""
        last = self._ask("SELECT coalesce(max(number), 0) FROM rows")
        while after < last:
            # A page a transaction: what is long read would keep the file's WAL from starting anew.
            with sentences(self.path):
                page: list[Any] = self._connection.execute(
                    "SELECT number, kind, event_id, resource, data FROM rows WHERE number > ? AND number <= ? "
                    "ORDER BY number LIMIT ?",
                    (after, last, _PAGE_ROWS),
                ).fetchall()
            if not page:
                return
            yield from (StoredRow(*row) for row in page)
            after = page[-1][0]

    def part(self, part_hash: str) -> bytes | None:
        """One part of a large content by its SHA-256, hex; None where it is not here (any more)."""
        data: bytes | None = self._ask("SELECT data FROM rows WHERE kind = 'part' AND resource = ? LIMIT 1", part_hash)
        return data

    @property
    def is_whole(self) -> bool:
        """Whether everything that was ever recorded is still here but for dropped signals."""
        return bool(self._ask("SELECT value FROM about WHERE key = 'deleted_rows'") == 0)
