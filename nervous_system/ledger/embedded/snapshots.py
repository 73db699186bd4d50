"""Reads of one moment: SQLite's read transactions, each for at most five seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import RLock
from typing import Any

import apsw

from nervous_system.ledger.embedded import conflicts
from nervous_system.ledger.embedded.refusals import TOO_OLD, refusal
from nervous_system.ledger.embedded.storage import Storage, explain
from nervous_system.ledger.transaction import TRANSACTION_LIMIT_S, KeyValue

VALUE_AT = "SELECT value FROM pairs WHERE key = ?"
VALUES_AT = "SELECT key, value FROM pairs WHERE key IN carray(?)"
PAGE = "SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
PAGE_BACK = "SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?"


def value_at(connection: apsw.Connection, key: bytes) -> bytes | None:
    """The stored value."""
    row: Any = connection.execute(VALUE_AT, (key,)).fetchone()
    return None if row is None else row[0]


class Snapshot:
    """The store as of ``version``. It keeps a connection, and the WAL from starting anew, until it is closed."""

    def __init__(self, snapshots: Snapshots, storage: Storage) -> None:
        self._snapshots = snapshots
        self._storage = storage
        # Entered again by the same thread where collecting garbage ends a transaction.
        self._lock = RLock()
        with storage.sentences():
            self._connection: apsw.Connection | None = storage.take()
            try:
                self._connection.execute("BEGIN")
                self.version = conflicts.last_version(self._connection)
            except BaseException:
                self.close()
                raise
        self._ends_at = time.monotonic() + TRANSACTION_LIMIT_S

    @property
    def is_too_old(self) -> bool:
        return time.monotonic() > self._ends_at

    def get(self, key: bytes) -> bytes | None:
        """The value at ``key``; raises LedgerError 1007 after five seconds."""
        try:
            with self._lock:
                return value_at(self._usable(), key)
        except apsw.Error as error:  # not ``sentences``, which takes as long as the read
            raise explain(error, self._storage.path) from error

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values at ``keys``; raises LedgerError 1007 after five seconds."""
        with self._lock, self._storage.sentences():
            rows: Any = self._usable().execute(VALUES_AT, (apsw.carray(tuple(keys)),))
            found: dict[bytes, bytes] = dict(rows)
        return [found.get(key) for key in keys]

    def page(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> list[KeyValue]:
        """At most ``limit`` pairs (0: all) of begin to end; raises LedgerError 1007 after five seconds."""
        with self._lock, self._storage.sentences():
            rows: Any = self._usable().execute(PAGE_BACK if reverse else PAGE, (begin, end, limit or -1))
            return rows.fetchall()  # type: ignore[no-any-return]

    def close(self) -> None:
        """Gives the connection back."""
        if self._connection is None:
            return
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                self._storage.give_back(connection)
        self._snapshots.forget(self)

    def close_if_too_old(self) -> None:
        """Gives the connection back after five seconds, unless another thread is reading just now."""
        if self.is_too_old and self._lock.acquire(blocking=False):
            try:
                self.close()
            finally:
                self._lock.release()

    def _usable(self) -> apsw.Connection:
        if self._connection is None or self.is_too_old:
            raise refusal(TOO_OLD)
        return self._connection


class Snapshots:
    """All that are open in this engine."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._open: set[Snapshot] = set()

    def open(self) -> Snapshot:
        """A snapshot of now; those that nobody closed in time are closed first."""
        self.close_old()
        snapshot = Snapshot(self, self._storage)
        self._open.add(snapshot)
        return snapshot

    def close_old(self) -> None:
        for snapshot in list(self._open):
            snapshot.close_if_too_old()

    def forget(self, snapshot: Snapshot) -> None:
        self._open.discard(snapshot)
