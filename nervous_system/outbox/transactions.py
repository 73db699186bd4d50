"""Transactions on an outbox, and the room in it: what may go when it is full.

Nothing goes but what the ledger has (its batches are covered) and, where the policy says so, signals that are in no
batch yet. An event that was given a number in a batch is sent as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

# What a row costs beside its data: its other columns, its place in the tree and the index.
ROW_COST_BYTES = 160
_SIGNALS_A_STEP = 500


@contextmanager
def transaction(connection: apsw.Connection, *, durable: bool = True) -> Iterator[None]:
    """A transaction that holds the file's write lock.

    Args:
        connection: of the caller's alone.
        durable: False where it may be forgotten when the power fails, and is done again then.
    """
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def ask(connection: apsw.Connection, question: str, values: tuple[Any, ...] = ()) -> Any:
    """The first value of the first row; None where there is no row."""
    row: Any = connection.execute(question, values).fetchone()
    return None if row is None else row[0]


def held_bytes(connection: apsw.Connection) -> int:
    """What the rows take, by the measure that the bound is in."""
    return int(
        ask(
            connection,
            f"SELECT sum(CASE key WHEN 'held_rows' THEN value * {ROW_COST_BYTES} ELSE value END) FROM about "
            "WHERE key IN ('held_rows', 'held_bytes')",
        )
    )


def count(connection: apsw.Connection, rows: int, size_bytes: int) -> None:
    """Notes that so much came, or went where negative."""
    connection.execute("UPDATE about SET value = value + ? WHERE key = 'held_rows'", (rows,))
    connection.execute("UPDATE about SET value = value + ? WHERE key = 'held_bytes'", (size_bytes,))


def last_in_batch(connection: apsw.Connection) -> int:
    """The number of the last row that belongs to a batch; what comes after has not been cut into batches yet."""
    return int(ask(connection, "SELECT coalesce(max(last), 0) FROM batches"))


def free_covered(connection: apsw.Connection, needed_bytes: int) -> int:
    """Deletes batches that the ledger has, oldest first, until so much is freed; gives how much was."""
    freed = 0
    while freed < needed_bytes:
        row: Any = connection.execute(
            "SELECT batch, covered_us, first, last, row_count, size_bytes FROM batches ORDER BY batch LIMIT 1"
        ).fetchone()
        if row is None or row[1] is None:
            break
        freed += delete_batch(connection, row[0], row[2], row[3], row[4], row[5])
    return freed


def delete_batch(connection: apsw.Connection, *row: int) -> int:
    """Deletes a batch (number, first, last, rows, bytes) with its rows; gives how much room that makes."""
    batch, first, last, rows, size_bytes = row
    connection.execute("DELETE FROM rows WHERE number BETWEEN ? AND ?", (first, last))
    connection.execute("DELETE FROM batches WHERE batch = ?", (batch,))
    connection.execute("UPDATE about SET value = value + ? WHERE key = 'deleted_rows'", (rows,))
    count(connection, -rows, -size_bytes)
    return size_bytes + rows * ROW_COST_BYTES


def drop_signals(connection: apsw.Connection, needed_bytes: int) -> int:
    """Deletes the oldest signals that are in no batch until so much is freed, and counts them; gives how much was."""
    freed = 0
    start = last_in_batch(connection)
    while freed < needed_bytes:
        oldest: list[Any] = connection.execute(
            "SELECT number, agent_id, session_id, occurred_us, size_bytes FROM rows "
            "WHERE payload = 'system_signal' AND number > ? ORDER BY number LIMIT ?",
            (start, _SIGNALS_A_STEP),
        ).fetchall()
        if not oldest:
            break
        enough = []
        for row in oldest:
            if freed >= needed_bytes:
                break
            enough.append(row)
            freed += row[4] + ROW_COST_BYTES
        connection.executemany("DELETE FROM rows WHERE number = ?", [(row[0],) for row in enough])
        count(connection, -len(enough), -sum(row[4] for row in enough))
        note_dropped(connection, [(row[1], row[2], row[3]) for row in enough])
    return freed


def note_dropped(connection: apsw.Connection, signals: list[tuple[str, str, int]]) -> None:
    """Counts signals (agent, session, occurred_us) that made room for others."""
    connection.executemany(
        "INSERT INTO dropped VALUES (?, ?, 1, ?3, ?3) ON CONFLICT DO UPDATE SET signals = signals + 1, "
        "first_us = min(first_us, excluded.first_us), last_us = max(last_us, excluded.last_us)",
        signals,
    )
    connection.execute("UPDATE about SET value = value + ? WHERE key = 'dropped_signals'", (len(signals),))
