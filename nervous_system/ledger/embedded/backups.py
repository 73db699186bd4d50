"""A copy of the ledger's file as it stands at one instant, taken beside others at work."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.ledger.embedded.storage import BUSY_LIMIT_S, Storage


def back_up(ledger: Path, target: Path) -> int:
    """Writes a copy to ``target``, on disk when it returns, and there whole or not at all: how many bytes it has.

    Raises:
        SettingsError: there is no ledger, or something stands at ``target``.
        UnavailableError: the disk does not take it.
    """
    if not ledger.exists():
        raise SettingsError(f"There is no ledger at {ledger}: correct the path.")
    # Opening it as a ledger checks that it is one.
    Storage(ledger).close()
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _copy(ledger, draft)
        _sync(draft)
        # Unlike a rename, it refuses where something stands already.
        os.link(draft, target)
        _sync(target.parent)
        return target.stat().st_size
    except FileExistsError as error:
        raise SettingsError(f"{target} exists already: name a new file.") from error
    except FileNotFoundError as error:
        raise SettingsError(f"There is no folder {target.parent} for {target.name!r}: make it first.") from error
    except (OSError, apsw.Error) as error:
        raise UnavailableError(f"The copy could not be written to {target}: {error}.") from error
    finally:
        draft.unlink(missing_ok=True)


def _copy(ledger: Path, draft: Path) -> None:
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = apsw.Connection(str(ledger), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(int(BUSY_LIMIT_S * 1_000))
        connection.execute("VACUUM INTO ?", (str(draft),))
    finally:
        connection.close()
    # VACUUM INTO does not hand the journal's mode on, and a ledger that is there already is opened in its own.
    copy = apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        copy.execute("PRAGMA journal_mode = WAL")
    finally:
        copy.close()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
