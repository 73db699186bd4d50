"""One connection that writes to an outbox: appending within its bounds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from nervous_system.errors import UnavailableError
from nervous_system.outbox.opening import create, outbox_path
from nervous_system.outbox.sentences import sentences
from nervous_system.outbox.transactions import (
    ROW_COST_BYTES,
    ask,
    count,
    drop_signals,
    free_covered,
    held_bytes,
    note_dropped,
    transaction,
)
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

# How much is appended at once: one statement, within which no other thread of the agent is held up.
_STEP_ROWS = 512
_STEP_BYTES = 1024 * 1024
SIGNAL = "system_signal"


class Row(NamedTuple):
    """One row as the file has it, but for its number; the columns are in ``schema.sql``."""

    kind: str
    event_id: str
    occurred_us: int
    agent_id: str
    session_id: str
    payload: str
    resource: str
    summary: str
    size_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class OutboxOptions:
    """Which outbox, and how it is kept.

    Args:
        path: of the file.
        project: whose events it holds.
        max_bytes: what it may hold.
        overflow: ``block`` or ``drop_signals``.
        commit_within_s: an event is on disk within this time.
    """

    path: Path
    project: ProjectName
    max_bytes: int
    overflow: str
    commit_within_s: float

    @classmethod
    def of(cls, settings: Settings, project: ProjectName) -> OutboxOptions:
        """What the settings say of a project's outbox."""
        return cls(
            outbox_path(settings, project),
            project,
            settings.outbox_max_bytes,
            settings.outbox_overflow,
            settings.outbox_commit_within_s,
        )


class Outbox:
    """A connection to the file, which is made where it is missing; for one thread at a time.

    Raises, from every method: SettingsError where the file cannot be used, UnavailableError where the disk fails.
    """

    def __init__(self, options: OutboxOptions) -> None:
        self._options = options
        self._connection = create(options.path, options.project)
        with sentences(options.path):
            path = options.path.with_name(options.path.name + "-writers")
            self._turns = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._file = options.path.stat().st_ino

    def append(self, rows: Sequence[Row]) -> int:
        """Puts rows on disk, in order.

        Returns:
            How many were taken, from the first on: fewer than were given where the outbox is full.
        """
        taken = 0
        with sentences(self._options.path), self._turn(), transaction(self._connection):
            for step in _steps(rows):
                fitting = self._fitting(step)
                if fitting is None:
                    break
                self._insert(fitting)
                taken += len(step)
        return taken

    def close(self) -> None:
        """Ends the connection."""
        with sentences(self._options.path):
            self._connection.close()
        if self._turns >= 0:
            os.close(self._turns)
            self._turns = -1

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Waits for the other processes that write, in a queue: SQLite by itself would sleep and look again."""
        fcntl.flock(self._turns, fcntl.LOCK_EX)
        try:
            if not self._options.path.exists() or self._options.path.stat().st_ino != self._file:
                raise UnavailableError(
                    f"The outbox {self._options.path} was moved away or deleted; a new one is made. What was recorded "
                    "until now is in the old one."
                )
            yield
        finally:
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    def _fitting(self, rows: Sequence[Row]) -> Sequence[Row] | None:
        """What is to be inserted of ``rows`` once room was made for it; None where there is no room."""
        rows = [row for row in rows if row.kind == "event" or not self._has_part(row.resource)]
        missing_bytes = self._missing_bytes(rows)
        if missing_bytes <= 0:
            return rows
        missing_bytes -= free_covered(self._connection, missing_bytes)
        if missing_bytes > 0 and self._options.overflow == "drop_signals":
            missing_bytes -= drop_signals(self._connection, missing_bytes)
            if missing_bytes > 0:
                kept = [row for row in rows if row.payload != SIGNAL]
                missing_bytes = self._missing_bytes(kept)
                if missing_bytes <= 0 and len(kept) < len(rows):
                    lost = [(row.agent_id, row.session_id, row.occurred_us) for row in rows if row.payload == SIGNAL]
                    note_dropped(self._connection, lost)
                rows = kept
        return rows if missing_bytes <= 0 else None

    def _missing_bytes(self, rows: Sequence[Row]) -> int:
        needed_bytes = sum(row.size_bytes + ROW_COST_BYTES for row in rows)
        return held_bytes(self._connection) + needed_bytes - self._options.max_bytes

    def _has_part(self, part_hash: str) -> bool:
        """Whether the part stands in the file and the ledger has not been seen to have it, so that it will be sent."""
        return bool(
            ask(
                self._connection,
                "SELECT EXISTS (SELECT 1 FROM rows WHERE kind = 'part' AND resource = ? AND number > "
                "(SELECT coalesce(max(last), 0) FROM batches WHERE covered_us IS NOT NULL))",
                (part_hash,),
            )
        )

    def _insert(self, rows: Sequence[Row]) -> None:
        start = 0
        while start < len(rows):
            size = _statement_rows(len(rows) - start)
            values: list[Any] = [value for row in rows[start : start + size] for value in row]
            self._connection.execute(_insertion(size), values)
            start += size
        count(self._connection, len(rows), sum(row.size_bytes for row in rows))


def _steps(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    start = size_bytes = 0
    for position, row in enumerate(rows):
        if position > start and (position - start >= _STEP_ROWS or size_bytes + row.size_bytes > _STEP_BYTES):
            yield rows[start:position]
            start, size_bytes = position, 0
        size_bytes += row.size_bytes
    if start < len(rows):
        yield rows[start:]


def _statement_rows(waiting: int) -> int:
    """How many rows the next statement takes: few sizes, so that statements are prepared once."""
    return next(size for size in (_STEP_ROWS, 64, 8, 1) if size <= waiting)


@cache
def _insertion(rows: int) -> str:
    # Many rows a statement: for each statement the writer's thread waits for Python's lock, and a busy agent keeps
    # that for 5 ms at a time.
    one = f"({','.join('?' * len(Row._fields))})"
    return f"INSERT INTO rows ({','.join(Row._fields)}) VALUES {','.join([one] * rows)}"
