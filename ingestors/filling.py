"""The stores that can be rebuilt: what each keeps of how far a rebuild has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from clickhouse_connect.driver.client import Client

from ingestors import clickhouse
from ingestors.clickhouse import ClickHouseSink
from ingestors.ledger import LedgerSink
from nervous_system.archive.manifest import Place
from nervous_system.events import utc
from nervous_system.landing import Cursor
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.rebuilding import NotEmptyError
from nervous_system.settings import Settings

REBUILDS = "swarm_rebuilds"

_REACHED = f"""
SELECT max(sequence) FROM {REBUILDS} WHERE log_stream = {{stream:String}} AND log_partition = {{partition:UInt16}}
"""


class RebuiltLedger:
    """The ledger: its cursors say how far the rebuild has come, and a mark keeps its ingestors waiting meanwhile.

    Args:
        settings: give the address.
        agrees: tells of a ledger that is not empty whether it holds what the archive does, as far as it goes: one that
            was put back from an older copy, say.
    """

    def __init__(self, settings: Settings, agrees: Callable[[Ledger], bool] = lambda _: False) -> None:
        self._agrees = agrees
        self.sink = LedgerSink(settings, rebuilding=True)
        self.sink.open()

    def begin(self, cursors: Mapping[Place, Cursor]) -> None:
        """Shuts the ledger for all others."""
        standing = self.sink.ledger.cursors()
        archived_us = max((cursor.recorded_us for cursor in cursors.values()), default=0)
        try:
            self.sink.ledger.begin_rebuild(archived_us=archived_us)
        except NotEmptyError:
            is_archived = all((stream, partition) in cursors for _, stream, partition in standing)
            if not (is_archived and self._agrees(self.sink.ledger)):
                raise
            self.sink.ledger.begin_rebuild(standing, archived_us=archived_us)

    def reached(self, place: Place) -> int:
        """The sink's cursor: it moves in the transaction that lands."""
        return self.sink.cursor(*place).sequence

    def landed(self, place: Place, sequence: int) -> None:
        """The cursor has moved already."""

    def end(self, cursors: Mapping[Place, Cursor]) -> None:
        """Opens the ledger again; its cursors are where the archive's are."""
        del cursors
        self.sink.ledger.end_rebuild()


class RebuiltClickHouse:
    """ClickHouse: a table says how far the rebuild has come.

    Ingestors may land beside it: what both land counts once, under a view that takes each id once.

    Args:
        settings: give the address.
        beneath: also where it holds events already, of which whatever is missing comes back.
    """

    def __init__(self, settings: Settings, *, beneath: bool = False) -> None:
        self._beneath = beneath
        self.sink = ClickHouseSink(settings)
        self.sink.open()
        self._client: Client = clickhouse.connect(settings)

    def begin(self, cursors: Mapping[Place, Cursor]) -> None:
        """Writes down that it has begun."""
        if self._client.query(f"SELECT 1 FROM {REBUILDS} LIMIT 1").result_rows:
            return
        if not self._client.query(f"SELECT 1 FROM {clickhouse.TABLE} LIMIT 1").result_rows:
            # What the janitor kept is of rows that are there no more, and would keep them away.
            for table in (clickhouse.CURSORS, clickhouse.REMOVED):
                self._client.command(f"TRUNCATE TABLE {table}")
        elif not self._beneath:
            raise NotEmptyError(
                "ClickHouse is not empty, and no rebuild of it was begun: add --beneath to land what is missing "
                "beneath what is there, or name an empty database in ENCHANTED_CLICKHOUSE_DATABASE. `enchanted "
                "verify --archive` tells whether it holds what the archive does."
            )
        self._write([(place, 0) for place in cursors])

    def reached(self, place: Place) -> int:
        """What the table says."""
        stream, partition = place
        answer = self._client.query(_REACHED, parameters={"stream": str(stream), "partition": partition})
        return int(answer.result_rows[0][0])

    def landed(self, place: Place, sequence: int) -> None:
        """Writes it down; killed before, the next run lands a block again that ClickHouse knows."""
        self._write([(place, sequence)])

    def end(self, cursors: Mapping[Place, Cursor]) -> None:
        """Has the sink's cursors stand where the archive's do, and forgets the rebuild."""
        if cursors:
            self._client.insert(
                clickhouse.CURSORS,
                [
                    [str(stream), partition, cursor.sequence, utc(cursor.recorded_us)]
                    for (stream, partition), cursor in cursors.items()
                ],
                column_names=["log_stream", "log_partition", "sequence", "recorded"],
                settings={"async_insert": 0},
            )
        self._client.command(f"TRUNCATE TABLE {REBUILDS}")

    def _write(self, rows: Sequence[tuple[Place, int]]) -> None:
        if rows:
            self._client.insert(
                REBUILDS,
                [[str(stream), partition, sequence] for (stream, partition), sequence in rows],
                column_names=["log_stream", "log_partition", "sequence"],
                settings={"async_insert": 0},
            )
