"""The folder of the embedded stack: where each part of it lies, private to its owner."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infrastructure.local.errors import StackError, explained
from nervous_system.errors import SettingsError
from nervous_system.settings import STACK_FILE

DEFAULT_NAME = ".enchanted"


@dataclass(frozen=True, slots=True)
class Home:
    """``ENCHANTED_HOME``. Every folder that it makes has mode 0700, every file 0600."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> Home:
        """The home at ``root``; raises SettingsError for a path that cannot stand in a line of ``stack.env``."""
        path = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100 (absolute() would keep "..")
        if any(character in str(path) for character in "\n\r\0"):
            raise SettingsError(f"ENCHANTED_HOME={str(path)!r} has a line break in it: use another folder.")
        return cls(path)

    @property
    def settings_file(self) -> Path:
        return self.root / STACK_FILE

    @property
    def secrets_file(self) -> Path:
        return self.root / "secrets.json"

    @property
    def ports_file(self) -> Path:
        return self.root / "ports.json"

    @property
    def state_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def lock_file(self) -> Path:
        """Locked for as long as the supervisor or any of its children lives."""
        return self.root / "stack.lock"

    @property
    def ledger_file(self) -> Path:
        return self.root / "ledger" / "ledger.sqlite"

    def log_file(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def exists(self) -> bool:
        """Whether the folder is there. Raises SettingsError where that cannot be told."""
        with explained(self.root, "read"):
            return self.root.is_dir()

    def make(self) -> None:
        """Makes the folder and those in it that all components share. Raises SettingsError."""
        with explained(self.root, "made"):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._is_ours():
                self.root.chmod(0o700)
        for name in ("logs", "ledger", "run"):
            self.folder(name)

    def folder(self, name: str) -> Path:
        """The folder called ``name``, made where it is absent. Raises SettingsError."""
        path = self.root / name
        with explained(path, "made"):
            path.mkdir(mode=0o700, exist_ok=True)
        return path

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Waits until no other ``up`` or ``down`` is at work here. Raises SettingsError."""
        path = self.root / "up.lock"
        with explained(path, "locked"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _is_ours(self) -> bool:
        """Whether the folder is the stack's alone, so that closing it to others harms nobody."""
        owned = self.root.stat().st_uid == os.getuid()
        return owned and (self.root.name == DEFAULT_NAME or self.secrets_file.exists() or not any(self.root.iterdir()))


def write_private(path: Path, text: str) -> None:
    """Replaces ``path``'s content in one step that survives a crash, mode 0600. Raises SettingsError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with explained(path, "written"):
        try:
            _write_synced(fresh, text)
            fresh.replace(path)
            _sync_folder(path.parent)
        finally:
            fresh.unlink(missing_ok=True)


def lock_stack(home: Home) -> int:
    """An open descriptor that holds the stack's lock; children that inherit it hold the lock too.

    Raises:
        StackError: a process of an earlier run still holds it.
        SettingsError: the file cannot be opened.
    """
    with explained(home.lock_file, "locked"):
        descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StackError(f"A process of an earlier run still works in {home.root}.") from error
    return descriptor


def _write_synced(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
