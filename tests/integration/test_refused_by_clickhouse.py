"""What ClickHouse refuses for its data: found alone, buried before the cursor passes it, and the rest landed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from ingestors.clickhouse import REFUSED, ClickHouseSink, connect
from nervous_system.contract import ToolCall
from nervous_system.landing import Batch, Cursor
from nervous_system.settings import Settings
from tests.samples import STREAM, batch, event, message

_numbers = itertools.count(1)
POISONED = (2, 3, 9)


@pytest.fixture
def own(servers: Settings) -> Iterator[Settings]:
    """Settings with a database of its own, whose table no other test sees."""
    name = f"refusing_{next(_numbers)}"
    maker = connect(servers)
    maker.command(f"CREATE DATABASE {name}")
    yield replace(servers, clickhouse_database=name)
    maker.command(f"DROP DATABASE {name}")
    maker.close()


@pytest.fixture
def client(own: Settings) -> Iterator[Client]:
    """Beside the sink's."""
    client = connect(own)
    yield client
    client.close()


@pytest.fixture
def sink(own: Settings, client: Client) -> Iterator[ClickHouseSink]:
    """Lands in a table that takes no tool called "poison", which is sound for all else."""
    sink = ClickHouseSink(own)
    sink.open()
    client.command("ALTER TABLE events ADD CONSTRAINT no_poison CHECK tool_call_name != 'poison'")
    yield sink
    sink.close()


def poisoned() -> Batch:
    events = [
        event(number, tool_call=ToolCall(name="poison" if number in POISONED else "pytest")) for number in range(10)
    ]
    return batch(message(4, events[:3]), message(5, events[3:4]), message(6, []), message(8, events[4:]), partition=2)


def ids(client: Client) -> list[str]:
    return [
        str(row[0]) for row in client.query("SELECT event_id FROM events ORDER BY log_sequence, log_index").result_rows
    ]


def test_the_poison_is_found_and_nothing_lands_until_it_is_left_out(sink: ClickHouseSink, client: Client) -> None:
    whole = poisoned()
    refusals = sink.land(whole)
    assert [(each.code, each.sequence, each.index) for each in refusals] == [
        (REFUSED, 4, 2),
        (REFUSED, 5, 0),
        (REFUSED, 8, 5),
    ]
    assert [each.data for each in refusals] == [
        landed.data for each in whole.messages for landed in each.events if landed.event.tool_call.name == "poison"
    ]
    assert all("no_poison" in each.reason for each in refusals)
    assert ids(client) == []
    assert sink.cursor(STREAM, 2) == Cursor()
    assert "events_trial" not in str(client.query("SHOW TABLES").result_rows)

    rest = whole.without(refusals)
    # Twice, as a worker does that was killed before it knew.
    assert list(sink.land(rest)) == list(sink.land(rest)) == []
    assert ids(client) == [event(number).event_id for number in range(10) if number not in POISONED]
    assert sink.cursor(STREAM, 2) == whole.cursor


def test_all_poison_and_what_a_killed_worker_left_is_in_nobodys_way(sink: ClickHouseSink, client: Client) -> None:
    client.command("CREATE TABLE events_trial_2 (other String) ENGINE = MergeTree ORDER BY other")
    whole = batch(message(7, [event(number, tool_call=ToolCall(name="poison")) for number in range(3)]), partition=2)
    assert [each.index for each in sink.land(whole)] == [0, 1, 2]
    assert ids(client) == []


def test_what_is_not_the_datas_fault_is_no_refusal(sink: ClickHouseSink, client: Client) -> None:
    client.command("RENAME TABLE events TO elsewhere")
    with pytest.raises(DatabaseError):
        sink.land(poisoned())
    client.command("RENAME TABLE elsewhere TO events")
    assert len(sink.land(poisoned())) == len(POISONED)
