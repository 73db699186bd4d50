"""What goes of ClickHouse: rows by their place in the log, exactly; the cursors and the ids are kept.

An id that is gone and comes once more is not landed again (``ingestors/clickhouse.py`` asks); one that had come again
before goes with all its rows. Every statement can be run again, and by two janitors at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from clickhouse_connect.driver.binding import format_str
from clickhouse_connect.driver.client import Client

from ingestors import clickhouse
from ingestors.clickhouse import CURSORS, REMOVED, TABLE
from ingestors.janitor.bounds import Bounds
from ingestors.janitor.plan import Share, StorePlan
from nervous_system.archive.manifest import Place
from nervous_system.errors import UnavailableError
from nervous_system.failpoints import failpoint
from nervous_system.landing import Cursor

STORE = "clickhouse"
MEASURED = (TABLE, CURSORS, REMOVED)
# A mutation of a large table takes its time.
ANSWER_WITHIN_S = 24 * 3600
# What landed after the round before began to write down ids may hold some that it wrote down.
OVERLAP_S = 3600
_KEY = "tenant_id, project_id, event_id"


class ClickHouseStore:
    """Rows of ClickHouse that may go.

    Args:
        client: connected, and waiting as long as a mutation takes.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def size_bytes(self) -> int:
        """Room that the tables take, of the parts that count."""
        tables = ", ".join(map(format_str, MEASURED))
        answer = self._client.command(
            "SELECT sum(bytes_on_disk) FROM system.parts "
            f"WHERE active AND database = currentDatabase() AND table IN ({tables})"
        )
        return int(str(answer))

    def plan(self, bounds: Bounds) -> StorePlan:
        """What may go."""
        answer = self._client.query(
            f"SELECT tenant_id, count(), toUnixTimestamp64Micro(max(recorded)) FROM {TABLE} "
            f"WHERE {condition(bounds)} GROUP BY tenant_id ORDER BY tenant_id"
        )
        shares = tuple(Share(tenant, int(events), int(until_us)) for tenant, events, until_us in answer.result_rows)
        events = sum(share.items for share in shares)
        rows = int(str(self._client.command(f"SELECT count() FROM {TABLE}")))
        return StorePlan(STORE, shares, self.size_bytes() * events // rows if rows else 0)

    def remove(self, bounds: Bounds) -> int:
        """Removes what may go; how many rows did. Returns once their room is given back."""
        if self._client.query("SELECT 1 FROM swarm_rebuilds LIMIT 1").result_rows:
            raise UnavailableError(
                "ClickHouse is being rebuilt from the archive: run this again once that is finished."
            )
        before, gone = self._rows(), condition(bounds)
        self._keep_strays(gone)
        failpoint("janitor-after-strays")
        self._keep_ids(gone)
        failpoint("janitor-after-ids")
        doomed = f"({gone}) OR ({_KEY}) IN (SELECT {_KEY} FROM {REMOVED} WHERE doubled)"
        if not self._client.query(f"SELECT 1 FROM {TABLE} WHERE {doomed} LIMIT 1").result_rows:
            return 0
        self._keep_cursors(bounds.places)
        failpoint("janitor-after-cursors")
        self._client.command(
            f"ALTER TABLE {TABLE} DELETE WHERE {doomed}",
            # 2: every replica has done it when this returns.
            settings={"mutations_sync": 2, "allow_nondeterministic_mutations": 1},
        )
        failpoint("janitor-after-delete")
        return max(before - self._rows(), 0)

    def _rows(self) -> int:
        return int(str(self._client.command(f"SELECT count() FROM {TABLE}")))

    def _keep_cursors(self, places: Iterable[Place]) -> None:
        rows = []
        for place in places:
            cursor = clickhouse.cursor(self._client, *place)
            rows.append(f"({format_str(str(place[0]))}, {place[1]}, {cursor.sequence}, {_moment(cursor)})")
        if rows:
            self._client.command(f"INSERT INTO {CURSORS} SETTINGS async_insert = 0 VALUES {', '.join(rows)}")

    def _keep_strays(self, gone: str) -> None:
        """Marks what landed again while the round before wrote down its ids, and could not be held back by them."""
        self._client.command(
            f"INSERT INTO {REMOVED} SELECT {_KEY}, 1, now() FROM {REMOVED} WHERE ({_KEY}) IN ("
            f"SELECT {_KEY} FROM {TABLE} WHERE NOT ({gone}) "
            f"AND recorded >= (SELECT max(removed) FROM {REMOVED} WHERE NOT doubled) - INTERVAL {OVERLAP_S} SECOND "
            f"AND {late_condition()}) SETTINGS async_insert = 0"
        )

    def _keep_ids(self, gone: str) -> None:
        # In the order of the table's key, so that however many ids there are, few are held at once.
        self._client.command(
            f"INSERT INTO {REMOVED} SELECT {_KEY}, countIf(NOT ({gone})) > 0, now() FROM {TABLE} "
            f"WHERE tenant_id IN (SELECT DISTINCT tenant_id FROM {TABLE} WHERE {gone}) "
            "GROUP BY tenant_id, project_id, UUIDv7ToDateTime(event_id, 'UTC'), event_id "
            f"HAVING countIf({gone}) > 0 "
            "SETTINGS optimize_aggregation_in_order = 1, async_insert = 0"
        )


def condition(bounds: Bounds) -> str:
    """Which rows may go, as SQL."""
    return " OR ".join(_of_place(bounds, place) for place in bounds.places) or "0"


def late_condition() -> str:
    """Which rows have an id that was not made in the hour before the log took them, as SQL."""
    made = "UUIDv7ToDateTime(event_id, 'UTC')"
    return f"({made} < recorded - INTERVAL {clickhouse.LATE_AFTER_S} SECOND OR {made} > recorded)"


def _of_place(bounds: Bounds, place: Place) -> str:
    stream, partition = place
    cases = [
        f"tenant_id = {format_str(tenant)}, {bounds.through(place, tenant).sequence}"
        for tenant in bounds.policy.tenants
    ]
    others = str(bounds.through(place, "").sequence)
    limit = f"multiIf({', '.join([*cases, others])})" if cases else others
    return f"(log_stream = {format_str(str(stream))} AND log_partition = {partition} AND log_sequence <= {limit})"


def _moment(cursor: Cursor) -> str:
    return f"fromUnixTimestamp64Micro(toInt64({cursor.recorded_us}), 'UTC')"
