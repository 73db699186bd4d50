"""NATS with JetStream on disk, written through before it acknowledges."""

from __future__ import annotations

from infrastructure.local.health import Health, nats_health
from infrastructure.local.ports import PortWish
from infrastructure.local.site import Launch, Site, program, server_environment, write_template

NATS_PORTS = (PortWish("nats", 4222), PortWish("nats_monitor", 8222))


def nats_launch(site: Site) -> Launch:
    """Writes the server's configuration; raises StackError where the server is not installed."""
    folder = site.home.folder("nats")
    values = {
        "server_name": _server_name(site),
        "port": site.ports["nats"],
        "monitor_port": site.ports["nats_monitor"],
        "token": site.secrets["nats_token"],
    }
    write_template("nats.conf", folder / "nats.conf", values)
    return Launch((program("nats-server"), "--config", "nats.conf"), server_environment(folder), folder)


def nats_probe(site: Site) -> Health:
    return nats_health(site.ports["nats_monitor"], _server_name(site))


def _server_name(site: Site) -> str:
    # Of this stack alone, so that the server of another one is never taken for it.
    return f"enchanted-{site.secrets['nats_server'][:8]}"
