"""A project's events as one Parquet file, for tools that know nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import BinaryIO

import pyarrow as pa

from nervous_system import columns, parquet
from nervous_system.contract import SwarmEvent
from nervous_system.landing import LandedEvent, LandedMessage
from nervous_system.ledger.history import StoredEvent
from nervous_system.parquet import Expected

SCHEMA = pa.schema([pa.field("version", pa.string()), *columns.EVENT_SCHEMA])
"""The archive's columns; in the place of where the log had an event stands its version in the ledger."""
BATCH_EVENTS = 1_000


def export_parquet(events: Iterable[tuple[StoredEvent, SwarmEvent]], file: BinaryIO) -> int:
    """Writes the events, in their order, a row group at a time.

    Returns:
        How many there were.
    """
    groups = parquet.groups(_tables(iter(events)))
    first = next(groups, SCHEMA.empty_table())
    count = 0
    # Row groups are alike enough for the first to tell how large the filters of all must be.
    with parquet.writer(file, SCHEMA, Expected.of(first), parquet.FAST) as writer:
        for group in chain([first], groups):
            writer.write_table(group, row_group_size=max(group.num_rows, 1))
            count += group.num_rows
    return count


def _tables(events: Iterator[tuple[StoredEvent, SwarmEvent]]) -> Iterator[pa.Table]:
    while taken := list(islice(events, BATCH_EVENTS)):
        rows = [_row(stored, event) for stored, event in taken]
        versions = pa.array([str(stored.version) for stored, _ in taken], pa.string())
        yield pa.Table.from_arrays([versions, *columns.event_table(rows).columns], schema=SCHEMA)


def _row(stored: StoredEvent, event: SwarmEvent) -> columns.Located:
    landed = LandedEvent(stored.data, event, 0)
    return LandedMessage(0, stored.recorded_us, None, (landed,), None, len(stored.data)), landed
