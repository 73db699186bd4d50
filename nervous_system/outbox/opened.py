"""An outbox that is there, opened to look at it: what it says of itself, and what waits in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

from nervous_system.outbox.opening import About, about, connect
from nervous_system.outbox.sentences import sentences
from nervous_system.outbox.transactions import ask


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the log has not acknowledged.

    Args:
        rows: events and parts.
        size_bytes: of their data.
        since_us: when the first of them occurred, microseconds since 1970; None where nothing waits.
        dropped_signals: how many made room for others since the outbox was made.
        uncovered: batches that the log has and the ledger has not been seen to have.
    """

    rows: int
    size_bytes: int
    since_us: int | None
    dropped_signals: int
    uncovered: int


class OpenOutbox:
    """A connection to an outbox, for one thread at a time.

    Raises, from every method: UnavailableError where the disk fails.
    """

    def __init__(self, path: Path) -> None:
        """Opens an outbox; raises NotFoundError where there is none, SettingsError where it is not one."""
        self.path = path
        self._connection = connect(path)
        self.about: About = about(self._connection, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def backlog(self) -> Backlog:
        """What the log has not acknowledged, and since when it waits."""
        with sentences(self.path):
            # All of it as it stands at one moment.
            self._connection.execute("BEGIN")
            try:
                return _backlog(self._connection)
            finally:
                self._connection.execute("COMMIT")

    def _ask(self, question: str, *values: Any) -> Any:
        with sentences(self.path):
            return ask(self._connection, question, values)


def _backlog(connection: apsw.Connection) -> Backlog:
    facts: dict[str, Any] = dict(connection.execute("SELECT key, value FROM about"))
    sums: Any = connection.execute(
        "SELECT coalesce(sum(row_count), 0), coalesce(sum(size_bytes), 0), coalesce(sum(covered_us IS NULL), 0) "
        "FROM batches WHERE sequence IS NOT NULL"
    ).fetchone()
    sent_rows, sent_bytes, uncovered = sums
    since_us = ask(
        connection,
        "SELECT occurred_us FROM rows WHERE kind = 'event' AND number >= coalesce("
        "(SELECT min(first) FROM batches WHERE sequence IS NULL), (SELECT max(last) + 1 FROM batches), 0) "
        "ORDER BY number LIMIT 1",
    )
    rows = facts["held_rows"] - sent_rows
    return Backlog(
        rows, facts["held_bytes"] - sent_bytes, since_us if rows else None, facts["dropped_signals"], uncovered
    )
