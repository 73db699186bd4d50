"""The gateway as a process: what survives it, how it ends, and what it says when it cannot start."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.integration.gateway_process import GatewayProcess, environment, running_gateway

# Killed, or started and stopped, again and again: behind `make chaos`.
pytestmark = pytest.mark.slow


def test_an_acknowledged_insert_survives_kill(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "data").start()
    with gateway.client() as client:
        client.command("CREATE TABLE kept (a Int64) ENGINE = MergeTree ORDER BY a")
        client.insert("kept", [[number] for number in range(1000)], column_names=["a"])
        client.command("INSERT INTO kept VALUES (1000)")
    gateway.kill()
    with running_gateway(tmp_path / "data") as again, again.client() as client:
        assert client.query("SELECT count(), max(a) FROM kept").first_row == (1001, 1000)


def test_parts_are_synced_before_the_answer(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data") as gateway, gateway.client() as client:
        query = "SELECT name FROM system.merge_tree_settings WHERE name LIKE 'fsync_%' AND value = '1' ORDER BY name"
        assert client.query(query).result_columns[0] == ["fsync_after_insert", "fsync_part_directory"]


def test_sigterm_lets_a_running_query_finish(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "data").start()
    answers: list[object] = []

    def ask() -> None:
        with gateway.client() as client:
            answers.append(client.command("SELECT sleep(2) + 5"))

    thread = threading.Thread(target=ask)
    thread.start()
    with gateway.client() as client:
        while client.command("SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(2)%'") == 0:
            assert thread.is_alive()
    assert gateway.stop() == 0
    thread.join()
    assert answers == [5]


def refused(command: list[str], env: dict[str, str] | None = None) -> str:
    """What a gateway that exits with 2 says."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment() if env is None else env
    )
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"Port {port} on 127.0.0.1 is taken" in refused(GatewayProcess(tmp_path / "data", port).command())


def test_a_folder_that_is_held(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data"):
        assert "held by another process" in refused(GatewayProcess(tmp_path / "data").command())


def test_another_address_than_loopback(tmp_path: Path) -> None:
    assert "127.0.0.1 only" in refused(GatewayProcess(tmp_path / "data").command("--host", "0.0.0.0"))


def test_no_password(tmp_path: Path) -> None:
    env = {name: value for name, value in environment().items() if name != "ENCHANTED_CLICKHOUSE_PASSWORD"}
    assert "needs a password" in refused(GatewayProcess(tmp_path / "data").command(), env)


def test_a_password_file(tmp_path: Path) -> None:
    assert "cannot be read" in refused(GatewayProcess(tmp_path / "data").command("--password-file", str(tmp_path)))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refused(GatewayProcess(tmp_path / "file" / "data").command())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    gateway = GatewayProcess(tmp_path / "data").start()
    assert gateway.process is not None
    gateway.process.send_signal(number)
    assert gateway.process.wait(60) == 0
