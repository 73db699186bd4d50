"""Folders held by descriptor, so that no link, however it came there, leads a write elsewhere.

Each part of a path is opened by itself, relative to the descriptor of the folder above it and without following links.
That gives what openat2(2) with RESOLVE_BENEATH gives, on every POSIX system, and costs nothing more: a restore makes
each folder itself and has to open it once anyway.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
from contextlib import suppress
from itertools import takewhile

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
RENAME_NOREPLACE = 1

_LIBC = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_LIBC, "renameat2", None)
_syncfs = getattr(_LIBC, "syncfs", None)


class Walk:
    """A way through the folders below one root.

    Holds a descriptor a level; paths that come in order make it open each folder once.

    Args:
        root_fd: the root's descriptor, which stays the caller's.
        is_making: whether folders that are missing are made; FileNotFoundError where not.
    """

    def __init__(self, root_fd: int, *, is_making: bool = True) -> None:
        self._open = _open_or_make if is_making else open_folder
        self._fds = [root_fd]
        self._parts: list[bytes] = []
        self._folder = b""

    def enter(self, folder: bytes) -> int:
        """The descriptor of ``folder``, parts joined by "/", valid until the next call; raises OSError."""
        if folder != self._folder:
            # Should a folder not open, the walk stands nowhere that it could be asked for.
            self._folder = b"\0"
            parts = folder.split(b"/") if folder else []
            shared = takewhile(lambda pair: pair[0] == pair[1], zip(self._parts, parts, strict=False))
            self._leave(len(list(shared)))
            for part in parts[len(self._parts) :]:
                self._fds.append(self._open(part, self._fds[-1]))
                self._parts.append(part)
            self._folder = folder
        return self._fds[-1]

    def close(self) -> None:
        """Gives the descriptors back; the walk may go on from the root."""
        self._leave(0)
        self._folder = b""

    def _leave(self, depth_parts: int) -> None:
        while len(self._parts) > depth_parts:
            self._parts.pop()
            os.close(self._fds.pop())


def write_file(name: bytes, content: bytes, *, executable: bool, folder_fd: int) -> None:
    """Writes a new file, its mode set as Git does, by the umask; raises OSError, also where something is there."""
    file_fd = os.open(_plain(name), NEW_FILE_FLAGS, 0o777 if executable else 0o666, dir_fd=folder_fd)
    try:
        written = os.write(file_fd, content) if content else 0
        while written < len(content):
            written += os.write(file_fd, memoryview(content)[written:])
    finally:
        os.close(file_fd)


def make_folder(name: bytes, *, folder_fd: int) -> None:
    """Makes an empty folder; raises OSError, also where something is there."""
    os.mkdir(_plain(name), dir_fd=folder_fd)


def write_link(name: bytes, target: bytes, *, folder_fd: int) -> None:
    """Makes a symlink; raises OSError, also where something is there."""
    os.symlink(target, _plain(name), dir_fd=folder_fd)


def move(name: bytes, new_name: bytes, *, folder_fd: int, new_folder_fd: int) -> None:
    """Moves an entry, a link as itself, within a file system; raises OSError, also where something is there.

    renameat2(2) refuses to replace what is there; where it is missing, a look before the move has to do.
    """
    arguments = (folder_fd, _plain(name), new_folder_fd, _plain(new_name), RENAME_NOREPLACE)
    if _renameat2 is not None and _renameat2(*arguments) == 0:
        return
    error = ctypes.get_errno() if _renameat2 is not None else errno.ENOSYS
    if error not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(error, os.strerror(error), os.fsdecode(name))
    if exists(new_name, folder_fd=new_folder_fd):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(new_name))
    os.rename(name, new_name, src_dir_fd=folder_fd, dst_dir_fd=new_folder_fd)


def exists(name: bytes, *, folder_fd: int) -> bool:
    """Whether something is there, be it a link that leads nowhere."""
    try:
        os.lstat(name, dir_fd=folder_fd)
    except FileNotFoundError:
        return False
    return True


def names(folder_fd: int) -> list[str]:
    """What is in a folder."""
    return os.listdir(folder_fd)


def open_folder(name: bytes, parent_fd: int) -> int:
    """A folder's descriptor, which is the caller's to close; raises OSError, also where it is a link."""
    return os.open(_plain(name), FOLDER_FLAGS, dir_fd=parent_fd)


def flush(folder_fd: int) -> None:
    """Puts everything below a folder on the disk; raises OSError where the disk failed to take some of it.

    One syncfs(2) for the file system instead of an fsync for each file and folder: ten thousand of those wait for ten
    thousand commits of its journal. Since Linux 5.8 it reports write errors of any file, as fsync does.
    """
    if _syncfs is None:
        os.sync()
    elif _syncfs(folder_fd) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def lock(folder_fd: int) -> bool | None:
    """Marks a folder as in use until its descriptor is closed, or its process ends.

    Returns:
        Whether the mark is ours; False where another has it, None where the file system knows no locks.
    """
    try:
        fcntl.flock(folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def remove(name: str, *, parent_fd: int) -> None:
    """Removes a folder with all that is in it, as far as that can be done; never follows a link out of it."""
    shutil.rmtree(name, ignore_errors=True, dir_fd=parent_fd)


def remove_abandoned(pattern: re.Pattern[str], *, parent_fd: int) -> None:
    """Removes the user's own folders whose name matches ``pattern`` and that no process has locked."""
    for name in filter(pattern.fullmatch, os.listdir(parent_fd)):
        try:
            folder_fd = os.open(name, FOLDER_FLAGS, dir_fd=parent_fd)
        except OSError:
            continue
        try:
            if os.fstat(folder_fd).st_uid == os.geteuid() and lock(folder_fd):
                remove(name, parent_fd=parent_fd)
        finally:
            os.close(folder_fd)


def _open_or_make(part: bytes, parent_fd: int) -> int:
    with suppress(FileExistsError):
        make_folder(part, folder_fd=parent_fd)
    return open_folder(part, parent_fd)


def _plain(part: bytes) -> bytes:
    # Paths were checked before they came here; a descriptor confines a single name only.
    assert part not in (b"", b".", b".."), part
    assert b"/" not in part, part
    return part
