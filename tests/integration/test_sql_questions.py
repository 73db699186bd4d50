"""The cookbook's questions have the answers that stand below them; each event counts once; indexes are used."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from ingestors.clickhouse import ClickHouseSink, connect
from nervous_system.contract import AgentDecision, Operation, ToolCall
from nervous_system.landing import LandedMessage
from nervous_system.settings import Settings
from tests.integration.known_swarm import KNOWN_HOPS, known_swarm
from tests.samples import batch, event, message, write

COOKBOOK = Path(__file__).parents[2] / "docs" / "sql-cookbook.md"
RECIPES = re.findall(
    r"^## (.+?)\n.*?```sql\n(.*?)```\n\n(\|.*?)\n(?:\n|\Z)", COOKBOOK.read_text(), re.DOTALL | re.MULTILINE
)
DATABASE = "questions"
_sequences = itertools.count(1_000)


@pytest.fixture(scope="module")
def asked(servers: Settings) -> Iterator[Settings]:
    """A database of which everything is known."""
    with connect(servers) as client:
        client.command(f"CREATE DATABASE {DATABASE}")
    settings = replace(servers, clickhouse_database=DATABASE)
    land(settings, *known_swarm())
    with connect(settings) as client:
        client.command(KNOWN_HOPS)
    yield settings
    with connect(servers) as client:
        client.command(f"DROP DATABASE {DATABASE}")


@pytest.fixture(scope="module")
def client(asked: Settings) -> Iterator[Client]:
    with connect(asked) as opened:
        yield opened


def land(settings: Settings, *messages: LandedMessage) -> None:
    """Lands each time under a name of its own, so that nothing is dropped as a retry of the same block."""
    sink = ClickHouseSink(settings)
    sink.open()
    assert not sink.land(batch(*messages, partition=next(_sequences)))
    sink.close()


def stored(client: Client) -> int:
    return int(str(client.command("SELECT count() FROM events")))


def plan(client: Client, question: str) -> str:
    return "\n".join(row[0] for row in client.query(f"EXPLAIN indexes = 1 {question}").result_rows)


def test_every_question_of_the_cookbook_is_read() -> None:
    titles = re.findall(r"^## (.+)$", COOKBOOK.read_text(), re.MULTILINE)
    assert [title for title, _, _ in RECIPES] == titles
    assert len(titles) >= 20


@pytest.mark.parametrize(("title", "question", "answer"), RECIPES, ids=[title for title, _, _ in RECIPES])
def test_a_question_has_its_answer(client: Client, title: str, question: str, answer: str) -> None:
    assert client.raw_query(question, fmt="Markdown").decode().strip() == answer, title


def test_what_is_landed_again_changes_no_answer(asked: Settings, client: Client) -> None:
    """Each event in blocks of others, and all in one block again, so that the table has each three times."""
    client.command("SYSTEM STOP MERGES events")
    once = stored(client)
    events = known_swarm()
    land(asked, *[replace(each, sequence=each.sequence + 100) for each in events])
    land(asked, *[replace(each, sequence=each.sequence + 200) for each in events[::2]])
    land(asked, *[replace(each, sequence=each.sequence + 200) for each in events[1::2]])
    assert stored(client) == 3 * once
    for title, question, answer in RECIPES:
        assert client.raw_query(question, fmt="Markdown").decode().strip() == answer, title
    assert client.command("SELECT sum(events) FROM swarm_minutes") == once
    client.command("SYSTEM START MERGES events")


def test_minutes_add_up_by_agent_and_type(client: Client) -> None:
    rows = client.query(
        "SELECT events, errors, input_tokens, output_tokens, cost_usd, duration_ms, lines_added, lines_removed "
        "FROM swarm_minutes WHERE minute = '2023-11-14 22:14:00' AND project_id = 'shop' "
        "AND (agent_id, event_type) IN (('eve', 'TOOL_CALL'), ('ada', 'STATE_CHANGE')) ORDER BY agent_id"
    ).result_rows
    assert rows == [(2, 0, 0, 0, 0.0, 0.0, 2, 2), (1, 1, 300, 100, 0.02, 5000.0, 0, 0)]


def test_the_payload_as_json_takes_no_room(client: Client) -> None:
    assert client.command("SELECT count() FROM system.columns WHERE table = 'events' AND name LIKE '%json%'") == 0
    row = client.query(
        "SELECT JSONExtractString(payload_json, 'decision', 'rationale'), "
        "JSONExtract(payload_json, 'decision', 'rejected_alternatives', 'Array(String)'), "
        "JSONExtractFloat(payload_json, 'decision', 'confidence_score') FROM swarm_events WHERE rationale LIKE 'Load%'"
    ).result_rows
    assert row == [("Load the whole queue into memory.", ["Stream it.", "Page it."], 0.4)]
    raw = client.query("SELECT event_bytes FROM swarm_events WHERE log_index = 0", query_formats={"String": "bytes"})
    kept = {landed.data for each in known_swarm() for landed in each.events}
    assert {row[0] for row in raw.result_rows} == kept


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("hasToken(lower(rationale), 'retry')", "rationale_words"),
        ("event_id = '018bcfe5-6800-7527-a891-e224136950ff'", "event_ids"),
        ("causation_id = '018bcfe5-6800-7527-a891-e224136950ff'", "causes"),
        ("correlation_id = 'mission-1'", "tasks"),
        ("target_resource = 'queue.py'", "resources"),
        ("timestamp < '2020-01-01'", "occurred_range"),
        ("recorded_at < '2020-01-01'", "recorded_range"),
    ],
)
def test_an_index_is_used(client: Client, condition: str, index: str) -> None:
    assert f"Name: {index}" in plan(client, f"SELECT count() FROM swarm_events WHERE {condition}")


def test_the_order_of_the_table_and_a_range_of_minutes_are_used(client: Client) -> None:
    steps = plan(
        client,
        "SELECT sum(events) FROM swarm_minutes WHERE tenant_id = 'acme' AND project_id = 'shop' "
        "AND minute >= '2023-11-14 22:14:00' AND minute < '2023-11-14 22:15:00'",
    )
    assert "Name: occurred_range" in steps
    keys = steps[steps.index("PrimaryKey") : steps.index("Condition")]
    assert "tenant_id" in keys
    assert "project_id" in keys


def test_a_rare_word_reads_few_granules(asked: Settings, client: Client) -> None:
    """One of many granules holds it: the others are not read."""
    common = [event(number, decision=AgentDecision(rationale=f"Common as word{number}.")) for number in range(900)]
    rare = event(5_000, decision=AgentDecision(rationale="Something Serendipitous happened."))
    client.command(
        "CREATE TABLE few AS events ENGINE = ReplacingMergeTree(_rank) ORDER BY event_id "
        "SETTINGS index_granularity = 50"
    )
    land(asked, message(900, [*common, rare]))
    names = client.command(
        "SELECT arrayStringConcat(groupArray(name), ', ') FROM system.columns WHERE table = 'events' "
        "AND database = currentDatabase() AND default_kind IN ('', 'DEFAULT')"
    )
    client.command(f"INSERT INTO few ({names}) SELECT {names} FROM events WHERE log_sequence = 900")
    question = "SELECT count() FROM few WHERE hasToken(lower(decision_rationale), 'serendipitous')"
    assert client.command(question) == 1
    words = plan(client, question).partition("Name: rationale_words")[2]
    found = re.search(r"Granules: (\d+)/(\d+)", words)
    assert found is not None
    assert int(found[1]) < int(found[2]) / 4
    client.command("DROP TABLE few")


def test_lines_of_a_new_file_and_an_error_are_known(asked: Settings, client: Client) -> None:
    made = write("new.txt", b"1\n2\n3", operation=Operation.OPERATION_CREATE)
    failed = ToolCall(name="make", exit_code=2, input_tokens=3, output_tokens=4)
    land(asked, message(901, [event(6_001, state_change=made), event(6_002, tool_call=failed)]))
    rows = client.query(
        "SELECT lines_added, lines_removed, is_error, tokens FROM swarm_events WHERE log_sequence = 901 "
        "ORDER BY log_index"
    ).result_rows
    assert rows == [(3, 0, False, 0), (None, None, True, 7)]
