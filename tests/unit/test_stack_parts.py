"""The embedded stack's parts that need no server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.local.backoff import Backoff
from infrastructure.local.components import choose, stack_variables
from infrastructure.local.credentials import load_secrets
from infrastructure.local.health import reported_health
from infrastructure.local.home import Home, write_private
from infrastructure.local.logs import rotate, tail
from infrastructure.local.ports import PortTakenError, PortWish, assign
from infrastructure.local.processes import Identity, stop
from infrastructure.local.site import Site, server_environment
from infrastructure.local.state import ChildState, Phase, StackState, read_state, write_state
from nervous_system.errors import SettingsError
from nervous_system.settings import Settings

WISHES = (PortWish("nats", 4222), PortWish("s3", 8333), PortWish("admin", twin_offset=10_000))


@given(
    st.sets(st.integers(20_000, 22_699), max_size=50),
    st.dictionaries(st.sampled_from(["nats", "s3", "admin"]), st.integers(1024, 65_535)),
    st.booleans(),
)
def test_assigned_ports_are_free_and_differ(taken: set[int], remembered: dict[str, int], usual_taken: bool) -> None:
    taken = taken | ({4222, 8333} if usual_taken else set())
    chosen = assign(WISHES, pinned={}, remembered=remembered, free=lambda port: port not in taken and port < 65_536)
    used = [*chosen.values(), chosen["admin"] + 10_000]
    assert len(set(used)) == len(used)
    assert not taken & set(used)
    assert max(used) < 65_536


def test_a_remembered_port_comes_before_the_usual_one() -> None:
    chosen = assign(WISHES, pinned={}, remembered={"nats": 5000}, free=lambda _: True)
    assert (chosen["nats"], chosen["s3"]) == (5000, 8333)


def test_nobody_gets_a_port_that_another_wish_pins() -> None:
    chosen = assign(WISHES, pinned={"s3": 4222}, remembered={}, free=lambda _: True)
    assert chosen["s3"] == 4222
    assert chosen["nats"] != 4222


def test_a_reserved_port_counts_as_taken() -> None:
    with pytest.raises(PortTakenError, match="Port 7,"):
        assign(WISHES, pinned={"s3": 7}, remembered={}, reserved=[7], free=lambda _: True)


def test_backoff_doubles_up_to_its_cap() -> None:
    backoff = Backoff(first_s=0.5, cap_s=30.0)
    assert [backoff.delay_s(failures) for failures in (1, 2, 3, 7, 100_000)] == [0.5, 1.0, 2.0, 30.0, 30.0]


def test_a_log_is_cut_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "nats.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 10)
        assert not rotate(log, max_bytes=40)
        writer.write(b"more\n")
        assert rotate(log, max_bytes=40)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "nats.log.1").read_bytes() == b"old\n" * 10 + b"more\n"


def test_tail_gives_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(map(str, range(10_000))))
    assert tail(log, 2) == "9998\n9999"
    assert tail(tmp_path / "none") == ""


def test_a_process_is_stopped_only_if_it_is_the_one(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    identity = Identity.of(process.pid)
    assert not stop(Identity(identity.pid, identity.created - 60), 1, group=True)
    assert psutil.pid_exists(process.pid)
    assert process.poll() is None
    assert stop(identity, 10, group=True)
    assert not stop(identity, 10, group=True)
    process.communicate()


def test_a_process_that_ignores_the_request_is_killed() -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout
    process.stdout.readline()
    identity = Identity.of(process.pid)
    assert stop(identity, 0.1, group=True)
    assert identity.process() is None
    process.communicate()


def test_state_is_read_as_written(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    assert read_state(home) is None
    me = Identity.of(os.getpid())
    state = StackState(me, Phase.RUNNING, (ChildState("nats", Phase.RESTARTING, "why", None, 3), ChildState("s3")))
    write_state(home, state)
    assert read_state(home) == state


@pytest.mark.parametrize("text", ["{", "[]", '{"supervisor": 1}', "\x00"])
def test_damaged_state_is_named(tmp_path: Path, text: str) -> None:
    home = Home.at(tmp_path)
    home.state_file.write_text(text)
    with pytest.raises(SettingsError, match=r"stack\.json is damaged"):
        read_state(home)


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "stack.env"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["stack.env"]


def test_a_shared_folder_is_not_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "theirs").touch()
    tmp_path.chmod(0o755)
    Home.at(tmp_path).make()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o700


def test_a_line_break_in_the_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="line break"):
        Home.at(tmp_path / "a\nENCHANTED_NATS_URL=nats://elsewhere")


@pytest.mark.parametrize(
    ("state", "age", "phase", "reason"),
    [
        ("running", timedelta(), Phase.RUNNING, "12 events"),
        ("starting", timedelta(hours=1), Phase.STARTING, "12 events"),
        ("retrying", timedelta(hours=1), Phase.UNHEALTHY, "retrying: 12 events"),
        ("running", timedelta(hours=1), Phase.UNHEALTHY, "it has not reported for 3600 s"),
    ],
)
def test_a_workers_report_is_understood(tmp_path: Path, state: str, age: timedelta, phase: Phase, reason: str) -> None:
    path = tmp_path / "health.json"
    path.write_text(
        json.dumps({"state": state, "detail": "12 events", "updated": (datetime.now(UTC) - age).isoformat()})
    )
    health = reported_health(path)
    assert (health.phase, health.reason) == (phase, reason)


@pytest.mark.parametrize("text", ["", "[]", '{"state": "running"}', '{"state": "running", "updated": 1}'])
def test_a_worker_without_a_report_is_starting(tmp_path: Path, text: str) -> None:
    path = tmp_path / "health.json"
    assert reported_health(path).phase is Phase.STARTING
    path.write_text(text)
    assert reported_health(path).phase is Phase.STARTING


def test_a_worker_is_led_to_the_stack_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCHANTED_NATS_URL", "nats://elsewhere:4222")
    monkeypatch.setenv("ENCHANTED_PARTITIONS", "7")
    home = Home.at(tmp_path / "home")
    home.make()
    secrets = load_secrets(home)
    components = choose(None)
    site = Site(home, {wish.name: 5000 for component in components for wish in component.ports}, secrets)
    site = replace(site, variables=stack_variables(components, site))
    launch = components[-1].launch(site)
    settings = Settings.load(launch.environment)
    assert (settings.home, settings.nats_url, settings.partitions) == (home.root, "nats://127.0.0.1:5000", 7)
    assert settings.nats_token == secrets["nats_token"]
    assert settings.ledger == f"embedded://{home.ledger_file}"
    assert not any(secret in word for secret in secrets.values() for word in launch.command)


def test_a_servers_environment_has_nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("WEED_JWT_SIGNING_KEY", "mine")
    assert "mine" not in server_environment(tmp_path).values()


def test_components_keep_their_start_order() -> None:
    names = ["nats", "clickhouse", "s3", "ingest-ledger", "ingest-clickhouse", "ingest-siphon", "sync", "snapshots"]
    assert [component.name for component in choose(reversed(names))] == names
    assert choose(["s3", "nats"]) != choose(None)
    with pytest.raises(SettingsError, match="There is no component kafka"):
        choose(["kafka"])
