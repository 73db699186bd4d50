"""Spoiling the way to S3: answers of the test's own, answers cut off; and a second gateway with keys that only read."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from infrastructure.local.ports import LOOPBACK, PortWish, assign
from infrastructure.local.site import program
from nervous_system.archive.objects import ObjectStore
from nervous_system.errors import EnchantedError
from nervous_system.settings import Settings
from tests.integration.wire import Link, to_client, to_server

METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")
READY_WITHIN_S = 60.0
READER = ("reader", "reader-secret")


def answer(code: str, status: int) -> bytes:
    """What S3 says when it refuses."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + body


@dataclass
class Refusing:
    """Answers the first ``times`` requests whose head ``matches`` by itself; a request passage."""

    reply: bytes
    times: int
    matches: Callable[[bytes], bool] = lambda head: True
    seen: list[bytes] = field(default_factory=list)
    _spoilt: set[int] = field(default_factory=set)

    def __call__(self, link: Link, data: bytes) -> None:
        if data.startswith(METHODS) and self.matches(data) and len(self.seen) < self.times:
            self.seen.append(data)
            self._spoilt.add(id(link))
            link.client.sendall(self.reply)
        elif id(link) not in self._spoilt:
            to_server(link, data)


@dataclass
class LosingAnswers:
    """Lets requests whose head ``matches`` reach the server, and loses the first ``times`` answers to them."""

    matches: Callable[[bytes], bool]
    times: int
    lost: int = 0
    _waiting: set[int] = field(default_factory=set)

    def request(self, link: Link, data: bytes) -> None:
        if data.startswith(METHODS):
            (self._waiting.add if self.matches(data) else self._waiting.discard)(id(link))
        to_server(link, data)

    def reply(self, link: Link, data: bytes) -> None:
        if id(link) in self._waiting and self.lost < self.times and not data.startswith(b"HTTP/1.1 100"):
            self.lost += 1
            link.cut()
        else:
            to_client(link, data)


@contextmanager
def second_gateway(servers: Settings, folder: Path) -> Iterator[Settings]:
    """Another S3 gateway before the same storage, which takes the stack's own keys and those of ``READER``."""
    stack = servers.home
    filer = json.loads((stack / "ports.json").read_text())
    ports = assign([PortWish("s3"), PortWish("s3_grpc")], pinned={}, remembered={})
    (folder / "identities.json").write_text(_identities(servers))
    command = [
        *(program("weed"), "-logtostderr", f"-config_dir={stack / 's3'}", "s3"),
        f"-filer={LOOPBACK}:{filer['s3_filer']}.{filer['s3_filer_grpc']}",
        *(f"-port={ports['s3']}", f"-port.grpc={ports['s3_grpc']}", f"-ip.bind={LOOPBACK}"),
        *("-config=identities.json", "-localSocket=s3.sock", "-port.iceberg=0", "-port.lance=0", "-iam=false"),
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as server:
        try:
            settings = replace(servers, s3_endpoint=f"http://{LOOPBACK}:{ports['s3']}")
            _await_answer(settings)
            yield settings
        finally:
            server.terminate()


def _identities(servers: Settings) -> str:
    def identity(name: str, key: str, secret: str, *actions: str) -> dict[str, object]:
        return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}

    whole = identity("enchanted", servers.s3_access_key, servers.s3_secret_key, "Admin", "Read", "List", "Write")
    return json.dumps({"identities": [whole, identity("reader", *READER, "Read", "List")]})


def _await_answer(settings: Settings) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(EnchantedError):
            ObjectStore(settings).check()
            return
    raise AssertionError(f"no gateway answers at {settings.s3_endpoint}")
