"""What the embedded stack is made of, in start order."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infrastructure.local.health import Health, clickhouse_health, reported_health
from infrastructure.local.home import Home
from infrastructure.local.nats import NATS_PORTS, nats_launch, nats_probe
from infrastructure.local.ports import LOOPBACK, PortWish
from infrastructure.local.s3 import BUCKET, S3_PORTS, s3_launch, s3_probe
from infrastructure.local.site import Launch, Site
from nervous_system.errors import SettingsError

JANITOR = "janitor"
# Where neither says how long events stay, they all do, and the janitor has nothing to do.
HOT_DAYS = ("ENCHANTED_HOT_DAYS", "ENCHANTED_HOT_DAYS_BY_TENANT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One process of the stack.

    Args:
        name: by which logs and status name it.
        launch: how it is started; may write its configuration.
        probe: how it is; asked only while its process lives.
        ports: what it listens at, the one that clients use first.
        variables: what it adds to ``stack.env``.
        is_worker: whether it needs the servers, and serves nobody but who asks how it is.
        sink: the prefix of its durable consumers' names, for workers that read the stream.
        revived: whether to start it again when it lives but has been unhealthy for long.
        grace_s: how long it may take to end when asked to.
    """

    name: str
    launch: Callable[[Site], Launch]
    probe: Callable[[Site], Health]
    ports: tuple[PortWish, ...] = ()
    variables: Callable[[Site], dict[str, str]] = lambda _: {}
    is_worker: bool = False
    sink: str = ""
    revived: bool = True
    grace_s: float = 15.0

    def address(self, site: Site) -> str:
        """Where clients reach it; a worker's is where it tells how it is."""
        if self.is_worker:
            return f"http://{LOOPBACK}:{site.ports[self.ports[0].name]}"
        return next((value for value in self.variables(site).values() if "://" in value), "")


def stack_components() -> tuple[Component, ...]:
    """Every component of ``enchanted up``."""
    return (
        Component(name="nats", launch=nats_launch, probe=nats_probe, ports=NATS_PORTS, variables=_nats_variables),
        Component(
            name="clickhouse",
            launch=_clickhouse_launch,
            probe=lambda site: clickhouse_health(site.ports["clickhouse"]),
            ports=(PortWish("clickhouse", 8123),),
            variables=_clickhouse_variables,
        ),
        Component(name="s3", launch=s3_launch, probe=s3_probe, ports=S3_PORTS, variables=_s3_variables),
        *(_worker(f"ingest-{sink}", ("ingest", sink), sink) for sink in ("ledger", "clickhouse", "siphon")),
        _worker("sync", ("sync", "--watch")),
        _worker("snapshots", ("snapshots",)),
        _worker(JANITOR, (JANITOR,)),
    )


def choose(names: Iterable[str] | None) -> tuple[Component, ...]:
    """The components called ``names``, in start order; all that there is work for where it is None.

    Raises:
        SettingsError: there is no component of a name.
    """
    components = stack_components()
    wanted = {component.name for component in components} if names is None else set(names)
    if names is None and not any(os.environ.get(variable, "0").strip("0 ") for variable in HOT_DAYS):
        wanted.remove(JANITOR)
    unknown = wanted - {component.name for component in components}
    if unknown:
        known = ", ".join(component.name for component in components)
        raise SettingsError(f"There is no component {', '.join(sorted(unknown))}: choose from {known}.")
    return tuple(component for component in components if component.name in wanted)


def stack_variables(components: Iterable[Component], site: Site) -> dict[str, str]:
    """The lines of ``stack.env``."""
    variables = {name: value for component in components for name, value in component.variables(site).items()}
    return {**variables, "ENCHANTED_LEDGER": f"embedded://{site.home.ledger_file}"}


def _nats_variables(site: Site) -> dict[str, str]:
    return {
        "ENCHANTED_NATS_URL": f"nats://{LOOPBACK}:{site.ports['nats']}",
        "ENCHANTED_NATS_TOKEN": site.secrets["nats_token"],
    }


def _clickhouse_launch(site: Site) -> Launch:
    folder = site.home.folder("clickhouse")
    command = [sys.executable, "-m", "infrastructure.local.gateway", "--data", str(folder / "data")]
    return Launch(
        command=(*command, "--port", str(site.ports["clickhouse"]), "--user", "default"),
        environment=_python_environment(
            {
                "ENCHANTED_HOME": str(site.home.root),
                "ENCHANTED_CLICKHOUSE_PASSWORD": site.secrets["clickhouse_password"],
            }
        ),
        folder=folder,
    )


def _clickhouse_variables(site: Site) -> dict[str, str]:
    return {
        "ENCHANTED_CLICKHOUSE_URL": f"http://{LOOPBACK}:{site.ports['clickhouse']}",
        "ENCHANTED_CLICKHOUSE_USER": "default",
        "ENCHANTED_CLICKHOUSE_PASSWORD": site.secrets["clickhouse_password"],
    }


def _s3_variables(site: Site) -> dict[str, str]:
    return {
        "ENCHANTED_S3_ENDPOINT": f"http://{LOOPBACK}:{site.ports['s3']}",
        "ENCHANTED_S3_BUCKET": BUCKET,
        "ENCHANTED_S3_ACCESS_KEY": site.secrets["s3_access_key"],
        "ENCHANTED_S3_SECRET_KEY": site.secrets["s3_secret_key"],
    }


def _worker(name: str, arguments: tuple[str, ...], sink: str = "") -> Component:
    pages = PortWish(f"{name.removeprefix('ingest-')}_metrics")
    return Component(
        name=name,
        launch=lambda site: _worker_launch(site, arguments, _health_file(site.home, name), site.ports[pages.name]),
        probe=lambda site: reported_health(_health_file(site.home, name)),
        ports=(pages,),
        is_worker=True,
        sink=sink,
        # A worker whose server is down says so and tries again by itself.
        revived=False,
    )


def _worker_launch(site: Site, arguments: tuple[str, ...], health_file: Path, port: int) -> Launch:
    health_file.unlink(missing_ok=True)
    own = {
        "ENCHANTED_HOME": str(site.home.root),
        "ENCHANTED_HEALTH_FILE": str(health_file),
        "ENCHANTED_METRICS_ADDRESS": f"{LOOPBACK}:{port}",
    }
    return Launch(
        command=(sys.executable, "-m", "infrastructure.cli.main", *arguments),
        environment=_python_environment({**site.variables, **own}),
        folder=site.home.folder("run"),
    )


def _health_file(home: Home, name: str) -> Path:
    return home.root / "run" / f"{name}.json"


def _python_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child of ours: the user's settings, except where the stack's own must hold."""
    proxies = {"NO_PROXY": f"{LOOPBACK},localhost", "no_proxy": f"{LOOPBACK},localhost"}
    return {**os.environ, **proxies, "PYTHONUNBUFFERED": "1", **own}
