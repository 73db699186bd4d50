"""Giving free pages of the file back to the disk, beside others at work.

Files made before this could be done are rewritten once, in one transaction that others wait for; from then on, and in
all others, pages at the file's end move into free ones a few at a time. Either is a transaction of SQLite as any is: a
crash undoes what it cuts off, and readers go on with what they see.
Source: https://www.sqlite.org/pragma.html#pragma_auto_vacuum.
"""

from __future__ import annotations

import contextlib

import apsw

from nervous_system.failpoints import failpoint
from nervous_system.ledger.embedded.storage import Storage, number

INCREMENTAL = 2
# 8 MB, which hold up other writers for some ten milliseconds.
STEP_PAGES = 2_000


def reclaim(storage: Storage) -> int:
    """How many bytes the file gets smaller, once no reader needs what was there; raises as ``Storage`` does."""
    with storage.reading() as connection:
        page_bytes = number(connection, "PRAGMA page_size")
        pages = number(connection, "PRAGMA page_count")
        if number(connection, "PRAGMA auto_vacuum") == INCREMENTAL:
            to_free = number(connection, "PRAGMA freelist_count")
        else:
            to_free = 0
            _rewrite(storage)
    for _ in range(0, to_free, STEP_PAGES):
        with storage.writing() as connection:
            connection.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})").fetchall()
        failpoint("after-reclaim")
    with storage.reading() as connection:
        # Where readers keep it from ending, the next one does it.
        with contextlib.suppress(apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return max(0, pages - number(connection, "PRAGMA page_count")) * page_bytes


def _rewrite(storage: Storage) -> None:
    with storage.alone() as connection:
        connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}; VACUUM")
    failpoint("after-reclaim")
