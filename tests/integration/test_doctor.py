"""The doctor finds a whole stack well and leaves nothing behind; each check fails where there is reason to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from nats.js import api

from infrastructure.cli.doctoring import AREAS
from infrastructure.deployment.folder import Folder, Plan
from infrastructure.doctor import archive, lag, ledger, log, machine, questions, stack
from infrastructure.doctor.disks import room, room_at
from infrastructure.doctor.examination import Area, examine
from infrastructure.doctor.findings import Finding, Level, Patient
from infrastructure.local.stack import running_stack
from ingestors import clickhouse, schema, sharing
from ingestors.sharing import Roster
from nervous_system import bus, subjects
from nervous_system.archive import objects
from nervous_system.events import now_us
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.gate import Gate, Shut
from nervous_system.ledger.ledger import ROOT, SYSTEM, Ledger
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.chaos.disks import small_disk
from tests.integration.command import Enchanted
from tests.integration.deployed import running_nats
from tests.integration.nats_process import NatsServer, free_port, nats_server
from tests.integration.quick_command import Quick
from tests.integration.stack_process import StackCommands

HOUR_US = 3_600_000_000
OK, WARNING, FAILURE = Level.OK, Level.WARNING, Level.FAILURE


@pytest.fixture(scope="module")
def settings(whole_stack: Enchanted) -> Settings:
    return Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})


@pytest.fixture
def bare(tmp_path: Path) -> Settings:
    """A machine on which there is nothing."""
    return Settings(home=tmp_path / "home", partitions=2)


def levels(findings: list[Finding]) -> dict[str, Level]:
    """The worst of each check."""
    order = list(Level)
    found: dict[str, Level] = {}
    for finding in findings:
        found[finding.check] = max(found.get(finding.check, OK), finding.level, key=order.index)
    return found


def look(area: Area, patient: Patient) -> dict[str, Level]:
    return levels(examine(patient, {"area": area}))


def told(area: Area, settings: Settings) -> str:
    """The one sentence of an area that fails as a whole."""
    [finding] = examine(Patient(settings), {"area": area})
    assert finding.level is FAILURE
    return finding.sentence


def test_a_whole_stack_is_well_and_nothing_is_left_behind(whole_stack: Enchanted, settings: Settings) -> None:
    before = holdings(settings)
    found = json.loads(Quick(whole_stack.home).succeed("doctor", "--json"))
    assert holdings(settings) == before
    assert found["failure"] == 0, found
    checks = {finding["check"]: finding["level"] for finding in found["findings"]}
    for check in ("log: fsync", "log: publish", "ledger: write", "clickhouse: insert", "archive: write", "stack"):
        assert checks[check] == "ok"
    for check in ("log: clock", "clickhouse: clock", "archive: clock", "machine: secrets", "ingestors: siphon"):
        assert checks[check] == "ok"
    assert found["ok"] + found["warning"] == len(found["findings"])


def holdings(settings: Settings) -> tuple[int, int, list[str]]:
    """Messages of the log, rows of ClickHouse, and what the doctor could have written into the bucket."""

    async def messages() -> int:
        client = await bus.connect(settings)
        infos = [await client.jetstream().stream_info(name) for name in (settings.stream, subjects.DEAD_LETTER_STREAM)]
        await client.close()
        return sum(info.state.last_seq for info in infos)

    with clickhouse.connect(settings) as client:
        rows = client.query("SELECT count() FROM events").result_rows[0][0]
    bucket = objects.connect(settings).list_objects_v2(Bucket=settings.s3_bucket, Prefix="doctor")
    return asyncio.run(messages()), rows, [entry["Key"] for entry in bucket.get("Contents", [])]


def test_a_machine_without_anything_is_told_what_to_do(sandbox: Enchanted) -> None:
    code, said = Quick(sandbox.home).run("doctor")
    assert code == 1
    assert "enchanted up" in said
    assert "1 failed" in said


def test_wrong_keys_are_told_apart_from_servers_that_are_away(settings: Settings) -> None:
    wrong = replace(settings, nats_token="x", clickhouse_password="x", s3_secret_key="x")
    assert "ENCHANTED_NATS_TOKEN" in told(log.look, wrong)
    assert "ENCHANTED_CLICKHOUSE_PASSWORD" in told(questions.look, wrong)
    assert "ENCHANTED_S3_SECRET_KEY" in told(archive.look, wrong)
    away = f"127.0.0.1:{free_port()}"
    gone = replace(settings, nats_url=f"nats://{away}", clickhouse_url=f"http://{away}", s3_endpoint=f"http://{away}")
    for area in (log.look, questions.look):
        assert away in told(area, gone)


def test_what_hangs_is_given_up_in_time(settings: Settings) -> None:
    """The kernel takes the connections; nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        hanging = replace(
            settings, nats_url=f"nats://{address}", clickhouse_url=f"http://{address}", s3_endpoint=f"http://{address}"
        )
        areas: dict[str, Area] = {"log": log.look, "clickhouse": questions.look, "archive": archive.look}
        began = time.monotonic()
        found = examine(Patient(hanging, timeout_s=1.0), areas)
        took_s = time.monotonic() - began
    assert levels(found) == dict.fromkeys(areas, FAILURE)
    # ClickHouse's client may give up by itself a moment before.
    assert all("within 1 s" in finding.sentence for finding in found if finding.check != "clickhouse")
    # However loaded the machine is: nobody waited for the servers.
    assert took_s < 30


@pytest.mark.parametrize(("ahead_s", "level"), [(0, OK), (8, WARNING), (3_600, FAILURE), (-3_600, FAILURE)])
def test_a_clock_that_is_wrong_is_found_by_every_server(settings: Settings, ahead_s: int, level: Level) -> None:
    patient = Patient(settings, clock=lambda: now_us() + ahead_s * 1_000_000)
    found = levels(examine(patient, {"log": log.look, "clickhouse": questions.look, "archive": archive.look}))
    for server in ("log", "clickhouse", "archive"):
        assert found[f"{server}: clock"] is level


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS that acknowledges before it has written, with an account that may not publish everywhere."""
    users = (
        'authorization { users: [{ user: "all", password: "p" }, '
        '{ user: "agent", password: "p", permissions: { publish: { deny: "swarm.enchanted.>" } } }] }'
    )
    with nats_server(tmp_path_factory.mktemp("careless"), users) as server:
        yield server


def test_a_log_that_was_set_up_wrongly_is_found_out(
    careless: NatsServer, bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody reads there, however often one looks.
    monkeypatch.setattr(lag, "LOOK_EVERY_S", 0.01)
    own = replace(bare, nats_url=careless.url.replace("//", "//all:p@"), clickhouse_url="http://127.0.0.1:1")
    asyncio.run(neglect(own))
    patient = Patient(own, careless.monitor_url)
    found = look(log.look, patient)
    assert found["log: fsync"] is FAILURE
    assert found["log: publish"] is OK
    assert found["log: stream"] is OK
    assert found["log: dead letters"] is WARNING
    assert found["ingestors: clickhouse"] is FAILURE
    assert found["lag: clickhouse"] is OK
    late = look(log.look, replace(patient, clock=lambda: now_us() + HOUR_US))
    assert late["lag: clickhouse"] is WARNING
    more = replace(patient, settings=replace(own, partitions=3, replicas=3))
    assert look(log.look, more)["log: stream"] is FAILURE
    assert look(log.look, more)["log: copies"] is WARNING
    assert look(log.look, more)["lag: clickhouse"] is WARNING
    assert look(log.look, replace(patient, settings=replace(own, stream="OTHER")))["log: stream"] is FAILURE
    assert look(log.look, replace(patient, monitor_url=""))["log: fsync"] is WARNING
    assert look(log.look, replace(patient, monitor_url="http://127.0.0.1:1"))["log: fsync"] is WARNING


async def neglect(settings: Settings) -> None:
    """A message waits in one partition, a dead letter lies there, and consumers are left that nobody reads."""
    client = await bus.connect(settings)
    context = client.jetstream()
    await bus.ensure_stream(context, settings)
    await context.publish(subjects.published(ProjectName("acme", "shop"), subjects.EVENTS), b"waits")
    await context.publish(subjects.DEAD_LETTER_SUBJECTS.replace(">", "x").replace("*", "x"), b"dead")
    for partition in range(settings.partitions):
        consumer = api.ConsumerConfig(
            durable_name=subjects.consumer("clickhouse", partition), filter_subject=subjects.partition_filter(partition)
        )
        await context.add_consumer(settings.stream, consumer)
    await client.close()


def test_a_missing_permission_to_publish_is_found(
    careless: NatsServer, bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server does not answer whom it refuses.
    monkeypatch.setattr(log, "ANSWER_WITHIN_S", 2.0)
    own = replace(bare, nats_url=careless.url.replace("//", "//agent:p@"))
    patient = Patient(own, careless.monitor_url)
    assert look(log.look, replace(patient, role="agent")) == {
        "log: connection": OK,
        "log: version": OK,
        "log: publish": FAILURE,
        "log: fsync": FAILURE,
    }
    tenant = replace(own, nats_tenant="acme")
    assert look(log.look, replace(patient, settings=tenant, role="agent"))["log: publish"] is OK


def test_credentials_of_a_deployment_are_enough_for_whose_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lag, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(sharing, "BEAT_S", 0.05)
    monkeypatch.setattr(sharing, "LISTEN_S", 0.2)
    deployment = Folder(tmp_path / "deployment")
    deployment.write(Plan(("acme",)))
    with running_nats(deployment.root, tmp_path / "server") as server:
        plain = Settings(home=tmp_path, nats_url=server.url, ledger="fdb:")
        operator = credited(plain, deployment, "operator")
        asyncio.run(neglect(operator))
        for user, role, tenant in (
            ("operator", "operator", ""),
            ("ingestor", "ingestor", ""),
            ("acme", "agent", "acme"),
        ):
            own = credited(replace(plain, nats_tenant=tenant), deployment, f"tenant_{user}" if tenant else user)
            found = look(log.look, Patient(own, role=role))
            wrong = {check for check, level in found.items() if level is FAILURE}
            assert wrong == (set() if tenant else {"ingestors: ledger"}), role
        assert asyncio.run(heard(credited(plain, deployment, "ingestor"))) == {"one", "other"}


def credited(settings: Settings, deployment: Folder, user: str) -> Settings:
    password = (deployment.root / "secrets" / f"nats_{user}").read_text()
    return replace(settings, nats_user=user, nats_password=password)


async def heard(settings: Settings) -> set[str]:
    """Whom one ingestor knows, once another has spoken."""
    client = await bus.connect(settings)
    one, other = (Roster(client, "ledger", name) for name in ("one", "other"))

    async def speak() -> None:
        async with aclosing(other.shares(4)) as shares:
            async for _ in shares:
                pass

    speaking = asyncio.create_task(speak())
    async with asyncio.timeout(60), aclosing(one.shares(4)) as shares:
        async for partitions in shares:
            if partitions == [0, 2]:
                break
    members = one.members()
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    await client.close()
    return members


def test_tables_that_are_not_there_or_do_not_last_are_found(settings: Settings) -> None:
    own = replace(settings, clickhouse_database="doctored")
    with clickhouse.connect(settings) as client:
        client.command("CREATE DATABASE doctored")
        try:
            found = look(questions.look, Patient(own))
            assert (found["clickhouse: tables"], found["clickhouse: insert"]) == (FAILURE, FAILURE)
            careful = "fsync_after_insert = 1, fsync_part_directory = 1"
            made = f"(log_sequence UInt64) ENGINE = MergeTree ORDER BY log_sequence SETTINGS {careful}"
            client.command(f"CREATE TABLE doctored.events {made}")
            client.command("CREATE TABLE doctored.schema_migrations (name String) ENGINE = MergeTree ORDER BY name")
            client.insert("doctored.schema_migrations", [[name] for name in schema.names()], column_names=["name"])
            found = look(questions.look, Patient(own))
            assert (found["clickhouse: tables"], found["clickhouse: insert"], found["clickhouse: fsync"]) == (OK,) * 3
            client.command("ALTER TABLE doctored.events MODIFY SETTING fsync_after_insert = 0")
            client.insert("doctored.schema_migrations", [["9999_newer.sql"]], column_names=["name"])
            found = look(questions.look, Patient(own))
            assert (found["clickhouse: tables"], found["clickhouse: fsync"]) == (WARNING, FAILURE)
        finally:
            client.command("DROP DATABASE doctored")


def test_a_bucket_that_may_not_be_written_is_found(settings: Settings) -> None:
    own = replace(settings, s3_bucket="doctored")
    assert "doctored" in told(archive.look, own)
    client = objects.connect(settings)
    client.create_bucket(Bucket="doctored")
    try:
        assert look(archive.look, Patient(own))["archive: write"] is OK
        resource = "arn:aws:s3:::doctored/*"
        deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": resource}
        client.put_bucket_policy(Bucket="doctored", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
        assert look(archive.look, Patient(own))["archive: write"] is FAILURE
        assert look(archive.look, Patient(own, role="analyst"))["archive: write"] is OK
    finally:
        client.delete_bucket(Bucket="doctored")
        client.close()


def test_a_ledger_that_cannot_be_written_or_does_not_last_is_found(bare: Settings, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    own = replace(bare, ledger=f"embedded://{path}")
    assert levels(examine(Patient(own), {"ledger": ledger.look}))["ledger"] is FAILURE
    Ledger.open(own).close()
    assert look(ledger.look, Patient(own))["ledger: write"] is OK
    with closing(Ledger.open(own)) as opened, closing(open_engine(own.ledger)) as engine:
        opened.begin_rebuild()
        assert look(ledger.look, Patient(own))["ledger: gate"] is WARNING
        system = engine.directory((ROOT, SYSTEM))
        assert system is not None
        Gate(engine, system).shut(Shut.MOVED_AWAY)
        assert look(ledger.look, Patient(own))["ledger: gate"] is FAILURE
    holder = apsw.Connection(str(path))
    holder.execute("BEGIN IMMEDIATE")
    assert look(ledger.look, Patient(own))["ledger: write"] is WARNING
    holder.execute("ROLLBACK; PRAGMA journal_mode = DELETE")
    holder.close()
    assert look(ledger.look, Patient(own))["ledger: fsync"] is FAILURE
    path.write_bytes(b"no ledger at all" * 100)
    assert levels(examine(Patient(own), {"ledger": ledger.look}))["ledger"] is FAILURE


def test_secrets_that_others_may_read_are_found(bare: Settings, tmp_path: Path) -> None:
    bare.home.mkdir()
    own, key = bare.home / "stack.env", tmp_path / "key.pem"
    own.touch(0o600)
    key.touch(0o640)
    keyed = replace(bare, fdb_tls_key_file=str(key))
    assert look(machine.look, Patient(keyed))["machine: secrets"] is OK
    for path, mode in ((own, 0o640), (key, 0o644)):
        path.chmod(mode)
        assert look(machine.look, Patient(keyed))["machine: secrets"] is FAILURE
        path.chmod(0o600)
    assert look(machine.look, Patient(keyed))["machine: secrets"] is OK
    key.unlink()
    assert look(machine.look, Patient(keyed))["machine: secrets"] is FAILURE


def test_redaction_that_is_off_is_told(bare: Settings) -> None:
    assert look(machine.look, Patient(replace(bare, redaction="off")))["machine: redaction"] is WARNING
    assert look(machine.look, Patient(bare))["machine: redaction"] is OK


def test_outboxes_that_wait_or_are_damaged_are_found(bare: Settings) -> None:
    with Recorder("acme/shop", settings=bare, agent="ada") as recorder:
        recorder.signal()
    assert look(machine.look, Patient(bare))["outboxes"] is OK
    late = Patient(bare, clock=lambda: now_us() + HOUR_US)
    assert look(machine.look, late)["outbox: acme/shop"] is WARNING
    damaged = bare.outbox_folder / "acme" / "broken.db"
    damaged.write_bytes(b"no database" * 500)
    assert look(machine.look, Patient(bare))["outbox: acme/broken"] is FAILURE


def test_a_disk_is_judged_by_what_is_free() -> None:
    gigabyte = 1_000_000_000
    judged = [room("disk", free * gigabyte, 100 * gigabyte).level for free in (50, 9, 2, 0)]
    assert judged == [OK, WARNING, FAILURE, FAILURE]
    assert room("bucket", 1 << 63, 0).level is OK


def test_a_full_disk_is_found(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 128) as mounted:
        if not mounted:
            pytest.skip("this process may not mount a tmpfs, which takes root")
        assert room_at("disk", tmp_path / "small" / "not-there-yet").level is OK
        with (tmp_path / "small" / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, 120_000_000)
        assert room_at("disk", tmp_path / "small").level is FAILURE


def test_a_component_that_hangs_and_a_stack_that_is_down_are_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_stack(home, ["nats"]) as settings:
        assert look(stack.look, Patient(settings)) == {"stack": OK}
        assert look(log.look, Patient(settings, stack.monitor_url(settings)))["log: fsync"] is OK
        pid = StackCommands(home).pid("nats")
        os.kill(pid, signal.SIGSTOP)
        try:
            assert look(stack.look, Patient(settings, timeout_s=60))["stack: nats"] is FAILURE
        finally:
            os.kill(pid, signal.SIGCONT)
    assert look(stack.look, Patient(settings)) == {"stack": FAILURE}


def test_every_area_is_asked() -> None:
    assert set(AREAS.values()) == {each.look for each in (machine, stack, log, ledger, questions, archive)}
