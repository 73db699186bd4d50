"""The ClickHouse gateway as a process of its own, for tests that need a server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

USER = "default"
PASSWORD = "pass'word"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class GatewayProcess:
    """A gateway on ``data``. ``start`` returns once it answers; ``stop`` and ``kill`` once it is gone."""

    data: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> GatewayProcess:
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = (self.data.parent / f"{self.data.name}.log").open("ab")
        self.process = subprocess.Popen(self.command(), env=environment(), stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway did not start: {Path(self.log.name).read_text()}")
            time.sleep(0.02)
        return self

    def command(self, *more: str) -> list[str]:
        """The command line; what ``more`` repeats, it overrides."""
        options = ["--data", str(self.data), "--port", str(self.port), "--user", USER, *more]
        return [sys.executable, "-m", "infrastructure.local.gateway", *options]

    def stop(self) -> int:
        """Asks it to end; returns its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def client(self, **options: Any) -> Any:
        """A clickhouse-connect client."""
        import clickhouse_connect

        options = {"username": USER, "password": PASSWORD, **options}
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.port, **options)

    def _answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.url}/ping") as answer:
            return bool(answer.status == 200)
        return False

    def _end(self, number: int) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        code = self.process.wait(_STOP_TIMEOUT_S)
        if self.log is not None:
            self.log.close()
        return code


def environment() -> dict[str, str]:
    """The environment of a gateway: the password, and nothing else of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    return {**kept, "ENCHANTED_CLICKHOUSE_PASSWORD": PASSWORD}


@contextlib.contextmanager
def running_gateway(data: Path) -> Iterator[GatewayProcess]:
    """A gateway on ``data`` for the time of the block."""
    gateway = GatewayProcess(data).start()
    try:
        yield gateway
    finally:
        gateway.stop()
