"""Where files stand until they are uploaded: a folder for each process, which is gone once nobody needs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nervous_system.errors import UnavailableError

_PREFIX = "siphon-"


class Workspace:
    """A folder of this process alone. What killed processes left beside it is removed.

    Args:
        parent: where it is made; made itself where it is missing.

    Raises:
        UnavailableError: nothing can be written there.
    """

    def __init__(self, parent: Path) -> None:
        with explained(parent):
            parent.mkdir(parents=True, exist_ok=True)
            # One after the other: a folder that is not locked yet would look like one that was left behind.
            with _alone(parent):
                _clear(parent)
                self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
                self._lock = _locked(self.folder)

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A new file's path for the length of a ``with`` block."""
        descriptor, path = tempfile.mkstemp(suffix=f".{name}", dir=self.folder)
        os.close(descriptor)
        try:
            yield Path(path)
        finally:
            Path(path).unlink(missing_ok=True)

    def close(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns what the system refuses about files in ``folder`` into a sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnavailableError(
            f"Files of the archive cannot be written in {folder} ({reason}): free space there, or name another folder, "
            "the siphon's in ENCHANTED_SIPHON_FOLDER, the janitor's in ENCHANTED_HOME. Nothing is lost; it is tried "
            "again."
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear(parent: Path) -> None:
    for found in parent.glob(f"{_PREFIX}*"):
        # Who made it holds its lock as long as it lives.
        if (lock := _locked(found)) is not None:
            shutil.rmtree(found, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
    return None
