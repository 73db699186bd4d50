"""S3 from SeaweedFS: `weed mini` with everything but S3 shut off."""

from __future__ import annotations

import json

from infrastructure.local.health import Health, s3_health
from infrastructure.local.home import write_private
from infrastructure.local.ports import LOOPBACK, PortWish
from infrastructure.local.site import Launch, Site, program, server_environment, write_template

BUCKET = "enchanted"
# Its maintenance worker expects the admin server's gRPC port exactly this far above the HTTP one.
ADMIN_GRPC_OFFSET = 10_000
S3_PORTS = (
    PortWish("s3", 8333),
    PortWish("s3_grpc"),
    PortWish("s3_master"),
    PortWish("s3_master_grpc"),
    PortWish("s3_volume"),
    PortWish("s3_volume_grpc"),
    PortWish("s3_filer"),
    PortWish("s3_filer_grpc"),
    PortWish("s3_admin", twin_offset=ADMIN_GRPC_OFFSET),
)
SHUT_OFF = (
    "-webdav=false",
    "-admin.ui=false",
    "-s3.iam=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
    "-master.telemetry=false",
)
KEYS = ("volume_write", "volume_read", "filer_write", "filer_read")


def s3_launch(site: Site) -> Launch:
    """Writes the server's configuration; raises StackError where the server is not installed."""
    folder = site.home.folder("s3")
    site.home.folder("s3/data")
    # What an earlier start remembered would win over options that are given their default value.
    (folder / "data" / "mini.options").unlink(missing_ok=True)
    write_template("weed_security.conf", folder / "security.toml", {key: site.secrets[f"s3_{key}"] for key in KEYS})
    write_private(folder / "identities.json", _identities(site))
    return Launch((program("weed"), *_options(site)), server_environment(folder), folder)


def s3_probe(site: Site) -> Health:
    keys = {name: site.secrets[f"s3_{name}"] for name in ("access_key", "secret_key")}
    return s3_health(site.ports["s3"], bucket=BUCKET, **keys)


def _options(site: Site) -> tuple[str, ...]:
    ports = {wish.name: site.ports[wish.name] for wish in S3_PORTS}
    admin_grpc = ports["s3_admin"] + ADMIN_GRPC_OFFSET
    servers = [
        option
        for server in ("s3", "master", "volume", "filer")
        for name in (server if server == "s3" else f"s3_{server}",)
        for option in (f"-{server}.port={ports[name]}", f"-{server}.port.grpc={ports[f'{name}_grpc']}")
    ]
    # Paths are relative to the working directory: a socket's path may have 107 bytes, a home's can be longer.
    return (
        "-logtostderr",
        "-config_dir=.",
        "mini",
        "-dir=data",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-bucket={BUCKET}",
        "-s3.config=identities.json",
        "-s3.localSocket=s3.sock",
        "-filer.localSocket=filer.sock",
        f"-admin.port={ports['s3_admin']}",
        f"-admin.port.grpc={admin_grpc}",
        "-volume.preStopSeconds=0",
        *SHUT_OFF,
        *servers,
    )


def _identities(site: Site) -> str:
    credentials = {"accessKey": site.secrets["s3_access_key"], "secretKey": site.secrets["s3_secret_key"]}
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identity = {"name": "enchanted", "credentials": [credentials], "actions": actions}
    return json.dumps({"identities": [identity]}) + "\n"
