"""The embedded engine: transactions, their commit, and running again what conflicted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nervous_system.ledger.embedded import conflicts
from nervous_system.ledger.embedded.commits import Commit, Committer
from nervous_system.ledger.embedded.directories import Directories
from nervous_system.ledger.embedded.reclaiming import reclaim
from nervous_system.ledger.embedded.refusals import RETRYABLE
from nervous_system.ledger.embedded.snapshots import Snapshot, Snapshots
from nervous_system.ledger.embedded.storage import Storage
from nervous_system.ledger.embedded.transaction import EmbeddedTransaction
from nervous_system.ledger.embedded.watches import EmbeddedWatch
from nervous_system.ledger.transaction import RUN_LIMIT_S, LedgerError

T = TypeVar("T")

FIRST_BACKOFF_S = 0.001
LAST_BACKOFF_S = 0.1


class EmbeddedEngine:
    """See ``nervous_system.ledger.transaction.Engine``.

    Args:
        path: the SQLite file; made, with its folder, where it is absent.

    Raises:
        SettingsError: the file is something else, or cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self._storage = Storage(path)
        self._snapshots = Snapshots(self._storage)
        self._committer = Committer(self._storage)
        self._directories = Directories(self._storage)

    def begin(self) -> EmbeddedTransaction:
        return EmbeddedTransaction(self)

    def run(self, work: Callable[[EmbeddedTransaction], T]) -> T:
        give_up_at = time.monotonic() + RUN_LIMIT_S
        backoff_s = FIRST_BACKOFF_S
        while True:
            transaction = self.begin()
            try:
                result = work(transaction)
                transaction.commit()
                return result
            except LedgerError as error:
                if error.code not in RETRYABLE or time.monotonic() > give_up_at:
                    raise
            finally:
                transaction.cancel()
            time.sleep(random.random() * backoff_s)
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)

    def directory(self, path: tuple[str, ...], *, create: bool = True) -> bytes | None:
        if not path:
            raise ValueError("the root directory has no prefix: name a path")
        return self._directories.prefix(path, create)

    def list_directories(self, path: tuple[str, ...]) -> list[str]:
        return self._directories.names(path)

    def reclaim(self) -> int:
        return reclaim(self._storage)

    def close(self) -> None:
        self._storage.close()

    def raise_version(self, least: int) -> None:
        """Has all later commits get versions above ``least``."""
        with self._storage.writing() as connection:
            conflicts.raise_last(connection, least)

    def snapshot(self) -> Snapshot:
        """A snapshot of now, for a transaction."""
        return self._snapshots.open()

    def watch(self, key: bytes, value: bytes | None) -> EmbeddedWatch:
        """A watch on ``key`` against ``value``, for a transaction."""
        return EmbeddedWatch(self._storage, key, value)

    def commit(self, commit: Commit) -> bytes:
        """Checks, writes and syncs a transaction; gives its versionstamp. Raises LedgerError 1020, 1007 or 1021."""
        self._snapshots.close_old()
        return self._committer.commit(commit)
