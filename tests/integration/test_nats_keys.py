"""Credentials of NATS by key: a seed in a file, of which the server knows the public half alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import nkeys
import pytest

from nervous_system import bus
from nervous_system.errors import AccessError
from nervous_system.settings import Settings
from tests.integration.nats_process import nats_server


def seed() -> bytes:
    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "agent.nk"
    path.write_bytes(seed())
    path.chmod(0o600)
    return path


@pytest.fixture
def url(key: Path, tmp_path: Path) -> Iterator[str]:
    public = nkeys.from_seed(bytearray(key.read_bytes())).public_key.decode()
    with nats_server(tmp_path, f"authorization {{ users: [{{ nkey: {public} }}] }}") as server:
        yield server.url


async def ask(settings: Settings) -> bool:
    """Whether the server lets this one in."""
    client = await bus.connect(settings)
    try:
        await client.flush()
        return client.is_connected
    finally:
        await client.close()


def test_a_key_opens_the_server(url: str, key: Path, tmp_path: Path) -> None:
    assert asyncio.run(ask(Settings(home=tmp_path, nats_url=url, nats_nkey_file=str(key))))


def test_another_key_does_not(url: str, tmp_path: Path) -> None:
    other = tmp_path / "other.nk"
    other.write_bytes(seed())
    settings = Settings(home=tmp_path, nats_url=url, nats_nkey_file=str(other))
    with pytest.raises(AccessError, match="refuses"):
        asyncio.run(ask(settings))
