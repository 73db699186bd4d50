"""``landing``: events of a backlog that each store has taken a second, and ClickHouse by other ways."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from google.protobuf.json_format import MessageToDict

from infrastructure.local.stack import running_stack
from ingestors.clickhouse import ClickHouseSink
from ingestors.reading import LogMessage
from nervous_system import columns
from nervous_system.contract import SwarmEvent
from nervous_system.events import cut_batch, occurred_us, utc
from nervous_system.landed import wait_until_landed
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from tests.benchmarks.material import PROJECT, batches, events, log_messages
from tests.benchmarks.report import Contender, compare

EVENTS = 60_000
MESSAGE_EVENTS = 1_000
BLOCK_MESSAGES = 10
ROWS_AN_INSERT = 1_000
SINKS = ("ledger", "clickhouse", "siphon")
STOP_TIMEOUT_S = 30.0

ARROW_TABLE = """
CREATE TABLE arrow_rows (
    stream LowCardinality(String), partition UInt16, log_sequence UInt64, log_index UInt16,
    recorded DateTime64(6, 'UTC'), timestamp DateTime64(6, 'UTC'),
    event_type LowCardinality(String), event_id String, tenant_id LowCardinality(String),
    project_id LowCardinality(String), session_id LowCardinality(String), agent_id LowCardinality(String),
    agent_role LowCardinality(String), agent_sequence UInt64, trace_id String, causation_id String,
    correlation_id String, related_commit_hash String, rationale Nullable(String),
    target_resource Nullable(String), operation LowCardinality(Nullable(String)),
    new_state_hash Nullable(String), event_bytes String
) ENGINE = MergeTree ORDER BY (tenant_id, project_id, timestamp, event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""
JSON_TABLE = """
CREATE TABLE json_rows (
    event_id String, timestamp DateTime64(6, 'UTC'), tenant_id String, project_id String, agent_id String,
    payload_json String, event_hex String
) ENGINE = MergeTree ORDER BY (tenant_id, project_id, timestamp, event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""
JSON_COLUMNS = ["event_id", "timestamp", "tenant_id", "project_id", "agent_id", "payload_json", "event_hex"]

_numbers = itertools.count(1)


def run(folder: Path) -> None:
    """First the real processes, one sink at a time; then ClickHouse's sink against other ways into ClickHouse."""
    home = folder / "home"
    with running_stack(home, ["nats", "clickhouse", "s3"]) as settings:
        sequence = _backlog(settings)
        compare(
            f"landing: `enchanted ingest`, {EVENTS:,} waiting events of one project, the process's start included",
            "events",
            [
                Contender(f"enchanted ingest {sink}", EVENTS, partial(_ingest, settings, sink, sequence))
                for sink in SINKS
            ],
            None,
            rounds=1,
        )
        _into_clickhouse(settings)


def _backlog(settings: Settings) -> int:
    publisher = Publisher(settings, PROJECT)
    for event in events(EVENTS):
        publisher.put(event)
    publisher.flush()
    publisher.close()
    return publisher.last_sequence


def _ingest(settings: Settings, sink: str, sequence: int) -> Callable[[], None]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    # The archive rolls a file each second, so that the last one is waited for no longer than that.
    environment = {**clean, "ENCHANTED_HOME": str(settings.home), "ENCHANTED_SIPHON_ROLL_AGE_S": "1"}

    def work() -> None:
        command = [sys.executable, "-m", "infrastructure.cli.main", "ingest", sink]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            wait_until_landed(settings, [sink], sequence)
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)

    return work


def _into_clickhouse(settings: Settings) -> None:
    client = clickhouse_connect.get_client(
        dsn=settings.clickhouse_url, username=settings.clickhouse_user, password=settings.clickhouse_password
    )
    client.command(ARROW_TABLE)
    client.command(JSON_TABLE)
    messages = log_messages(events(EVENTS), MESSAGE_EVENTS)
    block = BLOCK_MESSAGES * MESSAGE_EVENTS
    compare(
        "landing: into ClickHouse, from this process",
        "events",
        [
            Contender(
                f"read, inspected and landed by ClickHouseSink, {block:,} a block",
                EVENTS,
                lambda: _sink(settings, messages, ready=False),
            ),
            Contender(
                f"ClickHouseSink alone, batches ready, {block:,} a block",
                EVENTS,
                lambda: _sink(settings, messages, ready=True),
            ),
        ],
        Contender(
            f"events decoded, MessageToDict, json.dumps, hex, lists of rows, {ROWS_AN_INSERT:,} an insert",
            EVENTS,
            lambda: _json(client, messages),
        ),
    )
    whole = _whole_rows(client, messages, settings, block)
    few = [
        columns.table(list(columns.located(batch.messages)), batch.stream, batch.partition)
        for batch in batches(messages, BLOCK_MESSAGES, StreamIdentity("BENCH", 0))
    ]
    compare(
        f"landing: into ClickHouse by its protobuf reader, and as columns that cost nothing to make, {block:,} a block",
        "events",
        [
            Contender("ClickHouseSink alone, batches ready", EVENTS, lambda: _sink(settings, messages, ready=True)),
            Contender(
                f"insert_arrow, {few[0].num_columns} columns, none computed, no index",
                EVENTS,
                lambda: partial(_arrow, client, "arrow_rows", few),
            ),
        ],
        Contender(
            f"insert_arrow, the sink's {whole[0].num_columns} columns into a table like the sink's",
            EVENTS,
            lambda: partial(_arrow, client, "whole_rows", whole),
        ),
    )
    client.close()


def _whole_rows(client: Client, messages: list[LogMessage], settings: Settings, block: int) -> list[pa.Table]:
    """All that the sink stores of the messages, as columns, in blocks; and an empty table like the sink's."""
    stream = StreamIdentity("BENCH", next(_numbers))
    sink = ClickHouseSink(settings)
    sink.open()
    for batch in batches(messages, BLOCK_MESSAGES, stream):
        sink.land(batch)
    sink.close()
    client.command("CREATE TABLE whole_rows AS events")
    found = client.query_arrow(
        "SELECT * FROM events WHERE log_stream = {stream:String} ORDER BY log_sequence, log_index",
        parameters={"stream": str(stream)},
    )
    return [found.slice(start, block) for start in range(0, found.num_rows, block)]


def _sink(settings: Settings, messages: list[LogMessage], *, ready: bool) -> Callable[[], None]:
    sink = ClickHouseSink(settings)
    sink.open()
    # A stream of its own for each run: what was landed before must not count as landed.
    making = batches(messages, BLOCK_MESSAGES, StreamIdentity("BENCH", next(_numbers)))
    source = list(making) if ready else making

    def work() -> None:
        for batch in source:
            sink.land(batch)
        sink.close()

    return work


def _arrow(client: Client, table: str, ready: list[pa.Table]) -> None:
    for each in ready:
        client.insert_arrow(table, each)


def _json(client: Client, messages: list[LogMessage]) -> Callable[[], None]:
    def work() -> None:
        for message in messages:
            data = cut_batch(message.data)
            for start in range(0, len(data), ROWS_AN_INSERT):
                rows = [_json_row(event) for event in data[start : start + ROWS_AN_INSERT]]
                client.insert("json_rows", rows, column_names=JSON_COLUMNS)

    return work


def _json_row(data: bytes) -> list[object]:
    event = SwarmEvent.FromString(data)
    payload = json.dumps(MessageToDict(event))
    return [
        event.event_id,
        utc(occurred_us(event)),
        event.tenant_id,
        event.project_id,
        event.agent_id,
        payload,
        data.hex(),
    ]
