"""A deployment's folder: secrets, the servers' configuration that follows from them, and docker-compose's ``.env``."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infrastructure.deployment import roles, servers
from infrastructure.local.errors import explained
from infrastructure.local.home import write_private
from nervous_system.errors import SettingsError
from nervous_system.settings import read_env_file

ENVIRONMENT = ".env"
# Who the containers are where root makes the deployment: never root.
CONTAINER_ID = 10001
NATS_SERVERS = ("nats", "nats-2", "nats-3")
CLICKHOUSE_SERVERS = ("clickhouse", "clickhouse-2")
KEEPERS = ("keeper-1", "keeper-2", "keeper-3")
FOUNDATIONDB_ADDRESSES = ("172.28.77.10", "172.28.77.11", "172.28.77.12")
SIGNING_KEY = "archive_signing_key"
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Plan:
    """What is deployed: for which tenants, and whether on one server of each kind or several."""

    tenants: tuple[str, ...]
    is_cluster: bool = False


class DeploymentExistsError(SettingsError):
    """The folder has a deployment already."""


class Folder:
    """Where a deployment is written. Every file has mode 0600, every folder 0700; raises SettingsError."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.environment_file = self.root / ENVIRONMENT
        self._made: list[Path] = []

    def write(self, plan: Plan, *, force: bool = False) -> list[Path]:
        """Makes what is missing, and gives the files that were written.

        Args:
            plan: with ``force``, its tenants are added to those that there are.
            force: write into a deployment that there is. Its secrets and the lines of its ``.env`` stay as they are;
                the servers' configuration, which follows from them, is written anew.

        Raises:
            DeploymentExistsError: there is a deployment, and it is not to be written into.
        """
        self._made = []
        if self.root.exists() and any(self.root.iterdir()) and not force:
            raise DeploymentExistsError(
                f"{self.root} is not empty: name another folder. With --force a deployment there is brought up to "
                "date; its secrets and the lines of its .env stay."
            )
        for name in ("", "secrets", "nats", "clickhouse", "foundationdb", "seaweedfs", "tls"):
            self._folder(name)
        known = read_env_file(self.environment_file)
        plan = _grown(plan, known)
        self._environment(plan, known)
        self._signing_key()
        for path, text in self._configuration(plan):
            self._put(path, text)
        self._once("nats/tls.conf", lambda: "# No TLS. docs/deployment.md says what belongs here.\n")
        self._once("foundationdb/fdb.cluster", lambda: _cluster_file(plan))
        self._hand_over()
        return self._made

    def _configuration(self, plan: Plan) -> Iterator[tuple[str, str]]:
        nats, clickhouse = (NATS_SERVERS, CLICKHOUSE_SERVERS) if plan.is_cluster else (("nats",), ("clickhouse",))
        yield "nats/accounts.conf", servers.nats_accounts(plan.tenants, self.secret)
        yield "nats/cluster.conf", servers.nats_cluster(nats, self.secret("nats_routes"))
        yield "clickhouse/users.xml", servers.clickhouse_users(plan.tenants, self.secret)
        interserver = self.secret("clickhouse_interserver")
        yield "clickhouse/cluster.xml", servers.clickhouse_cluster(clickhouse, KEEPERS, interserver)
        yield "seaweedfs/identities.json", servers.s3_identities(self.secret)
        yield "seaweedfs/security.toml", servers.s3_security(self.secret)
        self.secret("grafana_admin")

    def secret(self, name: str) -> str:
        """The secret of that name, made where there is none."""
        return self._once(f"secrets/{name}", lambda: secrets.token_hex(24))

    def _environment(self, plan: Plan, known: Mapping[str, str]) -> None:
        lines = {**environment_lines(plan, self.root), **known, "ENCHANTED_TENANTS": ",".join(plan.tenants)}
        self._put(ENVIRONMENT, "".join(f"{name}={value}\n" for name, value in lines.items()))

    def _signing_key(self) -> None:
        from nervous_system.archive.signing import write_key_pair

        path = self.root / "secrets" / SIGNING_KEY
        if not path.exists():
            public = write_key_pair(path)
            public.chmod(0o600)
            self._made += [path, public]

    def _once(self, name: str, make: Callable[[], str]) -> str:
        path = self.root / name
        if not path.exists():
            self._put(name, make())
        with explained(path, "read"):
            return path.read_text(encoding="utf-8").strip()

    def _put(self, name: str, text: str) -> None:
        write_private(self.root / name, text)
        self._made.append(self.root / name)

    def _folder(self, name: str) -> None:
        path = self.root / name
        with explained(path, "made"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)

    def _hand_over(self) -> None:
        """Gives the files that containers read to who they run as, where that is not us."""
        if os.getuid() == 0:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, CONTAINER_ID, CONTAINER_ID)


def _grown(plan: Plan, known: Mapping[str, str]) -> Plan:
    """The plan with the tenants and servers that there are already."""
    there = tuple(filter(None, known.get("ENCHANTED_TENANTS", "").split(",")))
    is_cluster = known["ENCHANTED_REPLICAS"] != "1" if "ENCHANTED_REPLICAS" in known else plan.is_cluster
    return Plan(tuple(dict.fromkeys((*there, *plan.tenants))), is_cluster)


def environment_lines(plan: Plan, root: Path) -> dict[str, str]:
    nats = NATS_SERVERS if plan.is_cluster else NATS_SERVERS[:1]
    return {
        "COMPOSE_PROJECT_NAME": "enchanted",
        "ENCHANTED_DEPLOYMENT": str(root),
        "ENCHANTED_UID": str(os.getuid() or CONTAINER_ID),
        "ENCHANTED_GID": str(os.getgid() if os.getuid() else CONTAINER_ID),
        "ENCHANTED_TENANTS": "",
        "ENCHANTED_OTLP_TENANT": plan.tenants[0],
        "ENCHANTED_OTLP_PROJECT": f"{plan.tenants[0]}/traces",
        "ENCHANTED_NATS_URL": ",".join(f"nats://{each}:4222" for each in nats),
        "ENCHANTED_PARTITIONS": "4",
        "ENCHANTED_REPLICAS": str(len(nats)),
        "ENCHANTED_CLICKHOUSE_REPLICATED": "1" if plan.is_cluster else "",
        "ENCHANTED_FDB_REDUNDANCY": "double" if plan.is_cluster else "single",
        "ENCHANTED_PUBLISH_ADDRESS": "127.0.0.1",
    }


def _cluster_file(plan: Plan) -> str:
    addresses = FOUNDATIONDB_ADDRESSES if plan.is_cluster else FOUNDATIONDB_ADDRESSES[:1]
    name = "".join(secrets.choice(_LETTERS) for _ in range(16))
    return f"{roles.DATABASE}:{name}@{','.join(f'{each}:4500' for each in addresses)}\n"
