"""A NATS server of a test's own, configured as the test wants it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infrastructure.local.site import program
from tests.integration.stack_process import wait_until


@dataclass(frozen=True, slots=True)
class NatsServer:
    """Where it listens."""

    port: int
    monitor_port: int

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"


@contextmanager
def nats_server(folder: Path, *lines: str, jetstream: str = "") -> Iterator[NatsServer]:
    """A server with JetStream in ``folder``; ``lines`` go into its configuration, ``jetstream`` into that block."""
    server = NatsServer(free_port(), free_port())
    config = folder / "nats.conf"
    text = [f'host: "127.0.0.1"\nport: {server.port}\nhttp: "127.0.0.1:{server.monitor_port}"']
    config.write_text("\n".join([*text, f'jetstream {{ store_dir: "{folder / "data"}" {jetstream} }}', *lines]))
    process = subprocess.Popen(
        [program("nats-server"), "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _listens(server.port), "a NATS server")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
