"""An export as Parquet: every event's bytes and facts, in order, whatever its size."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest

from nervous_system import columns, parquet
from nervous_system.contract import SwarmEvent
from nervous_system.ledger.history import StoredEvent
from nervous_system.ledger.versions import Version
from replay.export.parquet import SCHEMA, export_parquet
from tests.samples import BEGAN_US, event, write


def stored(count: int) -> list[tuple[StoredEvent, SwarmEvent]]:
    made = [event(number, state_change=write(f"f{number % 9}", b"%d" % number)) for number in range(count)]
    return [
        (StoredEvent(Version(1, number.to_bytes(12, "big")), BEGAN_US + number, each.SerializeToString()), each)
        for number, each in enumerate(made)
    ]


@pytest.mark.parametrize("count", [0, 1, 2_500])
def test_every_event_is_there_in_order(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 700)
    events, buffer = stored(count), io.BytesIO()
    assert export_parquet(events, buffer) == count
    found = pq.read_table(buffer)
    assert found.schema == SCHEMA
    assert found["event_bytes"].to_pylist() == [each.data for each, _ in events]
    assert found["version"].to_pylist() == [str(each.version) for each, _ in events]
    assert found["event_id"].to_pylist() == [each.event_id for _, each in events]
    assert columns.EVENT_SCHEMA.names == found.schema.names[1:]
    assert pq.read_metadata(buffer).num_row_groups == max(-(-count // 700), 1)
