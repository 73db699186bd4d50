"""The Linux kernel's notices of what changes in a tree (inotify(7)).

By way of the C library and not of watchfiles, which passes on neither the queue's overflow nor names that are not
UTF-8, and cannot leave out folders: a watch for each of node_modules' would use up what a user may have.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from nervous_system.capture.worktree.pending import Notice
from nervous_system.errors import EnchantedError

# <sys/inotify.h>
IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE = 0x2, 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400
IN_Q_OVERFLOW, IN_IGNORED, IN_ONLYDIR, IN_DONT_FOLLOW, IN_ISDIR = 0x4000, 0x8000, 0x1000000, 0x2000000, 0x40000000
IN_EXCL_UNLINK = 0x4000000
_WATCHED = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF
_MASK = _WATCHED | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK
_HEADER = struct.Struct("iIII")
_READ_BYTES = 256 * 1024
_LIMITS = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances",
    errno.ENOMEM: "the kernel's memory",
}


class NoNoticesError(EnchantedError):
    """The kernel gives no notices of this tree."""


class Inotify:
    """Watches the folders of a tree that it is told to watch.

    Args:
        root: the tree.

    Raises:
        NoNoticesError: this system has no inotify, or a limit is reached; ``watch`` raises it as well.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._paths: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}
        self._library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._library, "inotify_init1"):
            raise NoNoticesError("This system has no inotify.")
        self._descriptor = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise _refusal(ctypes.get_errno())

    def fileno(self) -> int:
        """Can be read when something was noticed."""
        return int(self._descriptor)

    def __len__(self) -> int:
        return len(self._watches)

    def watch(self, folder: bytes) -> None:
        """Notices from now on what happens directly in a folder; one that is gone is passed over."""
        full = self._root + b"/" + folder if folder else self._root
        # The root may be reached by way of a link, nothing below it may.
        mask = _MASK if folder else _MASK & ~IN_DONT_FOLLOW
        watch = self._library.inotify_add_watch(self._descriptor, full, mask)
        if watch >= 0:
            self._paths[watch] = folder
            self._watches[folder] = watch
            return
        number = ctypes.get_errno()
        if number in _LIMITS:
            raise _refusal(number)
        if number not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise OSError(number, os.strerror(number), full)

    def read(self) -> list[Notice]:
        """Everything noticed so far, in order; waits for nothing."""
        notices: list[Notice] = []
        while True:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return notices
            for watch, mask, name in _events(data):
                notices.extend(self._notice(watch, mask, name))

    def close(self) -> None:
        """Ends all watches."""
        os.close(self._descriptor)

    def _notice(self, watch: int, mask: int, name: bytes) -> Iterator[Notice]:
        if mask & IN_Q_OVERFLOW:
            yield Notice(b"", is_tree=True)
            return
        folder = self._paths.get(watch)
        if folder is None:
            return
        if mask & IN_IGNORED:
            self._forget(watch, folder)
            return
        if mask & IN_DELETE_SELF:
            # The folder above tells of it as well, except for the root, which has none.
            if not folder:
                yield Notice(b"", is_tree=True)
            return
        path = folder + b"/" + name if folder and name else folder or name
        if not name or (mask & IN_ISDIR and mask & IN_ATTRIB):
            return
        if mask & IN_ISDIR and mask & IN_MOVED_FROM:
            self._unwatch(path)
        is_tree = bool(mask & IN_ISDIR) and bool(mask & (IN_CREATE | IN_MOVED_TO))
        yield Notice(path, is_tree=is_tree, is_open=bool(mask & IN_MODIFY))

    def _unwatch(self, folder: bytes) -> None:
        """Ends the watches of a folder that was moved away: they would go on under its old name."""
        below = folder + b"/"
        moved = [path for path in self._watches if path == folder or path.startswith(below)]
        for path in moved:
            watch = self._watches.pop(path)
            self._paths.pop(watch, None)
            self._library.inotify_rm_watch(self._descriptor, watch)

    def _forget(self, watch: int, folder: bytes) -> None:
        del self._paths[watch]
        if self._watches.get(folder) == watch:
            del self._watches[folder]


def _events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    start = 0
    while start < len(data):
        watch, mask, _, length = _HEADER.unpack_from(data, start)
        start += _HEADER.size
        yield watch, mask, data[start : start + length].rstrip(b"\0")
        start += length


def _refusal(number: int) -> NoNoticesError:
    limit = _LIMITS.get(number, os.strerror(number))
    return NoNoticesError(f"The kernel gives no more notices of changes: {limit} is used up. Raise it with sysctl.")
