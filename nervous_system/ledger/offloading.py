"""Replacing the bytes of archived events by stubs, a few events to a transaction."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from nervous_system.contract import StateChange
from nervous_system.events import decode
from nervous_system.failpoints import failpoint
from nervous_system.ledger import keys, records
from nervous_system.ledger.append import Place, carried_digest
from nervous_system.ledger.cold import ArchivedRow, ContentStub, Offloaded
from nervous_system.ledger.records import ContentSource, EventRecord, IdRecord
from nervous_system.ledger.transaction import Engine, Transaction
from nervous_system.ledger.values import read_whole
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName

# What a transaction reads within the seconds that it may take: about as much as a landing writes.
GROUP_ROWS = 128
GROUP_BYTES = 800_000


class _Found(NamedTuple):
    """An event that the archive holds as the ledger does.

    Args:
        value: as it stands in the ledger, from its key ``key`` on.
        change: what it carries; None where it carries no content.
        carried: SHA-256 of the content that it leaves; empty where it carries none.
    """

    row: ArchivedRow
    version: Version
    key: bytes
    value: bytes
    record: EventRecord
    change: StateChange | None
    carried: bytes


class Offloading:
    """One project's, see ``Ledger.offload``.

    Args:
        engine, name, place: of the project.
        keep: SHA-256 of contents that stay.
    """

    def __init__(self, engine: Engine, name: ProjectName, place: Place, keep: Container[bytes]) -> None:
        self._engine = engine
        self._name = name
        self._keys = place.keys
        self._tenant_prefix = place.tenant_prefix
        self._keep = keep
        self._snapshot: Version | None = None

    def run(self, rows: Sequence[ArchivedRow]) -> Offloaded:
        """Replaces what can be, in transactions of their own."""
        total = Offloaded()
        self._snapshot = self._engine.run(self._last_snapshot)
        for group in _groups(rows):
            total += self._replace_group(group)
            failpoint("after-offload")
        return total

    def _replace_group(self, rows: Sequence[ArchivedRow]) -> Offloaded:
        """Parts go before the events that name them, each in a transaction: killed between, none is forgotten."""
        gone, parts = self._engine.run(partial(self._replace, rows=rows, parts_gone=False))
        for part in parts:
            freed_bytes = self._engine.run(partial(self._replace_blobs, stubs={part: ContentStub()}))
            gone += Offloaded(bytes_freed=freed_bytes)
        if parts:
            gone += self._engine.run(partial(self._replace, rows=rows, parts_gone=True))[0]
        return gone

    def _replace(
        self, transaction: Transaction, rows: Sequence[ArchivedRow], *, parts_gone: bool
    ) -> tuple[Offloaded, set[bytes]]:
        """The transaction's body, and the parts that must go first, where there are any: it writes nothing then.

        Run again after an unknown outcome, it finds the stubs and writes nothing.
        """
        found = self._found(transaction, rows)
        known = {each.row.event_id for each in found}
        hot = [each for each in found if each.record.archived_at is None]
        going = [each for each in hot if not self._stays(each)]
        if not parts_gone and (parts := self._parts(going)):
            return Offloaded(), parts
        freed_bytes = sum([self._replace_event(transaction, each) for each in going])
        freed_bytes += self._replace_blobs(transaction, self._stubs(going))
        self._mark_sources(transaction, [each for each in going if each.carried])
        differences = tuple(row.event_id for row in rows if row.event_id not in known)
        return Offloaded(len(found) - len(hot) + len(going), freed_bytes, len(hot) - len(going), differences), set()

    def _stays(self, found: _Found) -> bool:
        """Whether the event is needed to know what stands now: behind the last snapshot, or what it carries stands."""
        is_behind = self._snapshot is not None and found.version > self._snapshot
        return is_behind or bool(found.carried and found.carried in self._keep)

    def _last_snapshot(self, transaction: Transaction) -> Version | None:
        rows = transaction.get_range(*keys.within(self._keys.snapshots), limit=1, reverse=True, snapshot=True)
        return keys.version_at_end(rows[0][0]) if rows else None

    def _found(self, transaction: Transaction, rows: Sequence[ArchivedRow]) -> list[_Found]:
        """The rows that the ledger has with the very same bytes, each event once."""
        ids = transaction.get_many([self._keys.id(row.event_id) for row in rows], snapshot=True)
        matching: dict[Version, ArchivedRow] = {}
        for row, stored in zip(rows, ids, strict=True):
            record = None if stored is None else IdRecord.decode(stored)
            if record is not None and record.digest == row.digest:
                matching.setdefault(record.version, row)
        values = read_whole(transaction, [self._keys.event(version) for version in matching])
        return [
            self._read(row, version, value)
            for (version, row), value in zip(matching.items(), values, strict=True)
            if value is not None
        ]

    def _read(self, row: ArchivedRow, version: Version, value: bytes) -> _Found:
        record = EventRecord.decode(value)
        change = None
        if record.archived_at is None:
            event = decode(record.hollow())
            change = event.state_change if event.WhichOneof("payload") == "state_change" else None
        carried = b"" if change is None else carried_digest(change)
        return _Found(row, version, self._keys.event(version), value, record, change, carried)

    def _replace_event(self, transaction: Transaction, found: _Found) -> int:
        stub = EventRecord(found.record.recorded_us, b"", archived_at=found.row.position).encode()
        return _put(transaction, found.key, found.value, stub)

    def _parts(self, going: Sequence[_Found]) -> set[bytes]:
        """The parts that the events name, but for those that stay."""
        changes = (each.change for each in going if each.change is not None and not each.record.digest)
        return {part for change in changes for part in change.blob_parts if part not in self._keep}

    def _stubs(self, going: Sequence[_Found]) -> dict[bytes, ContentStub]:
        """What stands for the contents that the events carry."""
        return {
            each.record.digest: ContentStub(self._name.project, each.row.position)
            for each in going
            if each.record.digest
        }

    def _replace_blobs(self, transaction: Transaction, stubs: Mapping[bytes, ContentStub]) -> int:
        """Bytes that are freed by replacing the contents of these hashes."""
        wanted = [keys.blob(self._tenant_prefix, digest) for digest in stubs]
        freed_bytes = 0
        for key, value, stub in zip(wanted, read_whole(transaction, wanted), stubs.values(), strict=True):
            if value is not None and records.content_stub(value) is None:
                freed_bytes += _put(transaction, key, value, stub.encode())
        return freed_bytes

    def _mark_sources(self, transaction: Transaction, going: Sequence[_Found]) -> None:
        """Has who lands such a content whole once more write it once more: it is needed again."""
        wanted = [self._keys.content(each.carried) for each in going]
        for each, key, value in zip(going, wanted, transaction.get_many(wanted), strict=True):
            source = None if value is None else ContentSource.decode(value)
            if source is not None and (each.record.digest or source.version == each.version):
                transaction.set(key, source.cooled().encode())


def _groups(rows: Sequence[ArchivedRow]) -> Iterator[list[ArchivedRow]]:
    """The rows of one transaction each; a larger event stands alone."""
    group: list[ArchivedRow] = []
    size_bytes = 0
    for row in rows:
        if group and (len(group) == GROUP_ROWS or size_bytes + row.size_bytes > GROUP_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(row)
        size_bytes += row.size_bytes
    if group:
        yield group


def _put(transaction: Transaction, key: bytes, value: bytes, stub: bytes) -> int:
    """Puts a stub in the place of a value, all of its chunks; how many bytes that frees."""
    # Cleared first, which has the embedded engine join pages that are nearly empty; replacing would leave them so.
    transaction.clear_range(key, keys.after(key))
    transaction.set(key, stub)
    return len(value) - len(stub)
