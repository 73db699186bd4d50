"""The SQLite file: its form, its connections, and errors of the disk said in sentences.

Table ``pairs`` holds the keys and values; ``recent`` what the commits of the last seconds wrote, by version;
``directories`` the tree of directory names, whose row number is the directory's prefix.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import apsw

from nervous_system.errors import EnchantedError, SettingsError, UnavailableError
from nervous_system.ledger.embedded import forks
from nervous_system.ledger.embedded.refusals import UNKNOWN_RESULT, refusal

APPLICATION_ID = 0x454E4C47  # "ENLG"
BUSY_LIMIT_S = 10.0
IDLE_CONNECTIONS = 8
CHECKPOINT_PAGES = 4_000  # 16 MB of WAL
CROWDED_PAGES = 16_000  # 64 MB of WAL: worth waiting for readers
CROWDED_WAIT_S = 0.1
CROWDED_PAUSE_S = 5.0
WAL_LIMIT_BYTES = 64_000_000
WAL_INDEX_BYTES = 32_768

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recent (version INTEGER PRIMARY KEY, at REAL NOT NULL, ranges BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS directories (
  id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (parent, name)
);
PRAGMA application_id = {APPLICATION_ID};
"""


class Storage:
    """Connections to one file: many that read, one that writes. Safe to use from several threads.

    Raises SettingsError where the file or its folder cannot be used, UnavailableError where the disk fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Entered again by the same thread where collecting garbage ends a transaction.
        self._lock = RLock()
        self._writing = Lock()
        self._idle: list[apsw.Connection] = []
        self._leased: set[apsw.Connection] = set()
        # The one that committed last: SQLite has all others begin with an empty cache.
        self._warm: apsw.Connection | None = None
        self._closed = False
        self._wal_pages = 0
        self._crowded_at = 0.0
        forks.refuse_inherited(path)
        _make_folder(path.parent)
        self.give_back(self.take())
        forks.register(self)

    def take(self, *, to_write: bool = False) -> apsw.Connection:
        """A connection of which the caller is the only user until it gives it back."""
        with self._lock:
            if self._closed:
                raise UnavailableError(f"The ledger {self.path} is closed: open it again.")
            forks.refuse_inherited(self.path)
            # Who is alone reads with the warm one, and writes with it next; several would take it from each other.
            connection = self._take_idle(warm=to_write or not self._leased) or self._connect()
            self._leased.add(connection)
            return connection

    def _take_idle(self, *, warm: bool) -> apsw.Connection | None:
        for connection in reversed(self._idle):
            if (connection is self._warm) is (warm and self._warm in self._idle):
                self._idle.remove(connection)
                return connection
        return None

    def give_back(self, connection: apsw.Connection) -> None:
        """Ends what the connection was doing and keeps it for the next; leaves alone what a fork has brought here."""
        if connection not in self._leased:
            return
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._lock:
            self._leased.discard(connection)
            keep = not self._closed and len(self._idle) < IDLE_CONNECTIONS
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A connection for a question or two."""
        with self.sentences():
            connection = self.take()
            try:
                yield connection
            finally:
                self.give_back(connection)

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """A connection in a transaction that holds the file's write lock and ends with the block."""
        with self._writing, self.sentences():
            writer = self.take(to_write=True)
            try:
                writer.execute("BEGIN IMMEDIATE")
                yield writer
                self._end(writer)
                self._warm = writer
                self._checkpoint(writer)
            finally:
                self.give_back(writer)

    @contextmanager
    def alone(self) -> Iterator[apsw.Connection]:
        """A connection that no other thread of this engine writes beside, for what cannot be in a transaction."""
        with self._writing, self.sentences():
            writer = self.take(to_write=True)
            try:
                yield writer
            finally:
                self.give_back(writer)

    def _end(self, writer: apsw.Connection) -> None:
        try:
            writer.execute("COMMIT")
        except apsw.IOError as error:
            if _is_full(self.path):
                raise
            # The frames may have reached the disk before it failed, and come back after a crash.
            raise refusal(UNKNOWN_RESULT) from error

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Turns errors of SQLite into sentences."""
        try:
            yield
        except apsw.Error as error:
            raise explain(error, self.path) from error

    def close(self) -> None:
        """Closes every idle connection; one that is in use is closed when it is given back."""
        with self._writing, self._lock:
            self._closed = True
            self.close_idle()

    def hold(self) -> None:
        """Stops all other threads at this door, with no idle connection open: a fork may follow."""
        self._writing.acquire()
        self._lock.acquire()
        self.close_idle()

    def release(self) -> None:
        """Ends ``hold``."""
        self._lock.release()
        self._writing.release()

    def abandon(self) -> list[apsw.Connection]:
        """Forgets the connections that are in use, and gives them; between ``hold`` and ``release`` only."""
        leased, self._leased = list(self._leased), set()
        return leased

    def close_idle(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle, self._warm = [], None

    def _connect(self) -> apsw.Connection:
        with self.sentences():
            connection = apsw.Connection(str(self.path))
            connection.set_busy_timeout(round(BUSY_LIMIT_S * 1000))
            _prepare(connection, self.path)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -16000")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
            # The file never lies on what another process may have written since.
            connection.execute("PRAGMA mmap_size = 0")
            connection.set_wal_hook(self._count_pages)
            return connection

    def _count_pages(self, connection: apsw.Connection, database: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self, writer: apsw.Connection) -> None:
        """Moves a long WAL into the file; where readers keep it from starting anew, waits a little for them."""
        if self._wal_pages < CHECKPOINT_PAGES:
            return
        mode = apsw.SQLITE_CHECKPOINT_PASSIVE
        crowded = self._wal_pages >= CROWDED_PAGES and time.monotonic() - self._crowded_at > CROWDED_PAUSE_S
        if crowded:
            self._crowded_at = time.monotonic()
            mode = apsw.SQLITE_CHECKPOINT_TRUNCATE
            writer.set_busy_timeout(round(CROWDED_WAIT_S * 1000))
        # Where this fails, what was committed is safe in the WAL, and the next commit tries again.
        with contextlib.suppress(apsw.Error):
            writer.wal_checkpoint(mode=mode)
        if crowded:
            writer.set_busy_timeout(round(BUSY_LIMIT_S * 1000))


def explain(error: apsw.Error, path: Path) -> EnchantedError:  # noqa: PLR0911 - one answer an error
    """What a person should know and do about SQLite's error."""
    match error:
        case apsw.FullError():
            return _full(path)
        case apsw.IOError() | apsw.CantOpenError() if _is_full(path):
            return _full(path)
        case apsw.NotADBError():
            return SettingsError(f"{path} is not a ledger, nor any SQLite database: name another file.")
        case apsw.CorruptError():
            return UnavailableError(f"The ledger {path} is damaged ({error}): restore it from a copy or the archive.")
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.CantOpenError() | apsw.AuthError():
            return SettingsError(f"The ledger {path} cannot be opened for writing: check its folder and permissions.")
        case apsw.BusyError() | apsw.LockedError():
            return UnavailableError(
                f"Another process has held the ledger {path} for {BUSY_LIMIT_S:g} s: end it, or run this again later."
            )
        case _:
            return UnavailableError(f"The disk that holds {path} failed ({error}): check it, and run it again.")


def _full(path: Path) -> UnavailableError:
    return UnavailableError(f"The disk that holds {path} is full: free space and run it again.")


def _is_full(path: Path) -> bool:
    """Whether the disk lacks even the room for the WAL's index, whose lack SQLite gives as an error of the disk."""
    try:
        return shutil.disk_usage(path.parent).free < WAL_INDEX_BYTES
    except OSError:
        return False


def _prepare(connection: apsw.Connection, path: Path) -> None:
    """Makes a new file a ledger; several processes may do so at once. Raises SettingsError for another's file."""
    deadline = time.monotonic() + BUSY_LIMIT_S
    while True:
        try:
            if number(connection, "PRAGMA application_id") == APPLICATION_ID:
                return
            if number(connection, "SELECT count(*) FROM sqlite_schema") > 0 and not _is_ledger_now(connection):
                raise SettingsError(f"{path} is an SQLite database, but not a ledger: name another file.")
            # So that the file can get smaller; to be said before there is anything in it.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT")
            return
        except apsw.BusyError:
            # SQLite does not wait by itself where two connections change the journal's mode.
            if time.monotonic() > deadline:
                raise
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            time.sleep(0.01)


def _is_ledger_now(connection: apsw.Connection) -> bool:
    """Whether another process has made the file a ledger between our two questions."""
    return number(connection, "PRAGMA application_id") == APPLICATION_ID


def number(connection: apsw.Connection, question: str) -> int:
    """The one number that a question gives."""
    row: Any = connection.execute(question).fetchone()
    return int(row[0])


def _make_folder(folder: Path) -> None:
    """Makes a folder and its parents, and their entries durable; raises SettingsError where it cannot."""
    try:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync_folder(made.parent)
    except OSError as error:
        raise SettingsError(
            f"The ledger's folder {folder} cannot be made ({error.strerror}): name another, or make it yourself."
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
