"""The ledger and ClickHouse as they are compared with the archive: what each must have of it, and what it has."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from functools import cache, lru_cache, partial
from typing import Any

from clickhouse_connect.driver.client import Client

from ingestors.agreement import LANES, Archived, Digest, Held, Side, hash_of, hash_of_id, partition_of, where
from ingestors.clickhouse import REMOVED, TABLE, cursor
from ingestors.ledger import LedgerSink
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import ContractError, NotFoundError
from nervous_system.events import decode
from nervous_system.ledger.cold import Position
from nervous_system.ledger.history import History, StoredEvent
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

BLOCK_ROWS = 20_000

Refused = tuple[StreamIdentity, int, int]
"""Of an event that was refused: stream, sequence of its message, its place in that."""

# Which rows the archive must have: up to its cursors.
_PLACE = "concat(log_stream, '/', toString(log_partition))"
_COVERED = f"log_sequence <= mapFromArrays({{places:Array(String)}}, {{ends:Array(UInt64)}})[{_PLACE}]"
_HASH = (
    "SHA256(concat(toString(event_id), '/', log_stream, '/', toString(log_partition), '/', toString(log_sequence), "
    "'/', toString(log_index), '/', SHA256(event_bytes)))"
)
_LANES = ", ".join(f"sum(reinterpretAsUInt64(substring(hash, {8 * lane + 1}, 8)))" for lane in range(LANES))
_DIGESTS = f"""
SELECT tenant_id, project_id, count(), {_LANES} FROM (
    SELECT tenant_id, project_id, {_HASH} AS hash FROM {TABLE} FINAL WHERE {_COVERED}
) GROUP BY tenant_id, project_id
"""
_ID_DIGESTS = f"""
SELECT tenant_id, project_id, count(), {_LANES} FROM (
    SELECT tenant_id, project_id, SHA256(toString(event_id)) AS hash FROM {REMOVED} FINAL
) GROUP BY tenant_id, project_id
"""
_ROWS = f"""
SELECT toString(event_id), lower(hex(SHA256(event_bytes))), log_stream, log_partition, log_sequence, log_index,
    toUnixTimestamp64Micro(recorded)
FROM {TABLE} FINAL WHERE tenant_id = {{tenant:String}} AND project_id = {{project:String}}
"""
_IN_ORDER = f"{_ROWS} AND {_COVERED} ORDER BY _rank DESC"
_SOME = f"{_ROWS} AND event_id IN (SELECT toUUIDOrZero(arrayJoin({{event_ids:Array(String)}})))"
_THINNED = f"SELECT DISTINCT tenant_id FROM {REMOVED}"
_FIRSTS = f"""
SELECT tenant_id, log_stream, log_partition, min(log_sequence) FROM {TABLE}
WHERE tenant_id IN ({_THINNED}) GROUP BY tenant_id, log_stream, log_partition
"""
_REMOVED_IDS = f"""
SELECT DISTINCT toString(event_id) FROM {REMOVED}
WHERE tenant_id = {{tenant:String}} AND project_id = {{project:String}}
"""
_SETTINGS = {"max_bytes_before_external_sort": 500_000_000}


class LedgerHoldings:
    """See ``comparing.ComparedLedger``.

    Args:
        ledger: is read.
        state: what the archive holds.
        partitions: of the newest stream.
    """

    def __init__(self, ledger: Ledger, state: ArchiveState, partitions: int) -> None:
        self._ledger = ledger
        self._state = state
        self._partitions = partitions
        self._landed = {place: ledger.cursor(LedgerSink.name, *place).sequence for place in state.cursors}

    def projects(self) -> list[ProjectName]:
        """Those with events of their own."""
        return list(self._ledger.heads(self._ledger.projects()))

    def side(self, project: ProjectName) -> Side:
        """The project's own events in commit order."""
        watermark_us = self._watermark_us(project)
        try:
            history = self._ledger.own_history(project)
        except NotFoundError:
            return Side("ledger", (), lambda _: {}, self._is_due, lambda _: True)
        return Side(
            "ledger",
            map(_held, history.events()),
            partial(_in_history, history),
            self._is_due,
            # What the log took later may not be archived yet.
            lambda held: held.recorded_us < watermark_us,
        )

    def _is_due(self, row: Archived) -> bool:
        position = row.position
        return position.sequence <= self._landed[position.stream, position.partition]

    def _watermark_us(self, project: ProjectName) -> int:
        newest = max((stream for stream, _ in self._state.cursors), key=lambda stream: stream.created_us, default=None)
        if newest is None:
            return 0
        return self._state.cursor(newest, partition_of(project, self._partitions)).recorded_us


def _held(stored: StoredEvent) -> Held:
    return Held(
        digest=hashlib.sha256(stored.data).digest(),
        order=stored.version,
        event_id=lambda: _id_in(stored.data),
        place=lambda: f"version {stored.version}",
        recorded_us=stored.recorded_us,
    )


def _id_in(data: bytes) -> str:
    try:
        return decode(data).event_id
    except ContractError:
        return "an event that cannot be read"


def _in_history(history: History, event_ids: Sequence[str]) -> dict[str, Held]:
    found: dict[str, Held] = {}
    for event_id, version in zip(event_ids, history.versions_of_events(event_ids), strict=True):
        if version is not None:
            with suppress(NotFoundError):
                found[event_id] = _held(history.event(version))
    return found


class ClickHouseHoldings:
    """See ``comparing.ComparedClickHouse``.

    Of what the janitor has taken out ClickHouse keeps the ids. It takes a tenant's oldest rows of a partition, so that
    what is older than a tenant's first row there is compared by its ids alone.

    Args:
        client: of ClickHouse.
        state: what the archive holds.
        refused: gives the places in the log of what ClickHouse has refused; asked once, where something is missing.
    """

    def __init__(
        self, client: Client, state: ArchiveState, refused: Callable[[], Container[Refused]] = frozenset
    ) -> None:
        self._client = client
        self._refused = cache(refused)
        # What it has not landed yet is no difference; nor is what the archive does not have yet.
        self._ends = {place: min(end.sequence, cursor(client, *place).sequence) for place, end in state.cursors.items()}
        self._thinned = frozenset(tenant for (tenant,) in client.query(_THINNED).result_rows)
        self._firsts: dict[tuple[str, str, int], int] = {
            (tenant, stream, partition): int(first)
            for tenant, stream, partition, first in (client.query(_FIRSTS).result_rows if self._thinned else ())
        }
        self._removed_of = lru_cache(1)(self._read_removed)

    def digests(self) -> dict[ProjectName, Digest]:
        """Computed there."""
        found: dict[ProjectName, Digest] = defaultdict(Digest)
        for question in (_DIGESTS, _ID_DIGESTS):
            answer = self._client.query(question, parameters=self._bounds(), settings=_SETTINGS)
            for tenant, project, events, *lanes in answer.result_rows:
                found[ProjectName(tenant, project)] += Digest(int(events), tuple(map(int, lanes)))
        return found

    def hash_of(self, row: Archived) -> bytes | None:
        """By id and place, or of what the janitor took out by id."""
        position = row.position
        if position.sequence > self._ends[position.stream, position.partition]:
            return None
        return hash_of_id(row) if position.sequence < self._first(row) else hash_of(row)

    def side(self, project: ProjectName) -> Side:
        """The project's events in log order, each once."""
        return Side(
            "clickhouse",
            self._rows(project),
            partial(self._look_up, project),
            partial(self._is_due, project),
            lambda _: True,
        )

    def _is_due(self, project: ProjectName, row: Archived) -> bool:
        """Whether ClickHouse has landed that far, has not refused it, and the janitor has not taken it out."""
        position = row.position
        if position.sequence > self._ends[position.stream, position.partition]:
            return False
        if row.tenant in self._thinned and row.event_id in self._removed_of(project):
            return False
        return (position.stream, position.sequence, position.index) not in self._refused()

    def _first(self, row: Archived) -> int:
        """The first sequence that the janitor left the tenant in the partition; 0 where it has not been there."""
        if row.tenant not in self._thinned:
            return 0
        position = row.position
        end = self._ends[position.stream, position.partition] + 1
        return self._firsts.get((row.tenant, str(position.stream), position.partition), end)

    def _rows(self, project: ProjectName) -> Iterator[Held]:
        parameters = self._bounds() | {"tenant": project.tenant, "project": project.project}
        settings = _SETTINGS | {"max_block_size": BLOCK_ROWS}
        with self._client.query_row_block_stream(_IN_ORDER, parameters=parameters, settings=settings) as blocks:
            for block in blocks:
                yield from map(_held_row, block)

    def _look_up(self, project: ProjectName, event_ids: Sequence[str]) -> dict[str, Held]:
        parameters = {"tenant": project.tenant, "project": project.project, "event_ids": list(event_ids)}
        rows = self._client.query(_SOME, parameters=parameters).result_rows
        return {row[0]: _held_row(row) for row in rows}

    def _read_removed(self, project: ProjectName) -> frozenset[str]:
        parameters = {"tenant": project.tenant, "project": project.project}
        return frozenset(
            event_id for (event_id,) in self._client.query(_REMOVED_IDS, parameters=parameters).result_rows
        )

    def _bounds(self) -> dict[str, Any]:
        return {
            "places": [f"{stream}/{partition}" for stream, partition in self._ends],
            "ends": list(self._ends.values()),
        }


def _held_row(row: Any) -> Held:
    event_id, digest, stream, partition, sequence, index, recorded_us = row
    position = Position(StreamIdentity.parse(stream), partition, sequence, index)
    return Held(
        digest=bytes.fromhex(digest),
        order=(position.stream.created_us, sequence, index),
        event_id=lambda: str(event_id),
        place=lambda: where(position),
        recorded_us=recorded_us,
        position=position,
    )
