"""What verification reads besides the history: ids, index rows and their numbers, as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from nervous_system.ledger import keys, tuples
from nervous_system.ledger.append import Place
from nervous_system.ledger.records import IdRecord
from nervous_system.ledger.transaction import Engine, KeyValue, Transaction
from nervous_system.ledger.versions import Version

PAGE_ROWS = 1_000


class Audit:
    """A project's keys, read one family at a time. Every method may raise LedgerError."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self._engine = engine
        self._keys = place.keys

    def id_records(self, event_ids: Sequence[str]) -> list[IdRecord | None]:
        """What is kept of each event id; None where nothing is."""
        wanted = [self._keys.id(event_id) for event_id in event_ids]
        stored = self._engine.run(lambda transaction: transaction.get_many(wanted, snapshot=True))
        return [None if value is None else IdRecord.decode(value) for value in stored]

    def path_rows(self, rows: Sequence[tuple[str, Version]]) -> list[bytes | None]:
        """The values in the path index at each path and version."""
        wanted = [self._keys.path(resource) + keys.encode_version(version) for resource, version in rows]
        return self._engine.run(lambda transaction: transaction.get_many(wanted, snapshot=True))

    def time_rows(self, version: Version, occurred_us: int, recorded_us: int) -> bool:
        """Whether both time indexes have the event."""
        wanted = [
            index + keys.encode_version(version)
            for index in (self._keys.occurred(occurred_us), self._keys.recorded(recorded_us))
        ]
        stored = self._engine.run(lambda transaction: transaction.get_many(wanted, snapshot=True))
        return None not in stored

    def ids(self) -> Iterator[tuple[str, IdRecord]]:
        """Every event id there is."""
        for key, value in self._rows(self._keys.ids):
            event_id = tuples.unpack(key.removeprefix(self._keys.ids))[0]
            yield str(event_id), IdRecord.decode(value)

    def paths(self) -> Iterator[tuple[str, Version]]:
        """Every row of the path index."""
        for key, _ in self._rows(self._keys.paths):
            yield keys.text_before_version(key, self._keys.paths), keys.version_at_end(key)

    def times(self) -> Iterator[Version]:
        """The version of every row of both time indexes."""
        for index in (self._keys.occurred(), self._keys.recorded()):
            for key, _ in self._rows(index):
                yield keys.version_at_end(key)

    def _rows(self, head: bytes) -> Iterator[tuple[bytes, bytes]]:
        begin, end = keys.within(head)
        while True:
            rows = self._engine.run(partial(_page, begin=begin, end=end))
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
            begin = keys.after(rows[-1][0])


def _page(transaction: Transaction, begin: bytes, end: bytes) -> list[KeyValue]:
    return transaction.get_range(begin, end, limit=PAGE_ROWS, snapshot=True)
