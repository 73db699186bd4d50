"""The embedded stack's life: up, status, restart, down, and what is left when its supervisor is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psutil
import pytest

from infrastructure.local import stack
from infrastructure.local.home import Home
from infrastructure.local.processes import Identity
from infrastructure.local.state import ChildState, Phase, StackState, write_state
from nervous_system.settings import Settings, read_env_file
from tests.integration.stack_process import StackCommands, wait_until

if TYPE_CHECKING:
    from types_boto3_s3.service_resource import Bucket


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[StackCommands]:
    """Commands on a home whose path has a space and letters beyond ASCII."""
    commands = StackCommands(tmp_path / "Zuhause für alle")
    yield commands
    stack.stop(commands.home)
    assert commands.survivors() == []


def test_up_status_restart_down(commands: StackCommands) -> None:
    commands.up("nats", "s3")
    plain = commands.run("status")
    assert plain.returncode == 0
    assert [line.split()[2] for line in plain.stdout.splitlines()[1:]] == ["running", "running"]

    again = commands.run("up")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "Enchanted runs already.")

    before = commands.component("nats")
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: commands.component("nats")["restarts"] == 1, "the restart")
    wait_until(lambda: commands.component("nats")["health"] == "running", "health after the restart")
    after = commands.component("nats")
    assert after["pid"] != before["pid"]
    assert after["address"] == before["address"]

    down = commands.run("down")
    assert (down.returncode, down.stdout) == (0, "Enchanted is stopped.\n")
    assert commands.survivors() == []
    assert commands.run("down").stdout == "Enchanted is not running.\n"
    absent = commands.run("status")
    assert absent.returncode == 3
    assert "enchanted up" in absent.stdout


def test_status_shows_why_a_component_does_not_come_back(commands: StackCommands) -> None:
    commands.up("nats")
    configuration = commands.home / "nats"
    os.kill(commands.pid("nats"), signal.SIGKILL)
    # A folder in place of the file that every start writes.
    (configuration / "nats.conf").unlink()
    (configuration / "nats.conf").mkdir()
    wait_until(lambda: "nats.conf cannot be written" in commands.component("nats")["reason"], "the reason")
    assert commands.run("status").returncode == 1
    (configuration / "nats.conf").rmdir()
    wait_until(lambda: commands.component("nats")["health"] == "running", "the recovery")


def test_settings_and_secrets_are_private_and_remembered(commands: StackCommands) -> None:
    commands.up("nats")
    files = [commands.home / name for name in ("stack.env", "secrets.json", "nats/nats.conf", "logs/nats.log")]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert commands.home.stat().st_mode & 0o777 == 0o700
    before = read_env_file(commands.home / "stack.env")
    assert before["ENCHANTED_NATS_URL"] == f"nats://127.0.0.1:{commands.ports()['nats']}"
    assert before["ENCHANTED_LEDGER"] == f"embedded://{commands.home}/ledger/ledger.sqlite"
    commands.run("down")
    commands.up("nats")
    assert read_env_file(commands.home / "stack.env")["ENCHANTED_NATS_TOKEN"] == before["ENCHANTED_NATS_TOKEN"]


def test_down_stops_what_a_killed_supervisor_left(commands: StackCommands) -> None:
    commands.up("nats")
    child = Identity.of(commands.pid("nats"))
    kill_supervisor(commands)
    assert child.process()
    shown = commands.run("status")
    assert shown.returncode == 3
    assert "supervisor was killed" in shown.stdout
    assert commands.run("down").stdout == "Enchanted is stopped.\n"
    assert child.process() is None


@pytest.mark.slow
def test_up_after_a_killed_supervisor_replaces_what_it_left(commands: StackCommands) -> None:
    commands.up("nats")
    child, ports = Identity.of(commands.pid("nats")), commands.ports()
    kill_supervisor(commands)
    commands.up("nats")
    assert child.process() is None
    assert commands.ports() == ports
    assert commands.component("nats")["health"] == "running"


def test_processes_that_got_old_ids_are_left_alone(commands: StackCommands) -> None:
    Home.at(commands.home).make()
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        old = Identity(bystander.pid, psutil.Process(bystander.pid).create_time() - 3600)
        state = StackState(old, Phase.RUNNING, (ChildState("nats", Phase.RUNNING, process=old),))
        write_state(Home.at(commands.home), state)
        assert commands.run("status").returncode == 3
        assert commands.run("down").stdout == "Enchanted is not running.\n"
        commands.up("nats")
        assert commands.component("nats")["pid"] != bystander.pid
        assert bystander.poll() is None
    finally:
        bystander.communicate()


def test_a_process_that_nobody_wrote_down_is_named_and_not_killed(commands: StackCommands) -> None:
    Home.at(commands.home).make()
    hold = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(1); input()"
    holder = subprocess.Popen(
        [sys.executable, "-uc", hold, str(commands.home / "stack.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout
    holder.stdout.readline()
    try:
        refused = commands.run("up", "--only", "nats")
        assert refused.returncode == 2
        assert f"Stop it yourself: {holder.pid} (" in refused.stderr
        assert holder.poll() is None
    finally:
        holder.communicate()


def test_concurrent_ups_make_one_stack(commands: StackCommands) -> None:
    ups = [commands.start("up", "--only", "nats") for _ in range(3)]
    answers = [process.communicate(timeout=60) for process in ups]
    assert [process.returncode for process in ups] == [0, 0, 0], answers
    first_lines = sorted(out.splitlines()[0] for out, _ in answers)
    assert first_lines == ["Enchanted is running.", "Enchanted runs already.", "Enchanted runs already."]
    assert len(commands.survivors()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_foreground_stops_in_reverse_order(commands: StackCommands, number: signal.Signals) -> None:
    process = commands.start("up", "--foreground", "--only", "nats", "--only", "s3")
    wait_until((commands.home / "stack.json").exists, "the supervisor")
    wait_until(lambda: commands.state().phase is Phase.RUNNING, "the stack")
    # Ctrl-C in a terminal goes to the whole group: children must not be in it.
    assert {os.getsid(commands.pid(name)) == commands.pid(name) for name in ("nats", "s3")} == {True}
    assert commands.run("up").stdout.startswith("Enchanted runs already.")
    process.send_signal(number)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert log.index("s3 stopped") < log.index("nats stopped")
    assert commands.survivors() == []


def test_up_waits_for_a_stack_that_is_stopping(commands: StackCommands) -> None:
    first = commands.start("up", "--foreground", "--only", "nats", "--only", "s3")
    wait_until((commands.home / "stack.json").exists, "the supervisor")
    wait_until(lambda: commands.state().phase is Phase.RUNNING, "the stack")
    old = commands.state().supervisor
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: commands.state().phase is Phase.STOPPED, "its stopping")
    assert old.process()
    commands.up("nats")
    assert commands.state().supervisor != old
    assert commands.component("nats")["health"] == "running"
    first.communicate(timeout=60)


def test_down_stops_a_stack_in_the_foreground(commands: StackCommands) -> None:
    process = commands.start("up", "--foreground", "--only", "nats")
    wait_until((commands.home / "stack.json").exists, "the supervisor")
    assert commands.run("down").stdout == "Enchanted is stopped.\n"
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_an_interrupted_up_leaves_nothing(commands: StackCommands) -> None:
    process = commands.start("up", "--only", "nats", "--only", "s3")
    wait_until((commands.home / "stack.json").exists, "the supervisor")
    wait_until(lambda: commands.state().child("s3").process is not None, "the last component's process")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert commands.survivors() == []


@pytest.mark.slow
def test_objects_outlive_a_killed_server_and_other_ports(commands: StackCommands) -> None:
    commands.up("s3")
    bucket(commands).put_object(Key="first", Body=b"1")
    os.kill(commands.pid("s3"), signal.SIGKILL)
    wait_until(lambda: commands.state().child("s3").restarts == 1, "the restart")
    wait_until(lambda: commands.state().child("s3").phase is Phase.RUNNING, "health")
    assert content(commands, "first") == b"1"
    bucket(commands).put_object(Key="second", Body=b"2")
    commands.run("down")
    ports = commands.ports()
    (commands.home / "ports.json").unlink()
    commands.up("s3")
    assert commands.ports()["s3_master"] != ports["s3_master"]
    bucket(commands).put_object(Key="third", Body=b"3")
    assert [content(commands, key) for key in ("first", "second", "third")] == [b"1", b"2", b"3"]


def bucket(commands: StackCommands) -> Bucket:
    settings = Settings.load({"ENCHANTED_HOME": str(commands.home)})
    service = boto3.resource(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
    )
    return service.Bucket(settings.s3_bucket)


def content(commands: StackCommands, key: str) -> bytes:
    return bucket(commands).Object(key).get()["Body"].read()


def test_a_stack_whose_folder_is_removed_stops(commands: StackCommands) -> None:
    commands.up("nats")
    processes = [commands.state().supervisor, Identity.of(commands.pid("nats"))]
    (commands.home / "stack.lock").unlink()
    wait_until(lambda: not any(identity.process() for identity in processes), "the end")


def test_addresses_in_the_environment_are_pointed_out(commands: StackCommands) -> None:
    done = commands.run("up", "--only", "nats", ENCHANTED_NATS_URL="nats://elsewhere:4222")
    assert done.returncode == 0
    assert "ENCHANTED_NATS_URL in the environment" in done.stderr


def test_what_a_stack_was_not_started_with_is_named(commands: StackCommands) -> None:
    assert "Note" not in commands.run("up", "--only", "nats").stderr
    again = commands.run("up", "--only", "nats", "--only", "s3")
    assert again.stdout.startswith("Enchanted runs already.")
    assert "Note: not started with it: s3. `enchanted down`, then `enchanted up`." in again.stderr


def kill_supervisor(commands: StackCommands) -> None:
    supervisor = commands.state().supervisor
    os.kill(supervisor.pid, signal.SIGKILL)
    wait_until(lambda: supervisor.process() is None, "the supervisor's end")
