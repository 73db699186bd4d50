"""ClickHouse's configuration and users as they are deployed, loaded by ClickHouse's own engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infrastructure.deployment.folder import Folder, Plan
from ingestors import clickhouse, schema
from ingestors.progress import ProgressTable
from nervous_system.contract import ToolCall
from nervous_system.settings import Settings
from tests.integration import gateway_process
from tests.integration.chdb_as import EVERYTHING
from tests.integration.gateway_as import GatewayAs
from tests.samples import STREAM, batch, event, message

DATABASE = "enchanted"
EVENTS = "INSERT INTO events (log_stream, log_partition, log_sequence, event_id, tenant_id, event_type) VALUES "
ROWS = ", ".join(
    f"('SWARM@1', 0, {number}, generateUUIDv7(), '{tenant}', 'MESSAGE')"
    for number, tenant in enumerate(("acme", "acme", "beta"), 1)
)

# Where a user sees no table that is named like that.
MERGED_NOTHING = "!CANNOT_EXTRACT_TABLE_STRUCTURE"


class Engine:
    """A data folder of chDB with the tables in it, opened as one user after another."""

    def __init__(self, root: Path) -> None:
        self.users = Folder(root / "deployment").root / "clickhouse" / "users.xml"
        Folder(root / "deployment").write(Plan(("acme", "beta")))
        self._folder = root

    def answers(self, user: str, *statements: str) -> Sequence[str]:
        """What each statement gives; one that is refused, ``!`` and why."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.chdb_as", str(self._folder), str(self.users), user],
            input=json.dumps([f"USE {DATABASE}" if user != EVERYTHING else "SELECT 1", *statements]),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers: list[str] = json.loads(done.stdout)
        return answers[1:]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = Engine(tmp_path_factory.mktemp("chdb"))
    tables = [statement for name in schema.names() for statement in schema.statements(name)]
    made = engine.answers(
        EVERYTHING, f"CREATE DATABASE {DATABASE}", f"USE {DATABASE}", *schema.LEDGER, *tables, EVENTS + ROWS
    )
    assert [answer for answer in made if answer.startswith("!")] == []
    return engine


def refused(answer: str) -> bool:
    return answer.startswith("!") and ("ACCESS_DENIED" in answer or "READONLY" in answer)


def test_an_analyst_reads_one_tenants_rows_and_nothing_else(engine: Engine) -> None:
    reading = {
        "SELECT DISTINCT tenant_id FROM events": "acme\n",
        "SELECT count() FROM events": "2\n",
        "SELECT tenant_id, count() FROM swarm_events GROUP BY ALL": "acme\t2\n",
        "SELECT DISTINCT tenant_id FROM swarm_minutes": "acme\n",
        "SELECT count() FROM swarm_agents": "0\n",
        "SELECT count() FROM events WHERE tenant_id = 'beta' OR 1": "2\n",
        "SELECT toUInt8(tenant_id) FROM events WHERE tenant_id = 'beta'": "",
        "SELECT uniq(tenant_id) FROM events FINAL": "1\n",
        "SELECT count() FROM merge('enchanted', '^sink|^swarm_r') LIMIT 1": MERGED_NOTHING,
    }
    denied = (
        "SELECT * FROM sink_progress",
        "SELECT * FROM swarm_removed",
        EVENTS + ROWS,
        "ALTER TABLE events DELETE WHERE 1",
        "DROP TABLE events",
        "CREATE TABLE mine (a Int8) ENGINE = Memory",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SET readonly = 0",
    )
    limits = ("SET max_memory_usage = 0", "SET max_execution_time = 100000")
    telling = "SELECT toUInt8(concat('of ', tenant_id)) FROM events"
    answers = engine.answers("analyst_acme", *reading, *denied, *limits, telling)
    for statement, expected, answer in zip(reading, reading.values(), answers, strict=False):
        assert answer == expected or (expected.startswith("!") and expected[1:] in answer), statement
    rest = answers[len(reading) :]
    assert [answer for answer in rest[: len(denied)] if not refused(answer)] == []
    assert all("SETTING_CONSTRAINT_VIOLATION" in answer for answer in rest[len(denied) : -1]), rest
    # No error quotes another tenant's rows.
    assert "of acme" in rest[-1]
    assert "beta" not in rest[-1]


def test_an_ingestor_inserts_and_reads_no_event(engine: Engine) -> None:
    allowed = {
        EVENTS + "('SWARM@2', 1, 7, generateUUIDv7(), 'beta', 'MESSAGE')": "",
        "SELECT max(log_sequence), toUnixTimestamp64Micro(max(recorded)) > -1 FROM events "
        "WHERE log_stream = 'SWARM@2'": "7\t1\n",
        "SELECT max(sequence) FROM swarm_cursors": "0\n",
        "SELECT count() FROM swarm_removed": "0\n",
        "SELECT count() FROM schema_migrations FINAL": "0\n",
        "SELECT count() > 50 FROM system.columns WHERE database = 'enchanted' AND table = 'events'": "1\n",
        "INSERT INTO sink_progress (sink) VALUES ('clickhouse')": "",
        "CREATE TABLE events_trial_0 AS events": "",
        "INSERT INTO events_trial_0 (event_id) VALUES (generateUUIDv7())": "",
        "DROP TABLE IF EXISTS events_trial_0": "",
    }
    denied = (
        "SELECT tenant_id FROM events",
        "SELECT event_bytes FROM events",
        "SELECT * FROM swarm_events",
        "ALTER TABLE events DELETE WHERE 1",
        "TRUNCATE TABLE events",
        "DROP TABLE events",
        "CREATE TABLE other (a Int8) ENGINE = Memory",
    )
    answers = engine.answers("ingestor", *allowed, *denied)
    assert answers[: len(allowed)] == list(allowed.values())
    assert [answer for answer in answers[len(allowed) :] if not refused(answer)] == []


def test_each_other_user_may_do_its_work_alone(engine: Engine) -> None:
    progress = engine.answers(
        "progress", "INSERT INTO sink_progress (sink) VALUES ('ledger')", "SELECT count() FROM events"
    )
    assert progress[0] == ""
    assert refused(progress[1])
    janitor = engine.answers(
        "janitor",
        "INSERT INTO swarm_cursors VALUES ('SWARM@3', 0, 1, now())",
        "ALTER TABLE events DELETE WHERE log_stream = 'SWARM@1' AND log_sequence = 1 SETTINGS mutations_sync = 2",
        "SELECT count() FROM events WHERE log_stream = 'SWARM@1'",
        "SELECT sum(bytes_on_disk) > 0 FROM system.parts WHERE active AND database = currentDatabase()",
        "DROP TABLE events",
        EVENTS + ROWS,
    )
    assert janitor[:4] == ["", "", "2\n", "1\n"]
    assert all(map(refused, janitor[4:])), janitor
    grafana = engine.answers("grafana", "SELECT uniq(tenant_id) FROM swarm_events", EVENTS + ROWS)
    assert grafana[0] == "2\n"
    assert refused(grafana[1])


def test_the_ingestor_itself_works_with_no_more_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Folder(tmp_path / "deployment")
    deployment.write(Plan(("acme",)))
    gateway = GatewayAs(tmp_path / "gateway" / "data", users=deployment.root / "clickhouse" / "users.xml")
    settings = Settings(
        home=tmp_path,
        clickhouse_url=gateway.url,
        clickhouse_user=gateway_process.USER,
        clickhouse_password=gateway_process.PASSWORD,
        clickhouse_database=DATABASE,
    )
    gateway.data.parent.mkdir()
    gateway.user = "owner"
    gateway.start()
    try:
        maker = clickhouse.connect(replace(settings, clickhouse_database=""))
        maker.command(f"CREATE DATABASE {DATABASE}")
        client = clickhouse.connect(settings)
        assert schema.migrate(client) == schema.names()
        client.command("ALTER TABLE events ADD CONSTRAINT no_poison CHECK tool_call_name != 'poison'")
        gateway.stop()
        gateway.user = "ingestor"
        gateway.start()
        sink = clickhouse.ClickHouseSink(settings)
        sink.open()
        names = ("pytest", "poison", "ruff")
        whole = batch(
            message(7, [event(n, tool_call=ToolCall(name=name)) for n, name in enumerate(names)]), partition=2
        )
        refusals = sink.land(whole)
        assert [each.index for each in refusals] == [1]
        assert sink.land(whole.without(refusals)) == ()
        assert sink.cursor(STREAM, 2) == whole.cursor
        sink.check()
        sink.close()
        table = ProgressTable(settings)
        table.keep(
            [
                [
                    datetime.now(UTC),
                    "clickhouse",
                    2,
                    "recorded_landed",
                    "SWARM@1",
                    7,
                    *[datetime.now(UTC)] * 2,
                    0,
                    1,
                    2,
                    [1.0],
                ]
            ]
        )
        table.write()
        assert not table._kept
        there = schema.names()
        monkeypatch.setattr(schema, "names", lambda: [*there, "9999_of_a_later_version.sql"])
        with pytest.raises(schema.UnpreparedError, match=r"9999.*enchanted prepare"):
            sink.open()
    finally:
        gateway.stop()


def test_tables_of_a_cluster_are_replicated() -> None:
    statements = [*schema.LEDGER, *(each for name in schema.names() for each in schema.statements(name))]
    made = [
        schema.replicated(each) for each in statements if each.lstrip().startswith("CREATE TABLE") or "ENGINE" in each
    ]
    assert made
    assert all("ENGINE = Replicated" in each for each in made)
    assert schema.replicated("ENGINE = ReplacingMergeTree(x)") == "ENGINE = ReplicatedReplacingMergeTree(x)"
