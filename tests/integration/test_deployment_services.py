"""Every service of ours as the compose file starts it, its command and its environment, and SeaweedFS with its options.

What differs from a container: addresses, where mounts are, the ledger's engine (embedded, not FoundationDB) and
ClickHouse (chDB behind the gateway, which knows one user).
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from infrastructure.deployment.folder import Folder, Plan
from infrastructure.local.site import program
from nervous_system.archive.objects import ObjectStore
from nervous_system.errors import AccessError, UnavailableError
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.telemetry import probe
from tests.integration import gateway_process
from tests.integration.deployed import (
    COMPOSE,
    composed,
    environment,
    healthy,
    replaced,
    running,
    running_nats,
    variables_of,
    wait_healthy,
)
from tests.integration.gateway_process import free_port, running_gateway
from tests.integration.stack_process import wait_until
from tests.integration.stores import in_ledger
from tests.integration.syncing import Edge

WORKERS = ("ingest-ledger", "ingest-clickhouse", "ingest-siphon", "snapshots", "janitor", "otlp", "sync")
ENTRYPOINT = ("enchanted",)


@dataclass
class Host:
    """Stands in for the machine with the containers: says where in it a container's paths and addresses are.

    Args:
        root: of everything that the containers write.
        compose: the file, its variables filled in.
        addresses: what stands for the servers' addresses.
        own: variables that differ from what a container is given.
    """

    root: Path
    compose: dict[str, Any]
    addresses: dict[str, str]
    own: dict[str, str] = field(default_factory=dict)

    def command(self, name: str) -> list[str]:
        service = self.compose["services"][name]
        arguments = [self._placed(name, each) for each in service["command"]]
        return [sys.executable, "-m", "infrastructure.cli.main", *arguments]

    def environment(self, name: str) -> dict[str, str]:
        given = self.compose["services"][name]["environment"]
        return {variable: self._placed(name, str(value)) for variable, value in given.items()} | {
            variable: value for variable, value in self.own.items() if variable in given
        }

    def is_healthy(self, name: str) -> bool:
        """By the service's own health check."""
        kind, python, dash_m, module, *arguments = self.compose["services"][name]["healthcheck"]["test"]
        assert (kind, python, dash_m, module) == ("CMD", "python", "-m", "nervous_system.telemetry.probe")
        placed = [self._placed(name, each) for each in arguments]
        # The same question from here first, as a process for each try costs more than the services do.
        status, _ = probe.asked(probe.url(placed, self.environment(name)))
        return 0 < status < 500 and healthy(*placed, own=self.environment(name))

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        with running(self.command(name), self.environment(name), self.root / f"{name}.log") as process:
            yield process

    def _placed(self, name: str, text: str) -> str:
        return replaced(text, self.addresses | self._mounts(name) | {"0.0.0.0:9464": self._page(name)})

    def _page(self, name: str) -> str:
        return self.addresses.setdefault(f"page of {name}", f"127.0.0.1:{free_port()}")

    def _mounts(self, name: str) -> dict[str, str]:
        service = self.compose["services"][name]
        found = {f"/run/secrets/{each}": self.compose["secrets"][each]["file"] for each in service.get("secrets", ())}
        for mount in service.get("volumes", ()):
            source, target, *_ = mount.split(":")
            found[target] = str((COMPOSE.parent / source if "/" in source else self._volume(source)).resolve())
        return found | {"/tmp/": f"{self._volume('tmp')}/"}

    def _volume(self, name: str) -> Path:
        path = self.root / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path


@contextlib.contextmanager
def running_seaweedfs(host: Host, port: int) -> Iterator[None]:
    """SeaweedFS with the deployment's options on other ports."""
    configuration = Path(host.compose["services"]["seaweedfs"]["volumes"][1].split(":")[0]).parent
    (data := host.root / "seaweedfs").mkdir()
    moved = {"/etc/enchanted": str(configuration), "/data": str(data), "/tmp/": f"{host.root}/", "0.0.0.0": "127.0.0.1"}
    arguments = [replaced(each, moved) for each in host.compose["services"]["seaweedfs"]["command"]]
    arguments = [f"-s3.port={port}" if each.startswith("-s3.port=") else each for each in arguments]
    arguments = [f"-metricsPort={free_port()}" if each.startswith("-metricsPort") else each for each in arguments]
    servers = ("master", "volume", "filer", "s3")
    ports = [f"-{each}.port={free_port()}" for each in servers[:3]] + [
        f"-{each}.port.grpc={free_port()}" for each in servers
    ]
    log = host.root / "seaweedfs.log"
    with running([program("weed"), *arguments, *ports], {}, log, ending=signal.SIGKILL):
        wait_healthy(f"http://127.0.0.1:{port}/healthz", log)
        yield


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A deployment's servers, and its stores prepared."""
    root = tmp_path_factory.mktemp("deployed")
    deployment = Folder(root / "deployment")
    deployment.write(Plan(("acme", "beta")))
    (root / "password").write_text(f"{gateway_process.PASSWORD}\n")
    s3 = free_port()
    host = Host(root, composed(variables_of(deployment.root)), {"http://seaweedfs:8333": f"http://127.0.0.1:{s3}"})
    host.own = {
        "ENCHANTED_LEDGER": f"embedded://{root}/ledger/ledger.sqlite",
        "ENCHANTED_CLICKHOUSE_USER": gateway_process.USER,
        "ENCHANTED_CLICKHOUSE_PASSWORD_FILE": str(root / "password"),
    }
    (root / "ledger").mkdir()
    with contextlib.ExitStack() as servers:
        nats = servers.enter_context(running_nats(deployment.root, root / "nats"))
        gateway = servers.enter_context(running_gateway(root / "clickhouse"))
        servers.enter_context(running_seaweedfs(host, s3))
        host.addresses |= {"nats://nats:4222": nats.url, "http://clickhouse:8123": gateway.url}
        host.addresses["0.0.0.0:4318"] = host.addresses["127.0.0.1:4318"] = f"127.0.0.1:{free_port()}"
        done = subprocess.run(
            host.command("prepare"),
            env=environment(host.environment("prepare")),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield host


def settings_of(host: Host, name: str) -> Settings:
    """What a service of the deployment is set to."""
    return Settings.load(host.environment(name))


def test_every_service_comes_up_and_brings_a_tenants_events_to_the_stores(host: Host) -> None:
    ours = {name for name, each in host.compose["services"].items() if "enchanted:" in each["image"]}
    assert ours == {*WORKERS, "prepare", "prepare-2", "volumes"}
    with contextlib.ExitStack() as workers:
        processes = {name: workers.enter_context(host.running(name)) for name in WORKERS}
        for name, process in processes.items():
            log = host.root / f"{name}.log"
            wait_until(lambda name=name: host.is_healthy(name), f"{name} is healthy; {log}")  # type: ignore[misc]
            assert process.poll() is None, log.read_text()
        edge = Edge(settings_of(host, "sync"), ProjectName("acme", "shop"))
        edge.record(5)
        recorded = edge.recorded()
        ledger = settings_of(host, "ingest-ledger")
        wait_until(lambda: in_ledger(ledger, edge.project) == recorded, "the ledger has what the outbox had")


def test_who_may_only_read_the_archive_writes_nothing_to_it(host: Host) -> None:
    owner, siphon, reader = (ObjectStore(settings_of(host, name)) for name in ("prepare", "ingest-siphon", "snapshots"))
    for store in (owner, siphon, reader):
        store.check()
    assert siphon.put_new("events/v2/one", b"content")
    assert not siphon.put_new("events/v2/one", b"other")
    assert reader.get("events/v2/one") == b"content"
    assert list(reader.keys("events/v2/one")) == ["events/v2/one"]
    for refused in (
        lambda: reader.put("events/v2/two", b"x"),
        lambda: reader.put_new("events/v2/two", b"x"),
        lambda: reader.delete(["events/v2/one"]),
    ):
        with pytest.raises(AccessError):
            refused()
    assert reader.get("events/v2/one") == b"content"
    elsewhere = ObjectStore(replace(settings_of(host, "ingest-siphon"), s3_bucket="elsewhere"))
    with pytest.raises((AccessError, UnavailableError)):
        elsewhere.open()
    wrong = ObjectStore(replace(settings_of(host, "snapshots"), s3_secret_key="wrong"))
    with pytest.raises(AccessError):
        wrong.check()
    siphon.delete(["events/v2/one"])


def test_only_the_gateway_of_seaweedfs_is_reached_from_outside(host: Host) -> None:
    options = host.compose["services"]["seaweedfs"]["command"]
    assert {"-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0"} <= set(options)
    with socket.create_connection(("127.0.0.1", int(host.addresses["http://seaweedfs:8333"].rpartition(":")[2])), 5):
        pass
