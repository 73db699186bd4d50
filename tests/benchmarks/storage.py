"""``storage``: a million events in ClickHouse by codec, order key, index, rollup, and way to take an event once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from clickhouse_connect.driver.client import Client

from infrastructure.local.stack import running_stack
from ingestors import schema
from ingestors.clickhouse import ClickHouseSink, connect
from nervous_system.streams import StreamIdentity
from tests.benchmarks.swarm import PROJECTS, Swarm

EVENTS = int(os.environ.get("BENCH_EVENTS", "1000000"))
ROUNDS = 3
PROJECT = PROJECTS[5]
TYPED = f"tenant_id = '{PROJECT.tenant}' AND project_id = '{PROJECT.project}'"

CODECS = (
    "NONE",
    "LZ4",
    "ZSTD(1)",
    "ZSTD(3)",
    "Delta, ZSTD(1)",
    "DoubleDelta, ZSTD(1)",
    "T64, ZSTD(1)",
    "Gorilla, ZSTD(1)",
)
TEXTS = CODECS[:4]
BY_ID_TIME = "tenant_id, project_id, UUIDv7ToDateTime(event_id, 'UTC'), event_id"
ORDERS = {
    "tenant, project, time in the id, id": BY_ID_TIME,
    "tenant, project, timestamp, id": "tenant_id, project_id, timestamp, event_id",
    "tenant, project, agent, timestamp, id": "tenant_id, project_id, agent_id, timestamp, event_id",
    "tenant, project, type, timestamp, id": "tenant_id, project_id, event_type, timestamp, event_id",
    "tenant, project, id": "tenant_id, project_id, event_id",
    "id": "event_id",
}
FROM_FINAL = "FROM events FINAL"
ONCE = {
    "FINAL": FROM_FINAL,
    "LIMIT 1 BY": "FROM (SELECT * FROM events ORDER BY _rank DESC LIMIT 1 BY event_id)",
    "twice": "FROM events",
}
NARROW = {
    "one event by its id": "SELECT agent_id, rationale FROM {view} WHERE event_id = '{id}'",
    "one project's last 10 decisions": "SELECT timestamp, agent_id, rationale FROM {view} WHERE {project} "
    "AND event_type = 'DECISION' ORDER BY timestamp DESC LIMIT 10",
    "a minute of one project, every column": "SELECT * FROM {view} WHERE {project} AND timestamp >= '{minute}' "
    "AND timestamp < '{minute}'::DateTime + 60",
    "one mission, every column": "SELECT * FROM {view} WHERE {project} AND correlation_id = '{mission}'",
    "one file's life": "SELECT timestamp, agent_id, new_state_hash FROM {view} WHERE {project} AND target_resource = "
    "'src/part_0/module_40.py' ORDER BY timestamp",
    "an hour, by agent": "SELECT agent_id, count() FROM {view} WHERE timestamp >= '{minute}' "
    "AND timestamp < '{minute}'::DateTime + 3600 GROUP BY agent_id",
    "a rare word of a rationale": "SELECT count() FROM {view} WHERE hasToken(lower(rationale), '{word}')",
}
WIDE = {
    "count": "SELECT count() FROM {view}",
    "events by type": "SELECT event_type, count() FROM {view} GROUP BY event_type",
    "cost by agent": "SELECT agent_id, sum(cost_usd), sum(tokens) FROM {view} GROUP BY agent_id",
    "busiest files": "SELECT target_resource, count() FROM {view} WHERE event_type = 'STATE_CHANGE' "
    "GROUP BY target_resource ORDER BY 2 DESC LIMIT 10",
    "every payload as JSON": "SELECT sum(length(payload_json)) FROM {view}",
    "every column": "SELECT * FROM {view}",
}
WORD_INDEXES = {
    "none": "",
    "bloom filter of words, 32 kB": "tokenbf_v1(32768, 3, 0) GRANULARITY 1",
    "bloom filter of words, 8 kB": "tokenbf_v1(8192, 3, 0) GRANULARITY 1",
    "inverted index": "text(tokenizer = splitByNonAlpha)",
}
ROLLUP = "minute, agent_id, sum(events), sum(errors), sum(input_tokens), sum(cost_usd), sum(lines_added)"
ROLLUPS = {
    "a minute of one project": f"SELECT {ROLLUP} FROM {{view}} WHERE {{project}} "
    "AND minute = '{minute}' GROUP BY 1, 2",
    "an hour of one project": f"SELECT {ROLLUP} FROM {{view}} WHERE {{project}} AND minute >= '{{minute}}' "
    "AND minute < '{minute}'::DateTime + 3600 GROUP BY 1, 2",
    "all of one project": f"SELECT {ROLLUP} FROM {{view}} WHERE {{project}} GROUP BY 1, 2",
    "everything": f"SELECT {ROLLUP} FROM {{view}} GROUP BY 1, 2",
}
# What an incremental rollup must hold to stay exact: each event's id beside its numbers.
STATES = """
SELECT tenant_id, project_id, toStartOfMinute(timestamp) AS minute, agent_id, event_type, groupUniqArrayState((
    event_id, toUInt8(ifNull(tool_call_exit_code, 0) != 0 OR system_signal_status = 'ERROR'), tool_call_input_tokens,
    tool_call_cost_usd, ifNull(state_change_lines_added, 0))) AS seen
FROM events GROUP BY tenant_id, project_id, minute, agent_id, event_type
"""
OF_STATES = """
SELECT tenant_id, project_id, minute, agent_id, event_type, groupUniqArrayMerge(seen) AS known,
    length(known) AS events, arraySum(x -> x.2, known) AS errors, arraySum(x -> x.3, known) AS input_tokens,
    arraySum(x -> x.4, known) AS cost_usd, arraySum(x -> x.5, known) AS lines_added
FROM minute_states GROUP BY tenant_id, project_id, minute, agent_id, event_type
"""


def run(folder: Path) -> None:
    """Lands the events as the ingestor does, and measures on copies."""
    with running_stack(folder / "home", ["nats", "clickhouse"]) as settings:
        sink = ClickHouseSink(settings)
        sink.open()
        rate_bytes = _fill(sink)
        with connect(settings) as client:
            known = _known(client)
            print(f"\nstorage: {client.command('SELECT count() FROM swarm_events'):,} events, {rate_bytes}")
            _once(client, known)
            _rollups(client, known)
            _orders(client, known)
            _words(client, known)
            _codecs(client)
        sink.close()


def _fill(sink: ClickHouseSink) -> str:
    event_bytes = landing_s = 0.0
    for batch in Swarm().batches(EVENTS, StreamIdentity("BENCH", 1)):
        event_bytes += sum(len(landed.data) for message in batch.messages for landed in message.events)
        began_s = time.perf_counter()
        sink.land(batch)
        landing_s += time.perf_counter() - began_s
    return f"{event_bytes:,.0f} bytes of protobuf, landed in {landing_s:.1f} s"


def _known(client: Client) -> dict[str, str]:
    row = client.query(
        f"SELECT event_id, toString(toStartOfMinute(timestamp)), correlation_id FROM events WHERE {TYPED} "
        f"AND event_type = 'DECISION' ORDER BY timestamp LIMIT 1 OFFSET {EVENTS // 200}"
    ).result_rows[0]
    return {"id": str(row[0]), "minute": row[1], "mission": row[2], "word": "rare", "project": TYPED} | _rare(client)


def _rare(client: Client) -> dict[str, str]:
    words = client.query(
        "SELECT arrayJoin(tokens(lower(decision_rationale))) AS word, uniqExact(event_id) AS n FROM events "
        "WHERE event_type = 'DECISION' GROUP BY word HAVING n >= 3 ORDER BY n, word LIMIT 1"
    ).result_rows
    return {"word": words[0][0]}


def _ms(client: Client, question: str) -> float:
    """The least time of a question's answer, milliseconds, its rows made and thrown away."""
    times = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        client.raw_query(question, fmt="Null")
        times.append(1_000 * (time.perf_counter() - began_s))
    return min(times)


def _table(title: str, heads: Iterable[str], rows: Mapping[str, Iterable[str]]) -> None:
    print(f"\n{title}")
    print(f"  {'':44}" + "".join(f"{head:>22}" for head in heads))
    for name, cells in rows.items():
        print(f"  {name:44}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def _asked(
    client: Client, questions: Mapping[str, str], views: Iterable[str], known: Mapping[str, str]
) -> dict[str, list[str]]:
    return {
        name: [f"{_ms(client, text.format(view=view, **known)):,.0f}" for view in views]
        for name, text in questions.items()
    }


def _view(client: Client, name: str, source: str) -> str:
    (text,) = (text for text in schema.statements("0005_swarm_events.sql") if schema.VIEW in text)
    client.command(text.replace("VIEW swarm_events", f"VIEW {name}").replace(FROM_FINAL, source))
    return name


def _once(client: Client, known: Mapping[str, str]) -> None:
    views = [_view(client, f"once_{number}", source) for number, source in enumerate(ONCE.values())]
    parts, rows = client.query(
        "SELECT count(), sum(rows) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'events'"
    ).result_rows[0]
    for title, questions in (("narrow", NARROW), ("wide", WIDE)):
        _table(
            f"{title} questions, ms (best of {ROUNDS}; {rows:,} rows in {parts} parts)",
            ONCE,
            _asked(client, questions, views, known),
        )


def _rollups(client: Client, known: Mapping[str, str]) -> None:
    client.command(
        f"CREATE TABLE minute_states ENGINE = AggregatingMergeTree ORDER BY (tenant_id, project_id, minute, agent_id, "
        f"event_type) AS {STATES}"
    )
    client.command(f"CREATE VIEW minutes_of_states AS {OF_STATES}")
    rows = _asked(client, ROLLUPS, ["swarm_minutes", "minutes_of_states"], known)
    rows["bytes"] = ["0", f"{_bytes(client, 'minute_states'):,}"]
    _table("rollups by the minute, ms", ["view", "states that know ids"], rows)


def _orders(client: Client, known: Mapping[str, str]) -> None:
    tables = []
    for number, order in enumerate(ORDERS.values()):
        tables.append(table := f"order_{number}")
        client.command(f"CREATE TABLE {table} AS events ENGINE = ReplacingMergeTree(_rank) ORDER BY ({order})")
        _copy(client, table)
    views = [_view(client, f"of_{table}", f"FROM {table} FINAL") for table in tables]
    rows = _asked(client, NARROW | {"cost by agent": WIDE["cost by agent"]}, views, known)
    heads = [f"{number}" for number in range(len(ORDERS))]
    rows["bytes"] = [f"{_bytes(client, table):,}" for table in tables]
    _table("order keys: " + "; ".join(f"{n} = {o}" for n, o in enumerate(ORDERS)) + " (ms)", heads, rows)
    for view, table in zip(views, tables, strict=True):
        client.command(f"DROP VIEW {view}")
        client.command(f"DROP TABLE {table}")


def _words(client: Client, known: Mapping[str, str]) -> None:
    rows = {}
    for name, index in WORD_INDEXES.items():
        declared = f", INDEX words lower(decision_rationale) TYPE {index}" if index else ""
        client.command(
            "CREATE TABLE words (tenant_id String, project_id String, event_id UUID, _rank UInt128, "
            f"decision_rationale String CODEC(ZSTD){declared}) ENGINE = ReplacingMergeTree(_rank) "
            f"ORDER BY ({BY_ID_TIME})"
        )
        began_s = time.perf_counter()
        client.command(
            "INSERT INTO words SELECT tenant_id, project_id, event_id, _rank, decision_rationale FROM events"
        )
        client.command("OPTIMIZE TABLE words FINAL")
        made_s = time.perf_counter() - began_s
        asked = "SELECT count() FROM words FINAL WHERE hasToken(lower(decision_rationale), '{word}')".format(**known)
        index_bytes = client.command(
            "SELECT sum(secondary_indices_compressed_bytes) FROM system.parts WHERE active AND table = 'words' "
            "AND database = currentDatabase()"
        )
        rows[name] = [f"{_ms(client, asked):,.0f}", f"{index_bytes:,}", f"{made_s:.1f}"]
        client.command("DROP TABLE words")
    _table("a rare word, by index", ["ms", "bytes of the index", "s to insert and merge"], rows)


def _codecs(client: Client) -> None:
    """Bytes of each column alone, in the order in which it stands, by codec."""
    client.command("OPTIMIZE TABLE events FINAL")
    columns = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'events' "
        "AND default_kind != 'EPHEMERAL' AND data_uncompressed_bytes > 0 ORDER BY data_compressed_bytes DESC"
    ).result_rows
    rows = {name: ["" for _ in CODECS] + [""] for name, _ in columns}
    for place, codec in enumerate(CODECS):
        fitting = [
            (name, kind)
            for name, kind in columns
            if codec in (TEXTS if "String" in kind else CODECS)
            and not (codec.startswith(("Delta", "DoubleDelta", "T64", "Gorilla")) and not _takes(codec, kind))
        ]
        declared = ", ".join(f"{name} {kind} CODEC({codec})" for name, kind in fitting)
        names = ", ".join(name for name, _ in fitting)
        client.command(f"CREATE TABLE codec ({declared}) ENGINE = MergeTree ORDER BY tuple()")
        client.command(f"INSERT INTO codec SELECT {names} FROM events ORDER BY {BY_ID_TIME}")
        client.command("OPTIMIZE TABLE codec FINAL")
        for name, size in _column_bytes(client, "codec").items():
            rows[name][place] = f"{size:,}"
        client.command("DROP TABLE codec")
    for name, size in _column_bytes(client, "events").items():
        rows[name][-1] = f"{size:,}"
    rows["all"] = [""] * len(CODECS) + [f"{_bytes(client, 'events'):,}"]
    _table("columns, bytes by codec", [*CODECS, "as it is"], rows)


def _takes(codec: str, kind: str) -> bool:
    """Whether the codec is for columns of the type."""
    if kind.startswith(
        ("LowCardinality", "Array", "Map", "UUID", "UInt128", "Bool", "Nullable(Float64)")
    ) and not codec.startswith(("ZSTD", "LZ4", "NONE")):
        return False
    return not (codec.startswith("T64") and "Float" in kind) and not (
        codec.startswith("Gorilla") and "Float" not in kind
    )


def _copy(client: Client, table: str) -> None:
    names = client.command(
        "SELECT arrayStringConcat(groupArray(name), ', ') FROM system.columns WHERE table = 'events' "
        "AND database = currentDatabase() AND default_kind IN ('', 'DEFAULT')"
    )
    client.command(f"INSERT INTO {table} ({names}) SELECT {names} FROM events")
    client.command(f"OPTIMIZE TABLE {table} FINAL")


def _bytes(client: Client, table: str) -> int:
    return int(
        str(
            client.command(
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = "
                f"'{table}'"
            )
        )
    )


def _column_bytes(client: Client, table: str) -> dict[str, int]:
    answer = client.query(
        "SELECT name, data_compressed_bytes FROM system.columns WHERE database = currentDatabase() "
        f"AND table = '{table}' AND data_compressed_bytes > 0"
    )
    return {name: int(size) for name, size in answer.result_rows}
