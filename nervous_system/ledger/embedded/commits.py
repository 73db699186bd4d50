"""Group commit: transactions that wait at the same time share one transaction of SQLite, and one sync of the disk.

Each keeps a version of its own, and is checked for conflicts as if it came alone after those before it. Who finds
nobody committing leads: it takes all that wait, commits them together, and wakes them.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from threading import Event, Lock, get_ident
from typing import Any

import apsw

from nervous_system.errors import EnchantedError
from nervous_system.ledger.embedded import forks
from nervous_system.ledger.embedded.conflicts import CommitLog
from nervous_system.ledger.embedded.refusals import UNKNOWN_RESULT, refusal
from nervous_system.ledger.embedded.snapshots import value_at
from nervous_system.ledger.embedded.storage import Storage
from nervous_system.ledger.embedded.writes import Changes, Writes
from nervous_system.ledger.transaction import TRANSACTION_LIMIT_BYTES, KeyRange, LedgerError

CLEAR_RANGE = "DELETE FROM pairs WHERE key >= ? AND key < ?"
CLEAR = "DELETE FROM pairs WHERE key = ?"
STORE = "REPLACE INTO pairs (key, value) VALUES (?, ?)"

# How long who leads waits for others, of the time that the last group took.
GATHERING_SHARE = 0.5
GATHERING_LIMIT_S = 0.005

DISK_ERRORS = (apsw.FullError, apsw.IOError)


def _taken() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class Commit:
    """A transaction that asks to be committed, and what came of it.

    Args:
        writes: what it writes.
        read_version: of its snapshot; None where it has read nothing.
        reads: what it has read and can conflict.
        size_bytes: how large it is.
    """

    writes: Writes
    read_version: int | None
    reads: Collection[KeyRange]
    size_bytes: int
    outcome: bytes | EnchantedError | None = None
    thread: int = field(default_factory=get_ident)
    # Held until there is an outcome, or nobody leads.
    woken: Lock = field(default_factory=_taken)

    def wake(self) -> None:
        """Lets ``woken`` be acquired once."""
        with contextlib.suppress(RuntimeError):  # it can be already
            self.woken.release()


class Committer:
    """Commits of one engine. Safe to use from several threads."""

    def __init__(self, storage: Storage) -> None:
        self.path = storage.path
        self._storage = storage
        self._log = CommitLog()
        self._waiting: deque[Commit] = deque()
        self._leading = Lock()
        # Those of the last group and of the one before, who are likely to come again.
        self._last, self._before_last = set[int](), set[int]()
        self._took_s = 0.0
        self._expected = 1
        self._all_here = Event()
        forks.register(self)

    def commit(self, commit: Commit) -> bytes:
        """Checks, writes and syncs; gives the versionstamp. Raises LedgerError 1020, 1007 or 1021, or of the disk."""
        self._waiting.append(commit)
        if len(self._waiting) >= self._expected:
            self._all_here.set()
        try:
            while commit.outcome is None:
                if self._leading.acquire(blocking=False):
                    self._lead()
                else:
                    commit.woken.acquire()
        except BaseException:
            with contextlib.suppress(ValueError):  # somebody has taken it
                self._waiting.remove(commit)
            self._wake_next()
            raise
        if isinstance(commit.outcome, EnchantedError):
            raise commit.outcome
        return commit.outcome

    def hold(self) -> None:
        """Nothing to do before a fork: the storage keeps all at its door."""

    def release(self) -> None: ...

    def abandon(self) -> list[Any]:
        """In a forked process: whoever waits or leads is a thread of the parent, and is not here."""
        self._waiting, self._leading, self._all_here = deque(), Lock(), Event()
        self._last = self._before_last = set()
        self._log.forget()
        return []

    def _lead(self) -> None:
        """Commits all that wait, and wakes them; at the end somebody else may lead."""
        group: list[Commit] = []
        try:
            self._gather()
            began_s = time.monotonic()
            self._commit_all(group)
            self._took_s = time.monotonic() - began_s
        finally:
            self._last, self._before_last = {commit.thread for commit in group}, self._last
            for commit in group:
                # Where an interrupt came between, nobody can say.
                commit.outcome = commit.outcome or refusal(UNKNOWN_RESULT)
                commit.wake()
            self._leading.release()
            self._wake_next()

    def _gather(self) -> None:
        """Waits a little for those who have just committed: a sync with them costs less than one more."""
        here = list(self._waiting)
        self._expected = len({commit.thread for commit in here} | self._last | self._before_last)
        if len(here) < self._expected:
            self._all_here.clear()
            if len(self._waiting) < self._expected:
                self._all_here.wait(min(GATHERING_SHARE * self._took_s, GATHERING_LIMIT_S))

    def _take(self, group: list[Commit]) -> None:
        """Moves all that wait, up to the size of one large transaction, into ``group``."""
        size_bytes = 0
        while self._waiting and (not group or size_bytes + self._waiting[0].size_bytes <= TRANSACTION_LIMIT_BYTES):
            group.append(self._waiting.popleft())
            size_bytes += group[-1].size_bytes

    def _wake_next(self) -> None:
        with contextlib.suppress(IndexError):
            self._waiting[0].wake()

    def _commit_all(self, group: list[Commit]) -> None:
        """Commits ``group``; all that wait where it is empty, taken as late as can be."""
        try:
            with self._storage.writing() as connection:
                if not group:
                    self._take(group)
                self._log.open(connection)
                outcomes = [self._write(connection, commit) for commit in group]
                self._log.prune(connection)
        except EnchantedError as error:
            self._log.forget()
            if not group:
                self._take(group)
            if len(group) > 1 and isinstance(error.__cause__, DISK_ERRORS) and not isinstance(error, LedgerError):
                # The disk may have room for some of them.
                for commit in group:
                    self._commit_all([commit])
                return
            outcomes = [_again(error) for _ in group]
        except BaseException:
            self._log.forget()
            raise
        for commit, outcome in zip(group, outcomes, strict=True):
            commit.outcome = outcome

    def _write(self, connection: apsw.Connection, commit: Commit) -> bytes | EnchantedError:
        """The versionstamp; the error where this one conflicts, which does not concern the others."""
        try:
            if commit.read_version is not None:
                self._log.check(connection, commit.read_version, commit.reads)
        except LedgerError as error:
            return error
        # The commit's version, and its order in a batch of the same version: here always the first.
        stamp = (self._log.last + 1).to_bytes(8, "big") + bytes(2)
        changes = commit.writes.changes(stamp, lambda key: value_at(connection, key))
        _apply(connection, changes)
        self._log.append(connection, changes.ranges)
        return stamp


def _apply(connection: apsw.Connection, changes: Changes) -> None:
    if changes.cleared:
        connection.executemany(CLEAR_RANGE, changes.cleared)
    if changes.removed:
        connection.executemany(CLEAR, [(key,) for key in changes.removed])
    if changes.stored:
        connection.executemany(STORE, changes.stored)


def _again(error: EnchantedError) -> EnchantedError:
    """The same for each member of a group: an error that is raised carries its own thread's stack."""
    twin = refusal(error.code) if isinstance(error, LedgerError) else copy.copy(error)
    twin.__cause__ = error.__cause__
    return twin
