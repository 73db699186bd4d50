"""What keeps the embedded stack from starting is said in a sentence, and leaves nothing behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infrastructure.local import stack
from infrastructure.local.ports import CANDIDATES, is_free
from tests.integration.stack_process import StackCommands

# Takes the port that NATS was given, just before NATS is started for the first time.
RACE = """
import dataclasses, pathlib, socket, sys
from infrastructure.local.components import choose
from infrastructure.local.home import Home
from infrastructure.local.supervisor import Supervisor

rival = socket.socket()
(nats,) = choose(["nats"])

def launch(site):
    if rival.getsockname()[1] == 0:
        rival.bind(("127.0.0.1", site.ports["nats"]))
        rival.listen()
    return nats.launch(site)

home = Home.at(pathlib.Path(sys.argv[1]))
home.make()
supervisor = Supervisor(home, (dataclasses.replace(nats, launch=launch),), {}, 60)
supervisor._attend = lambda: None
supervisor.run()
print(rival.getsockname()[1])
"""


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[StackCommands]:
    commands = StackCommands(tmp_path / "home")
    yield commands
    stack.stop(commands.home)
    assert commands.survivors() == []


@contextmanager
def occupied(port: int) -> Iterator[int]:
    """Listens at ``port``, unless another process does so already."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_free(port):
            server.bind(("127.0.0.1", port))
            server.listen()
        yield port


def free_port() -> int:
    return next(port for port in reversed(CANDIDATES) if is_free(port))


def test_taken_ports_are_avoided_and_the_choice_is_remembered(commands: StackCommands) -> None:
    with occupied(4222), occupied(8222):
        commands.up("nats")
        chosen = commands.ports()
        assert chosen["nats"] != 4222
        assert chosen["nats_monitor"] != 8222
        commands.run("down")
    commands.up("nats")
    assert commands.ports() == chosen


def test_a_remembered_port_that_is_taken_is_replaced(commands: StackCommands) -> None:
    commands.up("nats")
    before = commands.ports()
    commands.run("down")
    with occupied(before["nats"]):
        commands.up("nats")
        after = commands.ports()
    assert after["nats"] != before["nats"]
    assert after["nats_monitor"] == before["nats_monitor"]
    assert commands.component("nats")["address"] == f"nats://127.0.0.1:{after['nats']}"


def test_a_port_lost_to_another_process_while_starting_is_replaced(commands: StackCommands) -> None:
    done = subprocess.run([sys.executable, "-c", RACE, commands.home], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gets other ports" in done.stderr
    assert commands.ports()["nats"] != int(done.stdout)


def test_a_pinned_port_is_used(commands: StackCommands) -> None:
    port = free_port()
    assert commands.run("up", "--only", "nats", ENCHANTED_NATS_PORT=str(port)).returncode == 0
    assert commands.ports()["nats"] == port


def test_a_pinned_port_that_is_taken_is_refused(commands: StackCommands) -> None:
    with occupied(free_port()) as port:
        for arguments in (["up"], ["up", "--foreground"]):
            refused = commands.run(*arguments, "--only", "nats", "--nats-port", str(port))
            assert refused.returncode == 2
            assert f"Port {port}, which was asked for nats, is taken" in refused.stderr
            assert "--nats-port" in refused.stderr


def test_a_port_pinned_twice_is_refused(commands: StackCommands) -> None:
    port = str(free_port())
    refused = commands.run("up", "--only", "nats", "--nats-port", port, "--nats-monitor-port", port)
    assert refused.returncode == 2
    assert f"Port {port}" in refused.stderr


def test_what_started_is_stopped_when_a_later_component_cannot(commands: StackCommands) -> None:
    commands.home.mkdir()
    (commands.home / "s3").write_text("not a folder")
    refused = commands.run("up", "--only", "nats", "--only", "s3")
    assert refused.returncode == 2
    assert f"{commands.home}/s3 cannot be made" in refused.stderr
    assert commands.survivors() == []
    assert commands.run("status").returncode == 3


def test_a_component_that_dies_at_once_is_named_with_its_log(commands: StackCommands) -> None:
    (commands.home / "nats").mkdir(parents=True)
    (commands.home / "nats" / "data").write_text("not a folder")
    refused = commands.run("up", "--only", "nats")
    assert refused.returncode == 2
    assert refused.stderr.startswith("nats does not start: it ended with exit code 1. The end of its log, ")
    assert "Can't start JetStream" in refused.stderr


def test_a_component_that_is_late_is_named(commands: StackCommands) -> None:
    refused = commands.run("up", "--only", "s3", "--timeout", "1")
    assert refused.returncode == 2
    assert refused.stderr.startswith("s3 was not ready in time: ")


def test_an_unknown_component_is_refused(commands: StackCommands) -> None:
    refused = commands.run("up", "--only", "kafka")
    assert refused.returncode == 2
    assert "There is no component kafka: choose from nats, clickhouse, s3" in refused.stderr


@pytest.mark.parametrize("home", ["/dev/null/home", "/proc/home", "/tmp/" + "x" * 300])
def test_a_home_that_cannot_be_made_is_refused(home: str) -> None:
    refused = StackCommands(Path(home)).run("up", "--only", "nats")
    assert refused.returncode == 2
    assert refused.stderr.startswith(home)
    assert " cannot be " in refused.stderr


def test_a_long_home_works(tmp_path: Path) -> None:
    home = tmp_path / ("n" * 120) / ("m" * 120)
    with stack.running_stack(home, ["nats", "s3"]) as settings:
        assert settings.home == home


def test_a_full_disk_is_said(commands: StackCommands) -> None:
    commands.up("nats")
    commands.run("down")
    # No file may grow: what a full disk does, without one.
    script = 'ulimit -f 0; exec "$0" -m infrastructure.cli.stack up --only nats'
    refused = subprocess.run(
        ["sh", "-c", script, sys.executable],
        env={"ENCHANTED_HOME": str(commands.home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "cannot be written: " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_damaged_file_is_named(commands: StackCommands) -> None:
    commands.home.mkdir()
    (commands.home / "secrets.json").write_text('{"nats_token"')
    refused = commands.run("up", "--only", "nats")
    assert refused.returncode == 2
    assert f"{commands.home}/secrets.json is damaged" in refused.stderr
