"""Optimistic concurrency: what recent commits wrote, against what a transaction has read.

It does what FoundationDB's resolver does: a transaction conflicts where a key that it read was written by a commit
later than its read version; and it is too old where those commits are no longer known.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import apsw

from nervous_system.ledger.embedded.ranges import RangeSet
from nervous_system.ledger.embedded.refusals import CONFLICT, TOO_OLD, refusal
from nervous_system.ledger.transaction import TRANSACTION_LIMIT_S, KeyRange

KEPT_S = 2 * TRANSACTION_LIMIT_S
PRUNE_INTERVAL_S = 1.0
REMEMBERED_COMMITS = 64

LAST = "SELECT max(version) FROM recent"
BOUNDS = "SELECT (SELECT min(version) FROM recent), (SELECT max(version) FROM recent)"
SINCE = "SELECT version, ranges FROM recent WHERE version > ?"
APPEND = "INSERT INTO recent (version, at, ranges) VALUES (?, ?, ?)"
# By time alone nothing unknown is lost: who has read before the oldest that is left is too old, whatever the clock did.
PRUNE = "DELETE FROM recent WHERE version < (SELECT min(version) FROM recent WHERE at BETWEEN ? AND ?)"


def last_version(connection: apsw.Connection) -> int:
    """The version of the last commit; 0 where there was none."""
    row: Any = connection.execute(LAST).fetchone()
    return row[0] or 0


def raise_last(connection: apsw.Connection, version: int) -> None:
    """Has the next commit get a version above ``version``, as if one that wrote nothing had it."""
    if last_version(connection) < version:
        connection.execute(APPEND, (version, time.time(), RangeSet().to_bytes()))


class CommitLog:
    """Commits of the last seconds. Used by who holds the write lock."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, RangeSet] = OrderedDict()
        self._first = self.last = 0
        self._pruned_at = 0.0

    def open(self, connection: apsw.Connection) -> None:
        """Looks how far it goes, at the beginning of a transaction of SQLite."""
        row: Any = connection.execute(BOUNDS).fetchone()
        self._first, self.last = row[0] or 0, row[1] or 0

    def check(self, connection: apsw.Connection, read_version: int, reads: Collection[KeyRange]) -> None:
        """Raises LedgerError 1020 where a later commit wrote what was read, 1007 where that is not known any more."""
        if read_version + 1 < self._first:
            raise refusal(TOO_OLD)
        for ranges in self._since(connection, read_version):
            if any(ranges.overlaps(begin, end) for begin, end in reads):
                raise refusal(CONFLICT)

    def append(self, connection: apsw.Connection, ranges: RangeSet) -> None:
        """Writes down what a commit of version ``last`` + 1 wrote."""
        self.last += 1
        connection.execute(APPEND, (self.last, time.time(), ranges.to_bytes()))
        # Spares reading again what a commit of this process wrote.
        self._known[self.last] = ranges
        if len(self._known) > REMEMBERED_COMMITS:
            self._known.popitem(last=False)

    def prune(self, connection: apsw.Connection) -> None:
        """Forgets what is too old, now and then; not before all have been checked that ``open`` was for."""
        if time.monotonic() - self._pruned_at > PRUNE_INTERVAL_S:
            self._pruned_at = time.monotonic()
            now = time.time()
            connection.execute(PRUNE, (now - KEPT_S, now))

    def forget(self) -> None:
        """Forgets all that is remembered: the disk may have undone it, and others may use its versions."""
        self._known.clear()

    def _since(self, connection: apsw.Connection, version: int) -> list[RangeSet]:
        count = self.last - version
        known = [self._known.get(version + 1 + index) for index in range(min(count, REMEMBERED_COMMITS + 1))]
        if len(known) == count and None not in known:
            return [ranges for ranges in known if ranges is not None]
        rows: Any = connection.execute(SINCE, (version,))
        return [self._known.get(later) or RangeSet.from_bytes(data) for later, data in rows]
