"""The writers of this process: one for each outbox, shared by all recorders that write to it.

So what a process records stands in the order in which it was recorded, whichever recorder recorded it.
"""

from __future__ import annotations

import atexit
import sys
import threading

from nervous_system.outbox.outbox import OutboxOptions
from nervous_system.outbox.writer import Writer
from nervous_system.recording import forks

# A process that ends does not wait longer for a disk that fails, or for room.
_EXIT_LIMIT_S = 5.0


class Writers:
    """Which writers are in use, and by how many. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writers: dict[OutboxOptions, tuple[Writer, int]] = {}

    def lease(self, options: OutboxOptions) -> Writer:
        """A writer for one more user, who gives it back."""
        with self._lock:
            writer, users = self._writers.get(options) or (Writer(options), 0)
            self._writers[options] = (writer, users + 1)
            return writer

    def give_back(self, options: OutboxOptions) -> None:
        """One fewer uses it; with the last, what waits is written and the file is closed."""
        with self._lock:
            writer, users = self._writers.pop(options)
            if users > 1:
                self._writers[options] = (writer, users - 1)
            else:
                # Under the lock, so that no fork comes between.
                writer.close(_EXIT_LIMIT_S)

    def end(self) -> None:
        """Writes what waits when the process ends."""
        while self._writers:
            _, (writer, _) = self._writers.popitem()
            writer.close(_EXIT_LIMIT_S)

    def before_fork(self) -> None:
        """Keeps all other threads from all writers."""
        self._lock.acquire()
        for writer, _ in self._writers.values():
            writer.before_fork()

    def after_fork_in_parent(self) -> None:
        """Lets them go on."""
        for writer, _ in self._writers.values():
            writer.after_fork_in_parent()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begins with nothing waiting."""
        for writer, _ in self._writers.values():
            writer.after_fork_in_child()
        self._lock = threading.Lock()
        _end_with_multiprocessing()


def _end_with_multiprocessing() -> None:
    """A child of ``multiprocessing`` ends without the functions that ``atexit`` knows."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # It forgets, as it begins, what is to be done as it ends; only then that can be said.
        util.register_after_fork(WRITERS, lambda writers: util.Finalize(None, writers.end, exitpriority=0))


WRITERS = Writers()
forks.register(WRITERS, rank=1)
atexit.register(WRITERS.end)
