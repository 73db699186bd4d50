"""What stands at a path of a work tree, read so that what is read was there at one time."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import NamedTuple

from nervous_system.contract import EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE
from nervous_system.errors import ContractError
from nervous_system.events import content_hash

# A file may change twice within one tick of its file system's clock: what was touched this shortly before it was read
# is not taken for unchanged because its times are (Git calls it racy).
RACY_NS = 100_000_000
# How often a file that changes while it is read is read again at once.
ATTEMPTS = 3
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TooLargeError(ContractError):
    """A file is too large to be recorded."""

    def __init__(self, path: bytes, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"{path.decode('utf-8', 'backslashreplace')!r} has {size_bytes:,} bytes, above the {max_bytes:,} allowed: "
            "raise --max-file-bytes, or name it in .enchantedignore."
        )


class Signature(NamedTuple):
    """By which a file is taken for unchanged without reading it."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """The signature of what ``status`` describes; its mode as in git."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, git_mode(status.st_mode))


class Entry(NamedTuple):
    """What was recorded of a path.

    Args:
        digest: SHA-256 of the content, hex.
        signature: of the file when it was read.
        is_racy: whether the signature must not be trusted, because the file was touched just before.
    """

    digest: str
    signature: Signature
    is_racy: bool

    @property
    def mode(self) -> int:
        """As in git."""
        return self.signature.mode


@dataclass(frozen=True, slots=True)
class Reading:
    """A file as it was read.

    Args:
        entry: what it was.
        content: its bytes; a symlink's target.
        is_whole: whether it did not change while it was read.
    """

    entry: Entry
    content: bytes
    is_whole: bool


def git_mode(mode: int) -> int:
    """A mode as git keeps it; 0 for what is neither file nor symlink."""
    if stat.S_ISREG(mode):
        return EXECUTABLE_MODE if mode & stat.S_IXUSR else FILE_MODE
    return SYMLINK_MODE if stat.S_ISLNK(mode) else 0


def look(path: bytes) -> os.stat_result | None:
    """What stands at a path, links not followed; None where there is nothing. Raises OSError where that is hidden."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read(path: bytes, *, max_bytes: int) -> Reading | None:
    """Reads a file or a symlink; None where it is gone, or is neither.

    Raises TooLargeError above ``max_bytes``, OSError where it may not be read.
    """
    for attempt in range(1, ATTEMPTS + 1):
        began_ns = time.time_ns()
        found = _read_once(path, max_bytes)
        if found is None:
            return None
        content, before, after = found
        is_whole = before == after and len(content) == after.size_bytes
        if is_whole or attempt == ATTEMPTS:
            is_racy = max(before.mtime_ns, before.ctime_ns) > began_ns - RACY_NS or not is_whole
            return Reading(Entry(content_hash(content), before, is_racy), content, is_whole)
    return None


def _read_once(path: bytes, max_bytes: int) -> tuple[bytes, Signature, Signature] | None:
    """A content, and its file's signature before and after it was read."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(path), Signature.of(status), Signature.of(os.lstat(path))  # noqa: PTH115
        # What is not a file, a FIFO say, is never opened: that alone may have effects.
        return _read_file(path, max_bytes) if stat.S_ISREG(status.st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_file(path: bytes, max_bytes: int) -> tuple[bytes, Signature, Signature] | None:
    descriptor = os.open(path, _FLAGS)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 (a descriptor)
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return None
        if before.st_size > max_bytes:
            raise TooLargeError(path, before.st_size, max_bytes)
        content = file.readall()
        return content, Signature.of(before), Signature.of(os.fstat(descriptor))
