"""Who gets into the embedded stack: nobody without its token and keys, and nobody from another machine."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import nats
import psutil
import pytest
from botocore.exceptions import ClientError
from nats.js.api import ConsumerConfig, StreamConfig

from infrastructure.local.health import s3_health
from infrastructure.local.home import Home
from infrastructure.local.lag import sink_lags
from infrastructure.local.stack import running_stack
from infrastructure.local.state import Phase, read_object, read_state
from nervous_system.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running_stack(tmp_path_factory.mktemp("home"), ["nats", "s3"]) as settings:
        yield settings


def s3_client(settings: Settings, secret_key: str) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=secret_key,
    )


def ports_of(home: Path) -> dict[str, int]:
    return {name: int(port) for name, port in read_object(home / "ports.json").items()}


@pytest.mark.parametrize("token", [None, "wrong"])
def test_nats_refuses_without_its_token(settings: Settings, token: str | None) -> None:
    async def connect() -> None:
        await nats.connect(settings.nats_url, token=token, allow_reconnect=False, error_cb=ignore)

    with pytest.raises(nats.errors.Error, match=r"(?i)authorization violation"):
        asyncio.run(connect())


def test_s3_takes_its_key_only(settings: Settings) -> None:
    client = s3_client(settings, settings.s3_secret_key)
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == [settings.s3_bucket]
    client.put_object(Bucket=settings.s3_bucket, Key="a/key", Body=b"content")
    assert client.get_object(Bucket=settings.s3_bucket, Key="a/key")["Body"].read() == b"content"
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_client(settings, "wrong").list_buckets()


def test_objects_cannot_be_reached_past_s3(settings: Settings) -> None:
    s3_client(settings, settings.s3_secret_key).put_object(Bucket=settings.s3_bucket, Key="secret", Body=b"content")
    ports = ports_of(settings.home)
    path = f"/buckets/{settings.s3_bucket}/secret"
    assert get(ports["s3_filer"], path) == 401
    assert get(ports["s3_volume"], "/1,01637037d6") == 401
    assert get(ports["s3"], f"/{settings.s3_bucket}/secret") == 403
    assert get(ports["s3_admin"], "/") == 404


def test_everything_listens_on_loopback_only(settings: Settings) -> None:
    state = read_state(Home.at(settings.home))
    assert state is not None
    for child in state.children:
        assert child.process is not None
        connections = psutil.Process(child.process.pid).net_connections("tcp")
        listening = {entry.laddr.ip for entry in connections if entry.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}


def test_no_secret_is_on_a_command_line(settings: Settings) -> None:
    secrets = read_object(settings.home / "secrets.json").values()
    state = read_state(Home.at(settings.home))
    assert state is not None
    pids = [state.supervisor.pid, *(child.process.pid for child in state.children if child.process)]
    lines = [" ".join(psutil.Process(pid).cmdline()) for pid in pids]
    assert not [secret for secret in secrets for line in lines if secret in line]


def test_nothing_talks_to_other_machines(settings: Settings) -> None:
    state = read_state(Home.at(settings.home))
    assert state is not None
    s3 = state.child("s3").process
    assert s3 is not None
    assert "-master.telemetry=false" in psutil.Process(s3.pid).cmdline()
    remote = [entry.raddr.ip for entry in psutil.Process(s3.pid).net_connections("inet") if entry.raddr]
    assert set(remote) <= {"127.0.0.1"}


def test_health_tells_a_wrong_key_and_a_missing_bucket(settings: Settings) -> None:
    port = urlsplit(settings.s3_endpoint).port or 0
    right = {"access_key": settings.s3_access_key, "secret_key": settings.s3_secret_key}
    assert s3_health(port, bucket="enchanted", **right).phase is Phase.RUNNING
    assert s3_health(port, bucket="other", **right).reason == "the bucket other is missing"
    wrong = {**right, "secret_key": "wrong"}
    assert s3_health(port, bucket="enchanted", **wrong).reason == "S3 refuses the stack's own key"


def test_lag_is_what_the_durable_consumers_have_not_acknowledged(settings: Settings) -> None:
    assert sink_lags(settings, ["ledger"]) == {}

    async def publish() -> None:
        client = await nats.connect(settings.nats_url, token=settings.nats_token)
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name=settings.stream, subjects=["swarm.>"]))
        for partition in range(2):
            subject = f"swarm.{partition}.>"
            config = ConsumerConfig(durable_name=f"ledger-p{partition}", filter_subject=subject)
            await stream.add_consumer(settings.stream, config)
        await stream.add_consumer(settings.stream, ConsumerConfig(durable_name="siphon-p0"))
        for partition in (0, 0, 1):
            await stream.publish(f"swarm.{partition}.t", b"x")
        pending = await stream.pull_subscribe("swarm.0.>", durable="ledger-p0")
        taken, _ = await pending.fetch(2)
        await client.flush()
        del taken
        await client.close()

    asyncio.run(publish())
    assert sink_lags(settings, ["ledger", "siphon", "clickhouse"]) == {"ledger": 3, "siphon": 3}


def get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


async def ignore(_: Exception) -> None:
    """The refusal is raised as well."""
