"""One transaction of the embedded engine: reads of a snapshot under its own writes, and what they may conflict with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from nervous_system.ledger.embedded import refusals
from nervous_system.ledger.embedded.commits import Commit
from nervous_system.ledger.embedded.refusals import (
    USER_KEYS_END,
    check_range,
    check_read,
    check_write,
    check_writes,
    refusal,
)
from nervous_system.ledger.embedded.snapshots import Snapshot
from nervous_system.ledger.embedded.watches import EmbeddedWatch
from nervous_system.ledger.embedded.writes import Writes
from nervous_system.ledger.transaction import (
    KEY_LIMIT_BYTES,
    TRANSACTION_LIMIT_BYTES,
    KeyRange,
    KeyValue,
    LedgerError,
)


class Store(Protocol):
    """What a transaction needs of its engine."""

    def snapshot(self) -> Snapshot: ...

    def watch(self, key: bytes, value: bytes | None) -> EmbeddedWatch: ...

    def commit(self, commit: Commit) -> bytes:
        """The versionstamp, once what is written is on the disk."""
        ...


class CommitStamp:
    """The versionstamp of a transaction: unknown, given, or refused."""

    def __init__(self) -> None:
        self.stamp: bytes | None = None
        self.refused = refusals.NOT_READY

    def wait(self) -> bytes:
        """The 10 bytes; raises LedgerError 2021 for a read-only transaction, 2015 before commit, 2020 without one."""
        if self.stamp is None:
            raise refusal(self.refused)
        return self.stamp


class EmbeddedTransaction:
    """See ``nervous_system.ledger.transaction.Transaction``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshot: Snapshot | None = None
        self._writes = Writes()
        self._reads: dict[KeyRange, None] = {}
        self._ended_by: int | None = None
        self._deferred: LedgerError | None = None
        self._stamp = CommitStamp()

    def __del__(self) -> None:
        self._close()

    def read_version(self) -> int:
        self._check_usable()
        return self._reading().version

    def get(self, key: bytes, *, snapshot: bool = False) -> bytes | None:
        self._check_usable()
        check_read(key)
        writes = self._writes
        if key in writes.unreadable:
            raise refusal(refusals.UNREADABLE)
        if writes.is_known(key):
            known = writes.points.get(key)
            return known if isinstance(known, bytes) else None
        if len(key) > KEY_LIMIT_BYTES:
            return None
        stored = self._reading().get(key)
        if not snapshot:
            self._reads[key, key + b"\x00"] = None
        return writes.over(key, stored)

    def get_many(self, keys: Sequence[bytes], *, snapshot: bool = False) -> list[bytes | None]:
        self._check_usable()
        is_plain = keys and max(keys) < USER_KEYS_END and max(map(len, keys)) <= KEY_LIMIT_BYTES
        if not is_plain or self._writes.touch_any(keys):
            return [self.get(key, snapshot=snapshot) for key in keys]
        stored = self._reading().get_many(keys)
        if not snapshot:
            self._reads.update(dict.fromkeys([(key, key + b"\x00") for key in keys]))
        return stored

    def get_range(
        self, begin: bytes, end: bytes, *, limit: int = 0, reverse: bool = False, snapshot: bool = False
    ) -> list[KeyValue]:
        self._check_usable()
        check_read(begin, end)
        if begin >= end:
            return []
        low, high = self._readable(begin, end, reverse)
        pairs = self._merged(low, high, limit, reverse)
        is_cut = 0 < limit <= len(pairs)
        if (low, high) != (begin, end) and not is_cut:
            raise refusal(refusals.UNREADABLE)
        if not snapshot:
            # Nothing past the last pair of a full answer can change it.
            last = pairs[-1][0] if is_cut else b""
            self._add_reads(last if is_cut and reverse else begin, last + b"\x00" if is_cut and not reverse else end)
        return pairs

    def set(self, key: bytes, value: bytes) -> None:
        self._write(key, value, self._writes.set)

    def clear(self, key: bytes) -> None:
        if len(key) <= KEY_LIMIT_BYTES:
            self._write(key, b"", lambda key, _: self._writes.clear(key))

    def clear_range(self, begin: bytes, end: bytes) -> None:
        self._declare(begin, end, self._writes.clear_range)

    def add(self, key: bytes, operand: bytes) -> None:
        self._write(key, operand, self._writes.add)

    def set_versionstamped_key(self, key: bytes, value: bytes) -> None:
        self._write(key, value, self._writes.set_stamped_key)

    def set_versionstamped_value(self, key: bytes, value: bytes) -> None:
        self._write(key, value, self._writes.set_stamped_value)

    def set_versionstamped_keys(self, pairs: Sequence[KeyValue]) -> None:
        self._write_all(pairs, self._writes.set_stamped_keys)

    def set_versionstamped_values(self, pairs: Sequence[KeyValue]) -> None:
        self._write_all(pairs, self._writes.set_stamped_values)

    def add_read_conflict_range(self, begin: bytes, end: bytes) -> None:
        if begin > end:
            raise refusal(refusals.INVERTED_RANGE)
        self._declare(begin, end, self._add_reads)

    def get_versionstamp(self) -> CommitStamp:
        self._check_usable()
        return self._stamp

    def watch(self, key: bytes) -> EmbeddedWatch:
        return self._store.watch(key, self.get(key))

    def commit(self) -> None:
        self._check_usable()
        self._ended_by = refusals.USED_DURING_COMMIT
        self._stamp.refused = refusals.INVALID_VERSION
        try:
            if self._writes:
                self._stamp.stamp = self._commit_writes()
            else:
                self._stamp.refused = refusals.READ_ONLY
        finally:
            self._close()

    def cancel(self) -> None:
        self._ended_by = refusals.CANCELLED
        self._close()

    def _commit_writes(self) -> bytes:
        size_bytes = self._writes.size_bytes() + sum([len(b) + len(e) for b, e in self._reads])
        if size_bytes > TRANSACTION_LIMIT_BYTES:
            raise refusal(refusals.TOO_LARGE)
        version = None
        if self._snapshot is not None:
            if self._snapshot.is_too_old:
                raise refusal(refusals.TOO_OLD)
            version = self._snapshot.version
            # The commit must not wait for its own snapshot where it makes the WAL start anew.
            self._snapshot.close()
        return self._store.commit(Commit(self._writes, version, self._reads, size_bytes))

    def _close(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()

    def _reading(self) -> Snapshot:
        if self._snapshot is None:
            self._snapshot = self._store.snapshot()
            self._writes.read_at(self._snapshot.version)
        return self._snapshot

    def _check_usable(self) -> None:
        if self._ended_by is not None:
            raise refusal(self._ended_by)
        if self._deferred is not None:
            raise self._deferred

    def _write(self, key: bytes, value: bytes, write: Callable[[bytes, bytes], None]) -> None:
        """Writes; what is refused is raised by the next read or by commit, as FoundationDB does."""
        try:
            self._check_usable()
            check_write(key, value)
            write(key, value)
        except LedgerError as error:
            self._deferred = self._deferred or error

    def _write_all(self, pairs: Sequence[KeyValue], write: Callable[[Sequence[KeyValue]], None]) -> None:
        """The same for many."""
        try:
            self._check_usable()
            check_writes(pairs)
            write(pairs)
        except LedgerError as error:
            self._deferred = self._deferred or error

    def _declare(self, begin: bytes, end: bytes, declare: Callable[[bytes, bytes], None]) -> None:
        """The same for a range."""
        try:
            self._check_usable()
            check_range(begin, end)
            declare(begin, end)
        except LedgerError as error:
            self._deferred = self._deferred or error

    def _readable(self, begin: bytes, end: bytes, reverse: bool) -> KeyRange:
        """What of begin to end can be read before a key whose versionstamp is not known yet."""
        unreadable = self._writes.unreadable.within(begin, end)
        if not unreadable:
            return begin, end
        return (unreadable[-1][1], end) if reverse else (begin, unreadable[0][0])

    def _merged(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> list[KeyValue]:
        writes = self._writes
        keys = writes.keys(begin, end)
        parts = writes.cleared.outside(begin, end)
        if not keys and len(parts) == 1:
            return self._reading().page(*parts[0], limit, reverse)
        # Every key that was written can hide one that is stored.
        wanted = limit and limit + len(keys)
        rows: dict[bytes, bytes | None] = {}
        for low, high in reversed(parts) if reverse else parts:
            if not wanted or len(rows) < wanted:
                rows.update(self._reading().page(low, high, wanted and wanted - len(rows), reverse))
        for key in keys:
            rows[key] = writes.over(key, rows.get(key))
        pairs = [(key, value) for key, value in rows.items() if value is not None]
        pairs.sort(key=lambda pair: pair[0], reverse=reverse)
        return pairs[:limit] if limit else pairs

    def _add_reads(self, begin: bytes, end: bytes) -> None:
        for part in self._writes.unknown(begin, end):
            self._reads[part] = None
