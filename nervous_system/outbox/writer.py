"""Takes events in microseconds and puts them on disk together: a queue, and one thread for each outbox of a process.

The thread gathers what comes within a part of ``commit_within_s``, or what has come when somebody waits for the disk,
and commits it in one transaction.

SQLite's connections do not outlive a fork: before one the file is closed between two transactions, and opened again
when it is needed, in the parent as in the child. What waits in memory is the parent's to write.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from nervous_system.contract import SwarmEvent
from nervous_system.errors import EnchantedError, UnavailableError
from nervous_system.outbox.outbox import Outbox, OutboxOptions, Row
from nervous_system.outbox.rows import event_row, part_row

logger = logging.getLogger(__name__)

# What may wait in memory for the disk before the agent is held back.
QUEUE_LIMIT_BYTES = 16 * 1024 * 1024
COMMIT_LIMIT_ROWS = 8_192
RETRY_S = 0.2
# Committing takes time as well: this share of the time that is promised may pass before it begins.
_GATHERING_SHARE = 0.5

Callback = Callable[[EnchantedError | None], None]


class Writer:
    """A process's writer to one outbox. Safe to use from several threads and from signal handlers.

    Raises, when it is made: SettingsError where the file cannot be used, UnavailableError where the disk fails.
    """

    def __init__(self, options: OutboxOptions) -> None:
        self._options = options
        self._outbox: Outbox | None = Outbox(options)
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        # Entered again by the same thread where a signal's handler records something.
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._progress = threading.Condition(self._lock)
        # Held while the file is in use; taken before the other lock where both are.
        self._disk = threading.RLock()
        self._waiting: deque[Row] = deque()
        self._waiting_bytes = 0
        self._taken = self._written = 0
        # Attempts to write that were begun, and the last one that failed.
        self._attempts = self._failed_attempt = 0
        self._trouble: EnchantedError | None = None
        self._callbacks: list[tuple[int, Callback]] = []
        self._thread: threading.Thread | None = None
        self._hurried = self._full = False

    def put(self, data: bytes, event: SwarmEvent) -> None:
        """Takes an event, whose bytes are ``data``. It never waits: see ``await_room``."""
        self._take(event_row(event, data))

    def put_part(self, part: bytes) -> bytes:
        """Takes one part of a large content, to be called before ``put`` of the event that names it.

        Returns:
            SHA-256 of the part, 32 bytes.
        """
        self.await_room()
        digest = hashlib.sha256(part)
        self._take(part_row(part, digest.hexdigest()))
        return digest.digest()

    @property
    def has_room(self) -> bool:
        """Whether ``await_room`` would return at once."""
        return self._waiting_bytes < QUEUE_LIMIT_BYTES

    def await_room(self) -> None:
        """Returns once more may wait in memory; raises UnavailableError where the disk fails and no more may."""
        if not self.has_room:
            self._wait_until(lambda: self.has_room)

    def flush(self, timeout_s: float | None = None) -> None:
        """Returns once everything taken so far is on disk.

        Raises:
            UnavailableError: the disk fails or is full, or it took longer than ``timeout_s``. What waits is kept, and
                written once that is over.
        """
        target = self._taken
        self._wait_until(lambda: self._written >= target, timeout_s)

    def call_when_written(self, callback: Callback) -> None:
        """Calls back, from any thread, once everything taken so far is on disk, or with the error where that fails."""
        with self._lock:
            waits = self._written < self._taken
            if waits:
                self._callbacks.append((self._taken, callback))
                self._hurry()
        if not waits:
            callback(None)

    def close(self, timeout_s: float | None = None) -> None:
        """Writes what waits, as far as that is done in time, and closes the file."""
        try:
            self.flush(timeout_s)
        except EnchantedError as error:
            logger.error("%d events and parts are given up: %s", self._taken - self._written, error)
        with self._lock:
            self._closed = True
            self._work.notify()
        if self._thread is not None:
            self._thread.join()
        with self._disk:
            self._close_file()

    def before_fork(self) -> None:
        """Keeps all other threads from the queue and the file, which is closed."""
        self._disk.acquire()
        self._lock.acquire()
        self._close_file()

    def after_fork_in_parent(self) -> None:
        """Lets them go on."""
        self._lock.release()
        self._disk.release()

    def after_fork_in_child(self) -> None:
        """Begins with nothing waiting: that is the parent's to write."""
        self._begin()

    def _take(self, row: Row) -> None:
        with self._lock:
            if self._closed:
                raise UnavailableError("This recorder was closed: make another one.")
            self._waiting.append(row)
            self._waiting_bytes += row.size_bytes
            self._taken += 1
            if len(self._waiting) == 1:
                self._start()
                self._work.notify()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="outbox-writer", daemon=True)
            self._thread.start()

    def _hurry(self) -> None:
        self._hurried = True
        self._start()
        self._work.notify()

    def _wait_until(self, reached: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Hurries the thread until it is reached; raises where an attempt that began after this call fails."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            attempts = self._attempts
            while not reached():
                if self._closed:
                    raise UnavailableError("This recorder was closed: make another one.")
                if self._trouble is not None and self._failed_attempt > attempts:
                    raise self._trouble
                if deadline_s is not None and time.monotonic() > deadline_s:
                    raise UnavailableError(f"The outbox {self._options.path} took longer than {timeout_s:g} s.")
                self._hurry()
                self._progress.wait(0.1)

    def _run(self) -> None:
        wait_s = 0.0
        while self._gather(wait_s):
            with self._disk:
                wait_s = self._commit()

    def _gather(self, wait_s: float) -> bool:
        """Waits until there is something to write, and for more of it; False where all is done."""
        with self._lock:
            if wait_s:
                self._work.wait_for(lambda: self._closed, wait_s)
            while not self._waiting and not self._closed:
                self._work.wait()
            if not (self._hurried or self._closed or wait_s):
                within_s = self._options.commit_within_s * _GATHERING_SHARE
                self._work.wait_for(lambda: self._hurried or self._closed, within_s)
            self._hurried = False
            return not self._closed

    def _commit(self) -> float:
        """Writes what waits, as much as there is room for; gives how long to wait before the next attempt, seconds."""
        with self._lock:
            rows = list(islice(self._waiting, COMMIT_LIMIT_ROWS))
            self._attempts += 1
        written = 0
        trouble: EnchantedError | None = None
        try:
            self._outbox = self._outbox or Outbox(self._options)
            written = self._outbox.append(rows)
        except Exception as error:
            # Whatever it is: were this thread to end, whoever waits for the disk would wait for ever.
            trouble = error if isinstance(error, EnchantedError) else self._unforeseen(error)
            self._close_file()
        self._report(rows, written, trouble)
        return RETRY_S if written < len(rows) else 0.0

    def _report(self, rows: list[Row], written: int, trouble: EnchantedError | None) -> None:
        with self._lock:
            if trouble is not None and self._trouble is None:
                logger.error("%s", trouble)
            elif trouble is None:
                self._say_full(written < len(rows))
            self._trouble = trouble
            if trouble is not None:
                self._failed_attempt = self._attempts
            for _ in range(written):
                self._waiting_bytes -= self._waiting.popleft().size_bytes
            self._written += written
            self._hurried = self._hurried or len(rows) == COMMIT_LIMIT_ROWS
            called = [each for each in self._callbacks if trouble is not None or each[0] <= self._written]
            self._callbacks = [each for each in self._callbacks if each not in called]
            self._progress.notify_all()
        for _, callback in called:
            callback(trouble)

    def _unforeseen(self, error: Exception) -> EnchantedError:
        return UnavailableError(f"The outbox {self._options.path} cannot be written ({error!r}); it is tried again.")

    def _say_full(self, full: bool) -> None:
        """Logs when the outbox becomes full, and when there is room again."""
        if full and not self._full:
            logger.warning(
                "The outbox %s holds the %d bytes that it may, and what is recorded waits: have it sent with "
                "`enchanted sync`, or raise ENCHANTED_OUTBOX_MAX_BYTES.",
                self._options.path,
                self._options.max_bytes,
            )
        elif self._full and not full:
            logger.warning("The outbox %s has room again.", self._options.path)
        self._full = full

    def _close_file(self) -> None:
        if self._outbox is not None:
            outbox, self._outbox = self._outbox, None
            # A disk that fails is told by what is written, not here.
            with suppress(EnchantedError):
                outbox.close()
