"""ClickHouse's tables: made once by however many workers, upgraded with what is in them, and checked."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from clickhouse_connect.driver.client import Client

from ingestors import schema
from ingestors.clickhouse import ClickHouseSink, connect
from ingestors.schema import SchemaError
from nervous_system.contract import AgentDecision, Operation, StateChange, SwarmEvent
from nervous_system.settings import Settings
from tests.samples import batch, event, message, write

WORKERS = 6
_numbers = itertools.count(1)


@pytest.fixture
def database(servers: Settings) -> Iterator[Settings]:
    """Settings with a database of the test's own, empty."""
    name = f"schema_{next(_numbers)}"
    with connect(servers) as client:
        client.command(f"CREATE DATABASE {name}")
    yield replace(servers, clickhouse_database=name)
    with connect(servers) as client:
        client.command(f"DROP DATABASE {name}")


@pytest.fixture
def client(database: Settings) -> Iterator[Client]:
    with connect(database) as opened:
        yield opened


def land(settings: Settings, sequence: int, *events: SwarmEvent) -> None:
    sink = ClickHouseSink(settings)
    sink.open()
    sink.land(batch(message(sequence, events), after=sequence - 1))
    sink.close()


def up_to(client: Client, last: str) -> None:
    """The tables and the records of an older version, which recorded no more than names."""
    client.command(schema.LEDGER[0])
    for name in schema.names():
        if name <= last:
            for statement in schema.statements(name):
                client.command(statement)
            client.command(f"INSERT INTO schema_migrations (name) VALUES ('{name}')")


def test_workers_that_start_together_make_the_tables_once(database: Settings) -> None:
    ready = threading.Barrier(WORKERS)

    def work(_: int) -> list[str]:
        with connect(database) as client:
            ready.wait()
            return schema.migrate(client)

    with ThreadPoolExecutor(WORKERS) as pool:
        applied = list(pool.map(work, range(WORKERS)))
    assert schema.names() in applied
    with connect(database) as client:
        assert schema.migrate(client) == []
        rows = client.query("SELECT name, sha256 != '' FROM schema_migrations FINAL ORDER BY name").result_rows
        assert rows == [(name, 1) for name in schema.names()]
        assert client.command("SELECT count() FROM system.databases WHERE name LIKE 'scratch_%'") == 0


def test_a_table_of_the_first_version_is_upgraded_with_its_rows(database: Settings, client: Client) -> None:
    up_to(client, "0002_swarm_events.sql")
    change = StateChange(target_resource="a.py", diff_patch="@@ -1 +1,2 @@\n-a\n+b\n+c\n")
    change.operation = Operation.OPERATION_MODIFY
    old = [event(1, state_change=change), event(2, decision=AgentDecision(rationale="The old parser was wrong."))]
    client.command(
        "INSERT INTO events (log_stream, log_sequence, log_index, recorded, timestamp, event_type, event_id, "
        "tenant_id, project_id, decision_rationale, state_change_operation, state_change_diff_patch) VALUES "
        f"('s@1', 1, 0, now64(6), now64(6), 'STATE_CHANGE', '{old[0].event_id}', 'acme', 'shop', '', 'MODIFY', "
        "'@@ -1 +1,2 @@\n-a\n+b\n+c\n'), "
        f"('s@1', 1, 1, now64(6), now64(6), 'DECISION', '{old[1].event_id}', 'acme', 'shop', 'The old parser was "
        "wrong.', '', '')"
    )
    land(database, 9, event(3, state_change=write("b.py", b"1\n2\n3", operation=Operation.OPERATION_CREATE)))
    found = client.query(
        "SELECT event_id, lines_added, lines_removed FROM swarm_events ORDER BY log_sequence, log_index"
    )
    assert [(str(row[0]), *row[1:]) for row in found.result_rows] == [
        (old[0].event_id, 2, 1),
        (old[1].event_id, None, None),
        (event(3).event_id, 3, 0),
    ]
    assert client.command("SELECT agent_id = '' FROM swarm_events WHERE hasToken(lower(rationale), 'parser')") == 1
    assert schema.migrate(client) == []


def test_a_migration_that_was_edited_after_it_was_applied_is_refused(client: Client) -> None:
    schema.migrate(client)
    other = hashlib.sha256(b"another text").hexdigest()
    client.command(f"INSERT INTO schema_migrations (name, sha256) VALUES ('0002_swarm_events.sql', '{other}')")
    with pytest.raises(SchemaError, match=r"0002_swarm_events\.sql is not the one that was applied"):
        schema.migrate(client)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE events ADD COLUMN mine String", "events has mine, which none makes"),
        ("ALTER TABLE events DROP COLUMN session_id", "events lacks session_id"),
        ("ALTER TABLE events MODIFY COLUMN log_index UInt64", "events.log_index is UInt64, not UInt32"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_table_that_somebody_altered_is_refused(client: Client, statement: str, words: str, is_first: bool) -> None:
    """Whether or not the migrations were ever looked at in a scratch database."""
    up_to(client, schema.names()[-1]) if is_first else schema.migrate(client)
    client.command(statement)
    with pytest.raises(SchemaError, match=words):
        schema.migrate(client)


def test_an_older_view_that_a_stopped_worker_left_is_put_right(client: Client) -> None:
    schema.migrate(client)
    (older,) = schema.statements("0002_swarm_events.sql")
    client.command(older)
    schema.migrate(client)
    assert client.command("SELECT count(lines_added) FROM swarm_events") == 0


def test_what_a_newer_version_migrated_is_left_to_it(client: Client) -> None:
    schema.migrate(client)
    client.command("ALTER TABLE events ADD COLUMN newer String")
    client.command("INSERT INTO schema_migrations (name, sha256) VALUES ('9999_newer.sql', 'x')")
    assert schema.migrate(client) == []
