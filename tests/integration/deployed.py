"""The compose file as docker-compose reads it, and its servers and services run as processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from infrastructure.local.site import program
from nervous_system.settings import read_env_file
from tests.integration.gateway_process import free_port
from tests.integration.nats_process import NatsServer

INFRASTRUCTURE = Path(__file__).parents[2] / "infrastructure"
COMPOSE = INFRASTRUCTURE / "docker-compose.yml"
PATIENCE_S = 60.0
# ${NAME}, ${NAME:-default} or ${NAME:?why it must be set}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def composed(variables: Mapping[str, str]) -> dict[str, Any]:
    """The compose file with its variables filled in."""

    def filled(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        value = variables.get(name, "")
        assert value or kind != "?", f"{name}: {rest}"
        return value or (rest if kind == "-" else "")

    def everywhere(part: Any) -> Any:
        if isinstance(part, dict):
            return {everywhere(key): everywhere(value) for key, value in part.items()}
        if isinstance(part, list):
            return [everywhere(each) for each in part]
        return VARIABLE.sub(filled, part) if isinstance(part, str) else part

    document: dict[str, Any] = everywhere(yaml.safe_load(COMPOSE.read_text()))
    return document


def replaced(text: str, words: Mapping[str, str]) -> str:
    """The text with each of the words replaced, the longest first, and what took a word's place left alone."""
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.sub(pattern, lambda match: words[match[0]], text)


def variables_of(folder: Path) -> dict[str, str]:
    """The ``.env`` of a deployment."""
    return read_env_file(folder / ".env")


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """A container's environment: nothing of this process's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    return {**kept, **own}


@contextmanager
def running(
    command: Sequence[str], own: Mapping[str, str], log: Path, *, ending: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended at the end by the signal ``ending``."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment(own), cwd=log.parent, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.send_signal(ending)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def nats_folder(deployment: Path, folder: Path, nats: NatsServer) -> Path:
    """The configuration as a container finds it, on other ports and with another place for its data."""
    folder.mkdir()
    for source in (INFRASTRUCTURE / "nats" / "nats.conf", *(deployment / "nats").iterdir()):
        (folder / source.name).write_text(source.read_text())
    config = folder / "nats.conf"
    text = config.read_text().replace("port: 4222", f'host: "127.0.0.1", port: {nats.port}')
    text = text.replace("127.0.0.1:8222", f"127.0.0.1:{nats.monitor_port}").replace('"/data"', f'"{folder}/data"')
    config.write_text(text)
    return config


@contextmanager
def running_nats(deployment: Path, folder: Path) -> Iterator[NatsServer]:
    """The server with the deployment's configuration."""
    nats = NatsServer(free_port(), free_port())
    config = nats_folder(deployment, folder, nats)
    command = [program("nats-server"), "--config", str(config), "--name", "nats"]
    with running(command, {}, folder / "log"):
        wait_healthy(f"{nats.monitor_url}/healthz?js-enabled-only=true", folder / "log")
        yield nats


def healthy(*arguments: str, own: Mapping[str, str] | None = None) -> bool:
    """Whether the image's own health check says so."""
    probe = [sys.executable, "-m", "nervous_system.telemetry.probe", *arguments]
    done = subprocess.run(probe, env=environment(own or {}), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode == 0


def wait_healthy(url: str, log: Path) -> None:
    """Returns once the page answers well."""
    from nervous_system.telemetry.probe import asked
    from tests.integration.stack_process import wait_until

    wait_until(lambda: asked(url)[0] == 200, f"{url}; its log: {log}")
