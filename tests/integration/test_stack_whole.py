"""Every component of the embedded stack at once, as `enchanted up` starts it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infrastructure.local import stack
from infrastructure.local.components import choose
from tests.integration.stack_process import StackCommands, wait_until

# Killed, or started and stopped, again and again: behind `make chaos`.
pytestmark = pytest.mark.slow


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[StackCommands]:
    commands = StackCommands(tmp_path / "home")
    yield commands
    stack.stop(commands.home)
    assert commands.survivors() == []


def test_all_components_run_and_come_back(commands: StackCommands) -> None:
    commands.up()
    status = commands.status()
    assert status["healthy"]
    assert [entry["component"] for entry in status["components"]] == [component.name for component in choose(None)]
    workers = [entry for entry in status["components"] if entry["component"].startswith("ingest-")]
    assert [entry["lag"] for entry in workers] == [0, 0, 0]
    for entry in status["components"]:
        connections = psutil.Process(entry["pid"]).net_connections("tcp")
        listening = {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
        assert listening <= {"127.0.0.1"}

    for entry in status["components"]:
        os.kill(entry["pid"], signal.SIGKILL)
    wait_until(lambda: commands.status()["healthy"], "health after all were killed")
    after = commands.status()["components"]
    assert all(entry["restarts"] >= 1 for entry in after)
    assert [entry["address"] for entry in after] == [entry["address"] for entry in status["components"]]
