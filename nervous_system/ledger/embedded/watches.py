"""Notices of change: whoever waits looks, fifty times a second, whether any process has committed."""

from __future__ import annotations

import time
from threading import Event

from nervous_system.ledger.embedded import conflicts
from nervous_system.ledger.embedded.snapshots import value_at
from nervous_system.ledger.embedded.storage import Storage

POLL_INTERVAL_S = 0.02


class EmbeddedWatch:
    """Tells when the value at a key is no longer the one that a transaction saw."""

    def __init__(self, storage: Storage, key: bytes, value: bytes | None) -> None:
        self._storage = storage
        self._key = key
        self._value = value
        self._seen_version = -1
        self._cancelled = Event()

    def wait(self, timeout_s: float) -> bool:
        """Blocks until the key changes (True), or time is up or the watch is cancelled (False)."""
        deadline = time.monotonic() + timeout_s
        while not self._cancelled.is_set():
            if self._has_changed():
                return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._cancelled.wait(min(POLL_INTERVAL_S, left_s))
        return False

    def cancel(self) -> None:
        """Wakes who waits."""
        self._cancelled.set()

    def _has_changed(self) -> bool:
        with self._storage.reading() as connection:
            version = conflicts.last_version(connection)
            if version == self._seen_version:
                return False
            self._seen_version = version
            return value_at(connection, self._key) != self._value
