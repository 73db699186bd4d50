"""What was recorded of a work tree, kept beside the outbox so that a restart records only what changed meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import apsw

from nervous_system.capture.worktree.files import Entry, Signature
from nervous_system.errors import EnchantedError

FORMAT = 1
_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value ANY) STRICT;
CREATE TABLE IF NOT EXISTS entries (
  path BLOB PRIMARY KEY,
  digest BLOB NOT NULL,
  size_bytes INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  mode INTEGER NOT NULL,
  is_racy INTEGER NOT NULL
) STRICT;
-- What was about to be recorded when the entries were last saved, or since.
CREATE TABLE IF NOT EXISTS intended (path BLOB PRIMARY KEY) STRICT;
"""
_PUT = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class ShadowBusyError(EnchantedError):
    """Another process records this work tree for this project."""


class Shadow:
    """The recorded entries of one work tree in one project, by path; in memory, and as of the last ``save`` on disk.

    Args:
        path: its file, made where it is absent.

    Raises:
        ShadowBusyError: another process has it open.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(path)
        self._connection = apsw.Connection(str(path))
        self._connection.execute(_TABLES).fetchall()
        self._entries = dict(self._rows())
        # By folder: what lies directly in it.
        self._inside: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for each in self._entries:
            self._link(each)
        self._unsaved: set[bytes] = set()
        self.was_cut_off = self._about("open") == 1
        """Whether what was recorded last may be missing here, because whoever recorded it was killed."""
        self.intended = {path for (path,) in self._connection.execute("SELECT path FROM intended")}
        """What may have been recorded without being here, where it was cut off."""
        self._say(open=1, format=FORMAT)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def get(self, path: bytes) -> Entry | None:
        """What was recorded of a path; None where it was not, or as deleted."""
        return self._entries.get(path)

    def put(self, path: bytes, entry: Entry) -> None:
        """Takes what was recorded of a path."""
        if path not in self._entries:
            self._link(path)
        self._entries[path] = entry
        self._unsaved.add(path)

    def remove(self, path: bytes) -> None:
        """Forgets a path that was recorded as deleted."""
        if self._entries.pop(path, None) is not None:
            self._unlink(path)
            self._unsaved.add(path)

    def has_below(self, folder: bytes) -> bool:
        """Whether anything in a folder is recorded."""
        return folder in self._inside

    def below(self, folder: bytes) -> Iterator[bytes]:
        """The recorded paths in a folder, at any depth."""
        waiting = [folder]
        while waiting:
            for path in list(self._inside.get(waiting.pop(), ())):
                if path in self._entries:
                    yield path
                else:
                    waiting.append(path)

    def intend(self, paths: Iterable[bytes]) -> None:
        """Notes what is about to be recorded, so that whoever starts after a crash looks at it."""
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO intended VALUES (?)", [(path,) for path in paths])

    def save(self) -> None:
        """Writes what has changed since the last time; to be called once the recorder has it on disk."""
        with self._connection:
            self._connection.execute("DELETE FROM intended")
            for path in self._unsaved:
                entry = self._entries.get(path)
                if entry is None:
                    self._connection.execute("DELETE FROM entries WHERE path = ?", (path,))
                else:
                    self._connection.execute(_PUT, (path, bytes.fromhex(entry.digest), *entry.signature, entry.is_racy))
        self._unsaved.clear()

    def close(self) -> None:
        """Saves; from here on the file is known to hold all that was recorded."""
        self.save()
        self._say(open=0)
        self.abandon()

    def abandon(self) -> None:
        """Closes without saving: the next to open it is told that it was cut off."""
        self._connection.close()
        os.close(self._lock)

    def _rows(self) -> Iterator[tuple[bytes, Entry]]:
        for path, digest, *signature, is_racy in self._connection.execute("SELECT * FROM entries"):
            yield path, Entry(digest.hex(), Signature(*signature), bool(is_racy))

    def _link(self, path: bytes) -> None:
        while path:
            folder = path.rpartition(b"/")[0]
            inside = self._inside[folder]
            if path in inside:
                break
            inside.add(path)
            path = folder

    def _unlink(self, path: bytes) -> None:
        while path:
            folder = path.rpartition(b"/")[0]
            self._inside[folder].discard(path)
            if self._inside[folder]:
                break
            del self._inside[folder]
            path = folder

    def _about(self, key: str) -> object:
        row = self._connection.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _say(self, **facts: int) -> None:
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", list(facts.items()))


def _locked(path: Path) -> int:
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise ShadowBusyError(
            "Another process records this work tree for this project already: stop it, or name another project."
        ) from error
    return descriptor
