"""What a person should know and do about an error of SQLite's on an outbox."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from nervous_system.errors import EnchantedError, SettingsError, UnavailableError

# SQLite reports the lack of room for its WAL's index, of this size, as an error of the disk.
_WAL_INDEX_BYTES = 32_768


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turns errors of SQLite and of the system into sentences about the outbox at ``path``."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise explain(error, path) from error


def explain(error: apsw.Error | OSError, path: Path) -> EnchantedError:
    """The sentence for one error."""
    if isinstance(error, apsw.FullError) or (isinstance(error, apsw.IOError | OSError) and _is_full(path)):
        return UnavailableError(
            f"The disk that holds the outbox {path} is full: free space. What waits is written once there is room."
        )
    match error:
        case apsw.NotADBError():
            return SettingsError(f"{path} is not an outbox, nor any SQLite database: name another file, or move it.")
        case apsw.CorruptError():
            return UnavailableError(
                f"The outbox {path} is damaged ({error}): move it away, and the next recorder makes a new one. "
                f"`sqlite3 {path.name} .recover` brings back what can still be read of it."
            )
        case apsw.BusyError() | apsw.LockedError():
            return UnavailableError(f"Another process has held the outbox {path} for too long: end it.")
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.CantOpenError() | apsw.AuthError() | OSError():
            return SettingsError(f"The outbox {path} cannot be opened ({error}): check its folder and permissions.")
    return UnavailableError(f"The disk that holds the outbox {path} failed ({error}): check it.")


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _WAL_INDEX_BYTES
    except OSError:
        return False
