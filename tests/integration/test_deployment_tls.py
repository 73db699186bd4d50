"""TLS by settings: to NATS, which asks for a certificate too, and to ClickHouse behind TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infrastructure.deployment.folder import Folder, Plan
from ingestors import clickhouse
from nervous_system import bus
from nervous_system.errors import AccessError, EnchantedError, SettingsError, UnavailableError
from nervous_system.settings import Settings
from tests.integration import gateway_process
from tests.integration.certificates import Authority
from tests.integration.deployed import running_nats
from tests.integration.gateway_process import running_gateway


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "stranger")


def connect(settings: Settings) -> None:
    async def once() -> None:
        client = await bus.connect(settings)
        await bus.ensure_stream(client.jetstream(), settings)
        await client.close()

    asyncio.run(once())


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Settings]:
    """The deployed log with TLS on both sides, and settings with which it is reached."""
    root = tmp_path_factory.mktemp("nats")
    deployment = Folder(root / "deployment")
    deployment.write(Plan(("acme",)))
    certificate, key = authority.issue("nats")
    (deployment.root / "nats" / "tls.conf").write_text(
        f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.file}", verify: true }}\n'
    )
    own, own_key = authority.issue("ingestor")
    with running_nats(deployment.root, root / "server") as server:
        yield Settings(
            home=root,
            nats_url=server.url.replace("nats://", "tls://"),
            nats_user="ingestor",
            nats_password=deployment.secret("nats_ingestor"),
            nats_tls_ca_file=authority.file,
            nats_tls_certificate_file=own,
            nats_tls_key_file=own_key,
        )


def test_the_log_is_reached_by_who_has_a_certificate_and_trusts_its_authority(
    log: Settings, stranger: Authority
) -> None:
    connect(log)
    connect(replace(log, nats_url=log.nats_url.replace("tls://", "nats://")))
    with pytest.raises(AccessError, match=r"trust each other: .*certificate"):
        connect(replace(log, nats_tls_ca_file=stranger.file))
    with pytest.raises(AccessError, match="trust each other"):
        connect(replace(log, nats_tls_ca_file=""))
    other, other_key = stranger.issue("other")
    for certificate, key in (("", ""), (other, other_key)):
        with pytest.raises((AccessError, UnavailableError)):
            connect(replace(log, nats_tls_certificate_file=certificate, nats_tls_key_file=key))


def test_what_the_settings_name_must_be_there_and_fit(log: Settings, authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ENCHANTED_NATS_TLS_CA_FILE=.*nowhere\.pem"):
        connect(replace(log, nats_tls_ca_file=str(tmp_path / "nowhere.pem")))
    (tmp_path / "text.pem").write_text("no certificate\n")
    for changed in (
        replace(log, nats_tls_ca_file=str(tmp_path / "text.pem")),
        replace(log, nats_tls_key_file=authority.issue("other")[1]),
    ):
        with pytest.raises(SettingsError, match="ENCHANTED_NATS_TLS_"):
            connect(changed)
    with pytest.raises(SettingsError, match="ENCHANTED_NATS_TOKEN and ENCHANTED_NATS_USER"):
        connect(replace(log, nats_token="token"))


@contextlib.contextmanager
def behind_tls(url: str, certificate: str, key: str) -> Iterator[str]:
    """The address at which a server is reached by TLS."""
    host, _, port = url.removeprefix("http://").partition(":")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.new_event_loop()

    async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copied(reader, back), copied(there, writer))

    server = loop.run_until_complete(asyncio.start_server(passed_on, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_clickhouse_is_reached_by_tls(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    with (
        running_gateway(tmp_path / "clickhouse") as gateway,
        behind_tls(gateway.url, *authority.issue("clickhouse")) as url,
    ):
        settings = Settings(
            home=tmp_path,
            clickhouse_url=url,
            clickhouse_user=gateway_process.USER,
            clickhouse_password=gateway_process.PASSWORD,
            clickhouse_tls_ca_file=authority.file,
        )
        client = clickhouse.connect(settings)
        assert client.command("SELECT 41 + 1") == 42
        client.close()
        for untrusted in ("", stranger.file):
            with pytest.raises(AccessError, match="ENCHANTED_CLICKHOUSE_TLS_CA_FILE"):
                clickhouse.connect(replace(settings, clickhouse_tls_ca_file=untrusted), timeout_s=5)
        with pytest.raises(SettingsError, match="in the clear"):
            clickhouse.connect(replace(settings, clickhouse_url=gateway.url))
        # A certificate of one's own does not take the password's place.
        own, key = authority.issue("analyst")
        mutual = replace(settings, clickhouse_tls_certificate_file=own, clickhouse_tls_key_file=key)
        assert clickhouse.connect(mutual).command("SELECT 1") == 1
        with pytest.raises(EnchantedError, match="PASSWORD"):
            clickhouse.connect(replace(mutual, clickhouse_password="wrong"))
