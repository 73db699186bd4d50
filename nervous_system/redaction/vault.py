"""What was taken out of files on this machine, for its owner alone: an SQLite file with mode 0600, which nothing sends.

A connection is opened for each use: secrets are rarely new, and connections outlive neither forks nor threads.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw

from nervous_system.errors import NotFoundError, UnavailableError
from nervous_system.redaction.encodings import placeholders_in
from nervous_system.redaction.placeholders import placeholder

FORMAT = 1
KEY_BYTES = 32
BUSY_LIMIT_S = 30.0
VAULT_FILE = "vault.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value ANY) STRICT;
-- What stood where a placeholder stands now.
CREATE TABLE IF NOT EXISTS secrets (placeholder TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT, WITHOUT ROWID;
-- Which content was recorded in the place of which: SHA-256, hex. How it was redacted goes by the kind of file.
CREATE TABLE IF NOT EXISTS contents (
  held TEXT NOT NULL, kind TEXT NOT NULL, recorded TEXT NOT NULL, PRIMARY KEY (held, kind)
) STRICT, WITHOUT ROWID;
"""


class VaultError(UnavailableError):
    """The vault cannot be read or written."""


class Vault:
    """The secrets of this machine's owner. Safe to use from several threads and processes.

    Args:
        path: the file; made, with its key, when it is first written to.

    Raises, from every method: VaultError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def key(self) -> bytes:
        """The key of its placeholders, 32 bytes."""
        with self._opened() as connection:
            return _key(connection)

    @contextmanager
    def deposit(self) -> Iterator[Deposit]:
        """A transaction that keeps secrets; on disk once the block ends. Nothing else is written meanwhile."""
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield Deposit(connection, _key(connection))
            connection.execute("COMMIT")

    def contents(self) -> dict[tuple[str, str], str]:
        """What was noted: by the held content's hash and its kind, the recorded content's."""
        if not self.path.exists():
            return {}
        with self._opened() as connection:
            rows: Any = connection.execute("SELECT held, kind, recorded FROM contents")
            return {(held, kind): recorded for held, kind, recorded in rows}

    def changed_ns(self) -> int:
        """When the file was last written to; 0 where there is none."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0

    def kept(self) -> dict[bytes, bytes]:
        """All that is kept, by its placeholder; raises NotFoundError where there is no vault."""
        if not self.path.exists():
            raise NotFoundError(
                f"There is no vault {self.path}: secrets can be put back only on the machine, and by the user, that "
                "recorded them."
            )
        with self._opened() as connection:
            rows: Any = connection.execute("SELECT placeholder, secret FROM secrets")
            return {name.encode(): secret for name, secret in rows}

    @contextmanager
    def _opened(self) -> Iterator[apsw.Connection]:
        try:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # SQLite gives its other files the mode of this one.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            with closing(apsw.Connection(str(self.path))) as connection:
                connection.set_busy_timeout(round(BUSY_LIMIT_S * 1000))
                yield connection
        except (apsw.Error, OSError) as error:
            raise VaultError(
                f"The vault {self.path} cannot be used ({error}): check its folder, permissions and disk. Secrets that "
                "it does not have cannot be put back."
            ) from error


class Deposit:
    """Secrets on their way into the vault."""

    def __init__(self, connection: apsw.Connection, key: bytes) -> None:
        self._connection, self._key = connection, key

    def put(self, rule: str, secret: bytes) -> str:
        """Keeps what ``rule`` found; gives what is to stand in its place."""
        attempt = 0
        while True:
            name = placeholder(rule, secret, self._key, attempt)
            self._connection.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, secret))
            row: Any = self._connection.execute("SELECT secret FROM secrets WHERE placeholder = ?", (name,)).fetchone()
            if row[0] == secret:
                return name
            attempt += 1

    def note(self, held: str, kind: str, recorded: str) -> None:
        """Notes that the content ``recorded`` stands for the content ``held``; both SHA-256 in hex."""
        self._connection.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", (held, kind, recorded))


def fill(content: bytes, kept: Mapping[bytes, bytes]) -> tuple[bytes, int]:
    """The content with what ``kept`` has in the place of placeholders, and how many it did not have."""
    missing = 0

    def put_back(match: re.Match[bytes]) -> bytes:
        nonlocal missing
        secret = kept.get(match.group().replace(b"\0", b""))
        missing += secret is None
        return match.group() if secret is None else secret

    return placeholders_in(content).sub(put_back, content), missing


def _key(connection: apsw.Connection) -> bytes:
    """The key, which the first to ask makes, as it makes the tables."""
    connection.execute(_SCHEMA)
    connection.execute(
        "INSERT OR IGNORE INTO about VALUES ('format', ?), ('key', ?)", (FORMAT, secrets.token_bytes(KEY_BYTES))
    )
    facts: Any = connection.execute("SELECT key, value FROM about")
    about = dict(facts)
    if about["format"] != FORMAT:
        raise VaultError(f"The vault has the format {about['format']}, which this version does not know: take a newer.")
    return bytes(about["key"])
